"""Tests of logins, bearers and changes of passwords."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import (
    BadPassword,
    BadRequest,
    LoginRefused,
    PasswordChangeRequired,
    TooManyFailures,
)
from mezite.auth.limiter import FREE_FAILURES
from mezite.auth.login import BEARER_LIFETIME, BEARER_LIFETIME_ONE_TIME, Login, NewUser
from mezite.error import NotAuthenticated
from mezite.identity.roles import LabelSelector
from mezite.identity.tokens import hash_token
from mezite.names import LoginName, UserName
from mezite.store.error import NoSuchUser, StoreUnavailable, UserExists
from tests.auth.threads import HeldThreads
from tests.auth.world import ADA, LOCAL, PASSWORD, ROOT, SSH_LINE, TLS_PEM, World

T = TypeVar("T")
ADDRESS = "192.0.2.1"


class LoginTestCase(SynchronousTestCase):
    """A cluster where ada has a password."""

    def setUp(self) -> None:
        self.world = World()
        self.logins = self.world.logins
        self.create(ADA, PASSWORD)

    def result(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def refusal(
        self, coroutine: Coroutine[Any, Any, object], kind: type[Exception] = LoginRefused
    ) -> Exception:
        return self.failureResultOf(Deferred.fromCoroutine(coroutine), kind).value

    def create(self, name: UserName, password: str | None) -> NewUser:
        return self.result(
            self.logins.create_user(
                name,
                logins=[ROOT],
                node_labels=LabelSelector.parse(["*=*"]),
                password=password,
                one_time_password=password is None,
                by=LOCAL,
            )
        )

    def log_in(self, password: str = PASSWORD, user: str = "ada") -> Login:
        return self.result(self.logins.authenticate(user, password, ADDRESS))

    def is_live(self, login: Login) -> bool:
        return self.result(self.logins.caller_of(login.bearer)) is not None

    def disable(self, user: UserName) -> None:
        users = self.world.store._tables.users
        users[user] = attrs.evolve(users[user], disabled=True)


class AuthenticateTests(LoginTestCase):
    def test_bearer(self) -> None:
        """A password is exchanged for a bearer, which stands for its user."""
        login = self.log_in()
        self.assertEqual(login.user, ADA)
        self.assertEqual(login.expires, self.world.now + BEARER_LIFETIME)
        self.assertFalse(login.must_change_password)
        caller = self.result(self.logins.caller_of(login.bearer))
        assert caller is not None
        self.assertEqual(caller.record.name, ADA)
        self.assertNotIn(login.bearer, repr(login))

    def test_bearer_is_not_stored(self) -> None:
        """The store holds a hash, from which no bearer can be made."""
        login = self.log_in()
        tables = self.world.store._tables
        self.assertEqual(list(tables.bearers), [hash_token(login.bearer)])
        self.assertNotIn(PASSWORD, tables.users[ADA].password_hash)

    def test_bearer_ends(self) -> None:
        """A bearer ends by itself, by logging out, and with its user."""
        first, second, third = self.log_in(), self.log_in(), self.log_in()
        self.result(self.logins.log_out(first.bearer, by=LOCAL))
        self.assertEqual([self.is_live(x) for x in (first, second)], [False, True])
        self.disable(ADA)
        self.assertFalse(self.is_live(third))
        self.result(self.logins.remove_user(ADA, by=LOCAL))
        self.assertFalse(self.is_live(third))
        self.create(ADA, PASSWORD)
        self.assertFalse(self.is_live(third))
        fourth = self.log_in()
        self.world.now += BEARER_LIFETIME
        self.assertFalse(self.is_live(fourth))

    def test_no_bearer(self) -> None:
        """What is no bearer stands for nobody."""
        for text in ("", "mzb_", "\ud800", "x" * 10_000):
            self.assertIsNone(self.result(self.logins.caller_of(text)))

    def test_one_sentence(self) -> None:
        """Every failed login reads the same; operators see the reason."""
        self.create(UserName("bob"), PASSWORD)
        self.disable(UserName("bob"))
        sentences, reasons = set(), []
        for user, password in (
            ("ada", "wrong"),
            ("ada", ""),
            ("ada", "x" * 5000),
            ("nobody", PASSWORD),
            ("bob", PASSWORD),
            ("not a name", PASSWORD),
            ("\ud800", PASSWORD),
            ("", ""),
        ):
            error = self.refusal(self.logins.authenticate(user, password, ADDRESS))
            assert isinstance(error, LoginRefused)
            self.assertIsInstance(error, NotAuthenticated)
            sentences.add(str(error))
            reasons.append(error.reason)
        self.assertEqual(sentences, {"the user name or the password is wrong"})
        self.assertEqual(
            reasons, ["wrong password"] * 3 + ["no such user", "disabled"] + ["no such user"] * 3
        )

    def test_constant_work(self) -> None:
        """Every failed login costs one hash, whether there is such a user or not."""
        threads = HeldThreads()
        world = World(threads, store=self.world.store)
        for user in ("ada", "nobody", "not a name"):
            login = Deferred.fromCoroutine(world.logins.authenticate(user, "wrong", ADDRESS))
            self.assertNoResult(login)
            self.assertEqual(len(threads.held), 1)
            threads.finish()
            self.failureResultOf(login, LoginRefused)

    def test_delay(self) -> None:
        """Whoever fails too often waits, there; the right password does not help meanwhile."""
        for _ in range(FREE_FAILURES):
            self.refusal(self.logins.authenticate("ada", "wrong", ADDRESS))
        error = self.refusal(self.logins.authenticate("ada", PASSWORD, ADDRESS), TooManyFailures)
        self.assertEqual(str(error), "too many failed logins: try again in 1 s")
        self.result(self.logins.authenticate("ada", PASSWORD, "192.0.2.2"))
        self.world.now += 1
        self.log_in()
        for _ in range(FREE_FAILURES):
            self.refusal(self.logins.authenticate("ada", "wrong", ADDRESS))

    def test_delay_for_unknown_users(self) -> None:
        """Delays tell nothing about who exists."""
        for _ in range(FREE_FAILURES):
            self.refusal(self.logins.authenticate("nobody", "wrong", ADDRESS))
        self.refusal(self.logins.authenticate("nobody", "wrong", ADDRESS), TooManyFailures)

    def test_many_at_once(self) -> None:
        """Guesses that run at the same time are counted as they begin."""
        threads = HeldThreads()
        world = World(threads, store=self.world.store)
        tries = [
            Deferred.fromCoroutine(world.logins.authenticate("ada", str(n), ADDRESS))
            for n in range(50)
        ]
        refused = [d for d in tries if d.called]
        self.assertEqual(len(refused), 50 - FREE_FAILURES)
        for done in refused:
            self.failureResultOf(done, TooManyFailures)
        while threads.held:
            threads.finish()
        for done in tries:
            self.failureResultOf(done) if done not in refused else None

    def test_no_fault_of_theirs(self) -> None:
        """A store that fails delays nobody."""
        self.successResultOf(self.world.store.close())
        for _ in range(3 * FREE_FAILURES):
            self.refusal(self.logins.authenticate("ada", PASSWORD, ADDRESS), StoreUnavailable)

    def test_changed_meanwhile(self) -> None:
        """A password that is replaced while it is checked gives no bearer."""
        threads = HeldThreads()
        world = World(threads, store=self.world.store)
        login = Deferred.fromCoroutine(world.logins.authenticate("ada", PASSWORD, ADDRESS))
        self.result(self.logins.set_password(ADA, "another horse", by=LOCAL))
        threads.finish()
        self.failureResultOf(login, LoginRefused)

    def test_removed_meanwhile(self) -> None:
        """A user who is removed while they log in gets no bearer."""
        threads = HeldThreads()
        world = World(threads, store=self.world.store)
        login = Deferred.fromCoroutine(world.logins.authenticate("ada", PASSWORD, ADDRESS))
        self.result(self.logins.remove_user(ADA, by=LOCAL))
        threads.finish()
        self.failureResultOf(login, LoginRefused)


class PasswordChangeTests(LoginTestCase):
    def test_one_time_password(self) -> None:
        """A one-time password logs in for a while, gets no certificates, and must be changed."""
        bob = UserName("bob")
        new = self.create(bob, None)
        assert new.one_time_password is not None
        self.assertTrue(new.record.must_change_password)
        login = self.log_in(new.one_time_password, "bob")
        self.assertTrue(login.must_change_password)
        self.assertEqual(login.expires, self.world.now + BEARER_LIFETIME_ONE_TIME)
        error = self.refusal(
            self.world.issuing.issue_user_certs(
                bob, ssh_public_line=SSH_LINE, tls_public_key_pem=TLS_PEM, by=LOCAL
            ),
            PasswordChangeRequired,
        )
        self.assertIn("msh login", str(error))
        self.result(self.logins.change_password("bob", new.one_time_password, "battery staple"))
        self.assertFalse(self.log_in("battery staple", "bob").must_change_password)
        self.result(
            self.world.issuing.issue_user_certs(
                bob, ssh_public_line=SSH_LINE, tls_public_key_pem=TLS_PEM, by=LOCAL
            )
        )
        self.refusal(self.logins.authenticate("bob", new.one_time_password, ADDRESS))

    def test_chosen_password(self) -> None:
        """A password that an administrator chose is not a one-time password."""
        new = self.create(UserName("bob"), PASSWORD)
        self.assertIsNone(new.one_time_password)
        self.assertFalse(new.record.must_change_password)

    def test_bearers_end(self) -> None:
        """A new password ends every bearer but the one that is kept."""
        mine, others = self.log_in(), self.log_in()
        self.result(
            self.logins.change_password("ada", PASSWORD, "battery staple", keep_bearer=mine.bearer)
        )
        self.assertEqual([self.is_live(x) for x in (mine, others)], [True, False])
        self.result(self.logins.change_password("ada", "battery staple", PASSWORD))
        self.assertFalse(self.is_live(mine))

    def test_bearer_of_another(self) -> None:
        """Nobody's bearer is made theirs by asking to keep it."""
        self.create(UserName("bob"), PASSWORD)
        bobs = self.log_in(PASSWORD, "bob")
        for kept in (bobs.bearer, "mzb_made_up"):
            self.result(
                self.logins.change_password("ada", PASSWORD, "battery staple", keep_bearer=kept)
            )
            self.result(self.logins.set_password(ADA, PASSWORD, by=LOCAL))
        self.assertIsNone(self.result(self.logins.caller_of("mzb_made_up")))
        caller = self.result(self.logins.caller_of(bobs.bearer))
        assert caller is not None
        self.assertEqual(caller.record.name, UserName("bob"))

    def test_old_password(self) -> None:
        """The old password must be right, and guessing it here is delayed as well."""
        for _ in range(FREE_FAILURES):
            self.refusal(
                self.logins.change_password("ada", "wrong", "battery staple", address=ADDRESS)
            )
        self.refusal(self.logins.authenticate("ada", PASSWORD, ADDRESS), TooManyFailures)

    def test_new_password(self) -> None:
        """The new password has a length and is new; the old one stays otherwise."""
        for bad in ("", "short", "x" * 1025, PASSWORD):
            self.refusal(self.logins.change_password("ada", PASSWORD, bad), BadPassword)
        self.log_in()

    def test_reset(self) -> None:
        """An administrator's reset makes up a one-time password and ends all bearers."""
        login = self.log_in()
        made_up = self.result(self.logins.set_password(ADA, by=LOCAL))
        self.assertFalse(self.is_live(login))
        self.assertTrue(self.log_in(made_up).must_change_password)
        self.refusal(self.logins.set_password(UserName("nobody"), by=LOCAL), NoSuchUser)


class CreateUserTests(LoginTestCase):
    def test_exists(self) -> None:
        """A user who exists is not replaced."""
        error = self.refusal(
            self.logins.create_user(ADA, logins=[], node_labels=LabelSelector(), by=LOCAL),
            UserExists,
        )
        self.assertIn("ada", str(error))
        self.log_in()

    def test_bad_password(self) -> None:
        """A password that is too short creates nobody."""
        bob = UserName("bob")
        self.refusal(
            self.logins.create_user(
                bob, logins=[ROOT], node_labels=LabelSelector(), password="short", by=LOCAL
            ),
            BadPassword,
        )
        self.assertIsNone(self.successResultOf(self.world.store.users.get(bob)))

    def test_logins(self) -> None:
        """A user has each login once, and no more than fit into a certificate."""
        many = [LoginName(f"l{n}") for n in range(257)]
        self.refusal(
            self.logins.create_user(
                UserName("bob"), logins=many, node_labels=LabelSelector(), by=LOCAL
            ),
            BadRequest,
        )
        new = self.result(
            self.logins.create_user(
                UserName("bob"),
                logins=[ROOT, ROOT, *many[:2]],
                node_labels=LabelSelector(),
                by=LOCAL,
            )
        )
        self.assertEqual(new.record.logins, (ROOT, *many[:2]))

    def test_remove(self) -> None:
        """Who is not there cannot be removed."""
        self.refusal(self.logins.remove_user(UserName("nobody"), by=LOCAL), NoSuchUser)
