"""Tests of invites: made, looked at, accepted once."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from mezite.auth.error import (
    BadPassword,
    BadRequest,
    EnrolmentRequired,
    LoginRefused,
    SecondFactorRequired,
    TooManyFailures,
    WrongCode,
)
from mezite.auth.inviting import INVITE_LIFETIME, Accepted
from mezite.auth.limiter import FREE_FAILURES
from mezite.auth.secondfactor import NOTHING, Shown
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.tokens import hash_token
from mezite.identity.totp import code_at
from mezite.names import UserName
from mezite.store.error import InviteRefused, NoSuchUser
from tests.auth.people import ADDRESS, BOB, PeopleTestCase, secret_of
from tests.auth.threads import HeldThreads
from tests.auth.world import ADA, LOCAL, PASSWORD, World

CHOSEN = "battery staple"


class InviteTestCase(PeopleTestCase):
    """Bob was created without any password, and invited."""

    def setUp(self) -> None:
        super().setUp()
        self.create(BOB)
        self.secret = self.invite()

    def invite(self, user: UserName = BOB, **how: Any) -> str:
        return self.result(self.world.invites.invite(user, by=LOCAL, **how)).secret

    def accept(self, shown: Shown = NOTHING, password: str = CHOSEN, secret: str = "") -> Any:
        return self.world.invites.accept(secret or self.secret, password, shown, address=ADDRESS)

    def log_bob_in(self, password: str, shown: Shown = NOTHING) -> Any:
        return self.world.logins.authenticate("bob", password, ADDRESS, shown)

    def offered_code(self) -> str:
        """Look at the invite, give what it offers to an app, and read its code."""
        found = self.result(self.world.invites.look(self.secret, address=ADDRESS))
        assert found.offer is not None
        return code_at(secret_of(found.offer.secret), self.world.now)


class InviteTests(InviteTestCase):
    def test_no_password_before(self) -> None:
        """Who was invited has no password: nothing that is typed is right."""
        for password in ("", "x" * 8, self.secret):
            self.refusal(self.log_bob_in(password), LoginRefused)
        error = self.events("user.login.failed")[0].error
        self.assertEqual(error, "no password yet")

    def test_no_password_takes_as_long(self) -> None:
        """A guess at somebody without a password costs a hash like every other."""
        threads = HeldThreads()
        world = World(threads, store=self.world.store)
        login = Deferred.fromCoroutine(world.logins.authenticate("bob", "guess", ADDRESS))
        self.assertNoResult(login)
        self.assertEqual(len(threads.held), 1)
        threads.finish()
        self.failureResultOf(login, LoginRefused)

    def test_accepted(self) -> None:
        """Whoever accepts chooses the password, and is logged in."""
        accepted = self.result(self.accept())
        self.assertEqual((accepted.login.user, accepted.recovery_codes), (BOB, ()))
        self.assertFalse(accepted.login.must_change_password)
        self.assertIsNotNone(self.result(self.world.logins.caller_of(accepted.login.bearer)))
        self.result(self.log_bob_in(CHOSEN))
        self.assertNotIn(accepted.login.bearer, repr(accepted))
        (event,) = self.events("user.invite.accepted")
        self.assertEqual((event.actor.name, event.actor.address), ("bob", ADDRESS))
        (event,) = self.events("user.invited")
        self.assertEqual((event.actor.name, event.target), ("local", "bob"))

    def test_once(self) -> None:
        """An invite is good once."""
        self.result(self.accept())
        self.refusal(self.accept(password="another staple"), InviteRefused)
        self.result(self.log_bob_in(CHOSEN))
        self.refusal(self.world.invites.look(self.secret, address=ADDRESS), InviteRefused)

    def test_once_of_fifty(self) -> None:
        """Of fifty who accept at the same time, at as many hubs, one gets in."""
        threads = HeldThreads()
        hubs = [World(threads, now=self.world.now, store=self.world.store) for _ in range(50)]
        tries = [
            Deferred.fromCoroutine(
                hub.invites.accept(self.secret, f"{CHOSEN} {n}", NOTHING, address=ADDRESS)
            )
            for n, hub in enumerate(hubs)
        ]
        self.assertEqual([each for each in tries if each.called], [])
        while threads.held:
            threads.finish()
        outcomes: list[Any] = []
        for each in tries:
            each.addBoth(outcomes.append)
        self.assertEqual(len(outcomes), 50)
        winners = [n for n, each in enumerate(outcomes) if isinstance(each, Accepted)]
        self.assertEqual(len(winners), 1)
        for each in outcomes:
            if not isinstance(each, Accepted):
                each.trap(InviteRefused)
        self.result(self.log_bob_in(f"{CHOSEN} {winners[0]}"))

    def test_not_stored(self) -> None:
        """The store and the audit hold a hash, or nothing, of the secret."""
        tables = self.world.store._tables
        self.assertEqual(tables.invites[BOB].secret_hash, hash_token(self.secret))
        self.assertNotIn(self.secret, repr(tables.invites) + repr(self.world.audited()))

    def test_expires(self) -> None:
        """An invite expires, by default after a day."""
        self.world.now += INVITE_LIFETIME
        self.refusal(self.accept(), InviteRefused)
        secret = self.invite(ttl=60.0)
        self.world.now += 59
        self.result(self.accept(secret=secret))

    def test_lifetimes(self) -> None:
        """A lifetime has bounds."""
        for ttl in (0.0, 59.0, 31 * 86400.0, float("nan"), -1.0):
            self.refusal(self.world.invites.invite(BOB, ttl=ttl, by=LOCAL), BadRequest)

    def test_newest(self) -> None:
        """A new invite ends the one before."""
        newer = self.invite()
        self.refusal(self.accept(), InviteRefused)
        self.result(self.accept(secret=newer))

    def test_nobody(self) -> None:
        """Only users are invited."""
        self.refusal(self.world.invites.invite(UserName("eve"), by=LOCAL), NoSuchUser)

    def test_bad_passwords(self) -> None:
        """A password that is not accepted does not use up the invite, nor count as a guess."""
        for _ in range(FREE_FAILURES):
            for password in ("short", "password1", "I am bob!", "x" * 2000):
                self.refusal(self.accept(password=password), BadPassword)
        self.result(self.accept())

    def test_disabled(self) -> None:
        """A disabled user's invite is not valid."""
        users = self.world.store._tables.users
        users[BOB] = attrs.evolve(users[BOB], disabled=True)
        self.refusal(self.accept(), InviteRefused)

    def test_guessed(self) -> None:
        """Who tries invites waits like who tries passwords, and each is on record."""
        for number in range(FREE_FAILURES):
            guess = self.world.invites.look(f"mzi_{number}", address=ADDRESS)
            self.refusal(guess, InviteRefused)
        guess = self.world.invites.look("x" * 100_000, address=ADDRESS)
        self.refusal(guess, TooManyFailures)
        self.refusal(self.accept(), TooManyFailures)
        self.result(self.world.invites.look(self.secret, address="192.0.2.2"))
        events = self.events("user.invite.refused")
        self.assertEqual(len(events), FREE_FAILURES)
        self.assertEqual(events[0].actor.address, ADDRESS)

    def test_removed(self) -> None:
        """An invite goes with its user."""
        self.result(self.world.logins.remove_user(BOB, by=LOCAL))
        self.create(BOB)
        self.refusal(self.accept(), InviteRefused)


class ResetTests(InviteTestCase):
    def test_reset(self) -> None:
        """A reset ends the password and the bearers at once."""
        login = self.log_in()
        secret = self.invite(ADA, reset=True)
        self.refusal(self.logging_in(), LoginRefused)
        self.assertIsNone(self.result(self.world.logins.caller_of(login.bearer)))
        self.result(self.accept(secret=secret))
        self.log_in(password=CHOSEN)
        self.assertEqual([e.target for e in self.events("user.password.reset")], ["ada"])

    def test_invite_alone(self) -> None:
        """An invite for somebody who has a password leaves it until it is accepted."""
        secret = self.invite(ADA)
        login = self.log_in()
        self.result(self.accept(secret=secret))
        self.refusal(self.logging_in(), LoginRefused)
        self.assertIsNone(self.result(self.world.logins.caller_of(login.bearer)))

    def test_second_factor_stays(self) -> None:
        """Who has a second factor must show it: an invite alone does not replace it."""
        codes = self.enrol()
        secret = self.invite(ADA, reset=True)
        found = self.result(self.world.invites.look(secret, address=ADDRESS))
        assert found.wanted is not None
        self.assertEqual((found.offer, found.wanted.kinds), (None, ("totp", "recovery_code")))
        self.refusal(self.accept(secret=secret), SecondFactorRequired)
        self.refusal(self.accept(Shown("000000"), secret=secret), LoginRefused)
        accepted = self.result(self.accept(Shown(codes[0]), secret=secret))
        self.assertEqual(accepted.recovery_codes, ())
        self.log_in(self.code(), password=CHOSEN)

    def test_security_key(self) -> None:
        """A security key is asked for in the same way."""
        key = self.add_key()
        secret = self.invite(ADA, reset=True)
        found = self.result(self.world.invites.look(secret, address=ADDRESS))
        assert found.wanted is not None
        answer = key.get(found.wanted.webauthn_request)
        self.result(self.accept(Shown(assertion=answer), secret=secret))

    def test_wrong_codes_are_counted(self) -> None:
        """Who holds an invite does not try all codes with it."""
        self.enrol()
        secret = self.invite(ADA, reset=True)
        for number in range(FREE_FAILURES):
            self.refusal(self.accept(Shown(f"{number:06}"), secret=secret), LoginRefused)
        self.refusal(self.accept(Shown(self.code()), secret=secret), TooManyFailures)


class EnrolmentTests(InviteTestCase):
    def test_offered(self) -> None:
        """An app can be enrolled while accepting, and recovery codes are given."""
        found = self.result(self.world.invites.look(self.secret, address=ADDRESS))
        assert found.offer is not None
        self.assertFalse(found.must_enrol)
        self.assertIn("Mezite%20mezite:bob", found.offer.uri)
        self.assertNotIn(found.offer.secret, repr(found))
        accepted = self.result(self.accept(Shown(self.offered_code())))
        self.assertEqual(len(accepted.recovery_codes), 10)
        self.refusal(self.log_bob_in(CHOSEN), SecondFactorRequired)
        self.world.now += 60
        self.result(self.log_bob_in(CHOSEN, Shown(self.code(user=BOB))))
        (event,) = self.events("user.invite.accepted")
        self.assertEqual(event.details, {"totp_enrolled": True})

    def test_not_wanted(self) -> None:
        """Where it is optional, nobody has to."""
        self.result(self.accept())
        self.result(self.log_bob_in(CHOSEN))

    def test_wrong_code(self) -> None:
        """A code of another app does not use up the invite."""
        self.refusal(self.accept(Shown("000000")), WrongCode)
        self.offered_code()
        self.refusal(self.accept(Shown("000000")), WrongCode)
        self.result(self.accept(Shown(self.offered_code())))


class RequiredTests(InviteTestCase):
    policy = SecondFactorPolicy.REQUIRED

    def test_required(self) -> None:
        """Where it is required, nobody gets in without an app."""
        found = self.result(self.world.invites.look(self.secret, address=ADDRESS))
        self.assertTrue(found.must_enrol)
        self.refusal(self.accept(), EnrolmentRequired)
        self.result(self.accept(Shown(self.offered_code())))

    def test_after_reset(self) -> None:
        """Who has no second factor yet comes in by a reset."""
        secret = self.secret = self.invite(ADA, reset=True)
        self.result(self.accept(Shown(self.offered_code()), secret=secret))


class OffTests(InviteTestCase):
    policy = SecondFactorPolicy.OFF

    def test_off(self) -> None:
        """Where there are none, none is offered."""
        found = self.result(self.world.invites.look(self.secret, address=ADDRESS))
        self.assertIsNone(found.offer)
        accepted = self.result(self.accept(Shown("123456")))
        self.assertEqual(accepted.recovery_codes, ())
        self.result(self.log_bob_in(CHOSEN))
        self.assertNotEqual(CHOSEN, PASSWORD)
