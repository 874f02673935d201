"""Tests of proving once more who one is, within a login: for how long, by what, and for whom."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from mezite.auth.error import (
    Locked,
    LoginRefused,
    SecondFactorMissing,
    SecondFactorRequired,
    TooManyFailures,
)
from mezite.auth.limiter import FREE_FAILURES
from mezite.auth.login import BEARER_LIFETIME, PROOF_LIFETIME, Login
from mezite.auth.people import UserChange
from mezite.auth.secondfactor import Shown
from mezite.identity.locks import LockTarget
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.tokens import hash_token
from mezite.store.error import NoSuchBearer
from tests.auth.people import ADDRESS, BOB, PeopleTestCase
from tests.auth.threads import HeldThreads
from tests.auth.world import ADA, LOCAL, PASSWORD, World

OTHER_PASSWORD = "battery staple"


class ProvingTestCase(PeopleTestCase):
    """ada, who has logged in."""

    def setUp(self) -> None:
        super().setUp()
        self.login = self.log_in()

    def has_proved(self, login: Login) -> bool | None:
        """None for a bearer that is none."""
        caller = self.result(self.world.logins.caller_of(login.bearer))
        return None if caller is None else caller.has_proved

    def proving(
        self,
        login: Login | None = None,
        password: str = PASSWORD,
        code: str = "",
        assertion: str = "",
    ) -> Coroutine[Any, Any, Login]:
        bearer = (login or self.login).bearer
        shown = Shown(code, assertion)
        return self.world.logins.prove_again(bearer, password, ADDRESS, shown)


class LifetimeTests(ProvingTestCase):
    """How long a proof is good for."""

    def test_in_time(self) -> None:
        """A login is a proof for ten minutes, and then one no more, though it goes on."""
        self.assertTrue(self.has_proved(self.login))
        self.world.now += PROOF_LIFETIME - 1
        self.assertTrue(self.has_proved(self.login))
        self.world.now += 1
        self.assertIs(self.has_proved(self.login), False)

    def test_clock_set_back(self) -> None:
        """What seems to have been proved in the future is not believed; it is proved anew."""
        self.world.now -= 1
        self.assertIs(self.has_proved(self.login), False)
        self.assertTrue(self.has_proved(self.result(self.proving())))

    def test_again(self) -> None:
        """A new proof is good for ten minutes more, and does not prolong the login."""
        self.world.now += 3600
        proved = self.result(self.proving())
        self.assertEqual((proved.user, proved.expires), (ADA, self.login.expires))
        self.assertEqual(self.login.expires, self.world.now - 3600 + BEARER_LIFETIME)
        self.assertTrue(self.has_proved(proved))
        self.world.now += PROOF_LIFETIME
        self.assertIs(self.has_proved(proved), False)
        (event,) = self.events("user.proved")
        self.assertEqual((event.actor.name, event.actor.address), ("ada", ADDRESS))
        self.assertEqual(event.details, {"second_factor": "none"})

    def test_stolen(self) -> None:
        """Whoever has the same bearer gains nothing by its owner's proof, and loses it."""
        self.world.now += 3600
        proved = self.result(self.proving())
        self.assertIsNone(self.has_proved(self.login))
        self.assertNotEqual(proved.bearer, self.login.bearer)
        self.refusal(self.proving(), NoSuchBearer)
        tables = self.world.store._tables
        self.assertEqual(list(tables.bearers), [hash_token(proved.bearer)])

    def test_another_login(self) -> None:
        """A proof is that of one login; the user's others stay as they are."""
        self.world.now += 3600
        other = self.log_in()
        self.world.now += PROOF_LIFETIME
        self.result(self.proving())
        self.assertIs(self.has_proved(other), False)

    def test_password_change(self) -> None:
        """A change of the password is a proof for the login that is kept; the others end."""
        other = self.log_in()
        self.world.now += 3600
        self.result(
            self.world.logins.change_password(
                "ada", PASSWORD, OTHER_PASSWORD, keep_bearer=self.login.bearer
            )
        )
        self.assertEqual([self.has_proved(self.login), self.has_proved(other)], [True, None])
        self.world.now += PROOF_LIFETIME
        self.refusal(self.proving(), LoginRefused)
        self.result(self.proving(password=OTHER_PASSWORD))

    def test_invite(self) -> None:
        """Who has just accepted an invite is not asked again."""
        self.create(BOB)
        made = self.result(self.world.invites.invite(BOB, by=LOCAL))
        accepting = self.world.invites.accept(made.secret, PASSWORD, Shown(), address=ADDRESS)
        self.assertTrue(self.has_proved(self.result(accepting).login))


class FactorTests(ProvingTestCase):
    """A proof is what a login is: password, and second factor."""

    def setUp(self) -> None:
        super().setUp()
        self.codes = self.enrol()

    def test_code(self) -> None:
        """Who has an app shows its code, which is used up by that."""
        wanted = self.failureResultOf(Deferred.fromCoroutine(self.proving()), SecondFactorRequired)
        assert isinstance(wanted.value, SecondFactorRequired)
        self.assertEqual(wanted.value.kinds, ("totp", "recovery_code"))
        self.refusal(self.proving(code="000000"), LoginRefused)
        self.refusal(self.proving(password="wrong", code=self.code()), LoginRefused)
        code = self.code()
        proved = self.result(self.proving(code=code))
        self.refusal(self.proving(proved, code=code), LoginRefused)
        self.assertEqual(self.login_refused(code), "wrong code")
        (event,) = self.events("user.proved")
        self.assertEqual(event.details, {"second_factor": "totp"})

    def test_recovery_code(self) -> None:
        """A recovery code will do, once."""
        proved = self.result(self.proving(code=self.codes[0]))
        self.refusal(self.proving(proved, code=self.codes[0]), LoginRefused)

    def test_security_key(self) -> None:
        """So will a security key, asked with a challenge of its own."""
        key = self.add_key()
        wanted = self.failureResultOf(Deferred.fromCoroutine(self.proving()), SecondFactorRequired)
        assert isinstance(wanted.value, SecondFactorRequired)
        answer = key.get(wanted.value.webauthn_request)
        proved = self.result(self.proving(assertion=answer))
        self.assertTrue(self.has_proved(proved))
        self.refusal(self.proving(proved, assertion=answer), LoginRefused)


class RequiredFactorTests(ProvingTestCase):
    """Where a second factor is required, and ada has none from the time before."""

    def setUp(self) -> None:
        super().setUp()
        self.world = World(
            policy=SecondFactorPolicy.REQUIRED, store=self.world.store, now=self.world.now + 3600
        )

    def test_way_to_the_first(self) -> None:
        """The password is enough for who is logged in already, and for nobody else."""
        proved = self.result(self.proving())
        self.assertTrue(self.has_proved(proved))
        self.refusal(self.logging_in(), SecondFactorMissing)

    def test_with_a_factor(self) -> None:
        """Who has one by now shows it."""
        self.enrol()
        self.refusal(self.proving(), SecondFactorRequired)


class RefusalTests(ProvingTestCase):
    """Who does not get through, and what that costs them."""

    def test_guessed(self) -> None:
        """Wrong proofs count as failed logins, and failed logins as wrong proofs."""
        for number in range(FREE_FAILURES):
            if number % 2:
                self.refusal(self.proving(password="wrong"), LoginRefused)
            else:
                self.refusal(self.logging_in(password="wrong"), LoginRefused)
        self.refusal(self.proving(), TooManyFailures)
        self.refusal(self.logging_in(), TooManyFailures)
        failures = self.events("user.login.failed")
        self.assertEqual([each.error for each in failures], ["wrong password"] * FREE_FAILURES)
        self.assertIs(self.has_proved(self.login), True)
        self.assertEqual(self.events("user.proved"), [])

    def test_password_of_another(self) -> None:
        """Of a login only its own user can prove anything."""
        self.create(BOB, OTHER_PASSWORD)
        self.refusal(self.proving(password=OTHER_PASSWORD), LoginRefused)

    def test_no_bearer(self) -> None:
        """What is no bearer proves nothing, and no password is looked at."""
        for bearer in ("", "mzb_", "\ud800", "x" * 10_000):
            proving = self.world.logins.prove_again(bearer, PASSWORD, ADDRESS)
            self.refusal(proving, NoSuchBearer)
        self.assertEqual(self.events("user.login.failed", "user.proved"), [])

    def test_ended(self) -> None:
        """A login that is over is not brought back by a proof."""
        other = self.log_in()
        self.result(self.world.logins.log_out(other.bearer, by=LOCAL))
        self.refusal(self.proving(other), NoSuchBearer)
        self.world.now += BEARER_LIFETIME
        self.refusal(self.proving(), NoSuchBearer)

    def test_ended_meanwhile(self) -> None:
        """Nor one that ends while the password is looked at; nothing is on record as proved."""
        threads = HeldThreads()
        world = World(threads, now=self.world.now, store=self.world.store)
        proving = Deferred.fromCoroutine(
            world.logins.prove_again(self.login.bearer, PASSWORD, ADDRESS)
        )
        self.result(self.world.logins.log_out(self.login.bearer, by=LOCAL))
        threads.finish()
        self.failureResultOf(proving, NoSuchBearer)
        self.assertEqual(self.events("user.proved"), [])

    def test_disabled(self) -> None:
        """Who was disabled has no login to prove anything for."""
        self.result(self.world.people.change(ADA, UserChange(disabled=True), by=LOCAL))
        self.refusal(self.proving(), NoSuchBearer)

    def test_locked(self) -> None:
        """Who is locked proves nothing, and is told of the lock once the password was right."""
        lock = self.world.locks.create(
            LockTarget(user=ADA), ttl=None, message="lost laptop", by=LOCAL
        )
        self.result(lock)
        self.refusal(self.proving(password="wrong"), LoginRefused)
        self.assertIn("lost laptop", self.refusal(self.proving(), Locked))
        self.assertEqual(self.events("user.proved"), [])
