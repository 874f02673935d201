"""
A cluster where ada has a password, for tests of how people prove who they are.
"""

from __future__ import annotations

import base64
from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import LoginRefused, SecondFactorRequired
from mezite.auth.login import Login
from mezite.auth.secondfactor import Shown
from mezite.identity.roles import LabelSelector
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.totp import STEP_SECONDS, code_at
from mezite.names import UserName
from mezite.store.proofs import ProofsRecord
from tests.auth.world import ADA, LOCAL, PASSWORD, ROOT, World
from tests.doubles.authenticator import Authenticator

T = TypeVar("T")
ADDRESS = "192.0.2.1"
BOB = UserName("bob")


class PeopleTestCase(SynchronousTestCase):
    """The world, and the ways in which the tests use it."""

    policy = SecondFactorPolicy.OPTIONAL

    def setUp(self) -> None:
        self.world = World(policy=self.policy)
        self.create(ADA, PASSWORD)

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def refusal(self, coroutine: Coroutine[Any, Any, object], kind: type[Exception]) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(coroutine), kind).value)

    def create(self, name: UserName, password: str | None = None) -> None:
        self.result(
            self.world.logins.create_user(
                name,
                logins=[ROOT],
                node_labels=LabelSelector.parse(["*=*"]),
                password=password,
                by=LOCAL,
            )
        )

    def logging_in(
        self, code: str = "", assertion: str = "", password: str = PASSWORD, address: str = ADDRESS
    ) -> Coroutine[Any, Any, Login]:
        shown = Shown(code, assertion)
        return self.world.logins.authenticate("ada", password, address, shown)

    def log_in(self, code: str = "", assertion: str = "", password: str = PASSWORD) -> Login:
        return self.result(self.logging_in(code, assertion, password))

    def login_refused(self, code: str = "", assertion: str = "") -> str:
        """The reason for operators; what people read is always the same."""
        failure = self.failureResultOf(
            Deferred.fromCoroutine(self.logging_in(code, assertion)), LoginRefused
        )
        assert isinstance(failure.value, LoginRefused)
        self.assertEqual(str(failure.value), "the user name or the password is wrong")
        return failure.value.reason

    def asked_for(self) -> SecondFactorRequired:
        """What a login without a second factor is asked for."""
        failure = self.failureResultOf(
            Deferred.fromCoroutine(self.logging_in()), SecondFactorRequired
        )
        assert isinstance(failure.value, SecondFactorRequired)
        return failure.value

    def proofs(self, user: UserName = ADA) -> ProofsRecord:
        return self.result(self.world.enrolment.of(user))

    def code(self, *, steps: int = 0, user: UserName = ADA) -> str:
        """The code that the user's app shows, now or some steps from now."""
        app = self.proofs(user).totp
        assert app is not None
        return code_at(app.secret, self.world.now + steps * STEP_SECONDS)

    def enrol(self, user: UserName = ADA) -> tuple[str, ...]:
        """Enrol an app; its recovery codes. The next code is that of the next step."""
        secret = secret_of(self.world.enrolment.begin_totp(user).secret)
        code = code_at(secret, self.world.now)
        codes = self.result(self.world.enrolment.confirm_totp(user, code, by=LOCAL))
        self.world.now += 2 * STEP_SECONDS
        return codes

    def add_key(self, user: UserName = ADA) -> Authenticator:
        authenticator = Authenticator("https://hub.example.com")
        options = self.result(self.world.enrolment.begin_key(user))
        answer = authenticator.create(options)
        self.result(self.world.enrolment.finish_key(user, answer, "blue", by=LOCAL))
        return authenticator

    def events(self, *types: str) -> list[Any]:
        return [event for event in self.world.audited() if event.type.text in types]


def secret_of(text: str) -> bytes:
    """The secret that an app keeps of what was typed into it."""
    return base64.b32decode(text.replace(" ", ""))
