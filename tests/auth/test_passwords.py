"""Tests of password hashes and of the queue before them."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.commonpasswords import COMMON_PASSWORDS
from mezite.auth.error import BadPassword, TooManyLogins
from mezite.auth.passwords import (
    AT_ONCE,
    LENGTHS,
    WAITING_LIMIT,
    Passwords,
    check_new_password,
)
from mezite.names import UserName
from tests.auth.threads import HeldThreads, at_once

CHEAP = PasswordHasher.from_parameters(CHEAPEST)


class PasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.passwords = Passwords(at_once, CHEAP)

    def hash(self, password: str) -> str:
        return self.successResultOf(Deferred.fromCoroutine(self.passwords.hash(password)))

    def matches(self, password_hash: str | None, password: str) -> bool:
        matching = self.passwords.matches(password_hash, password)
        return self.successResultOf(Deferred.fromCoroutine(matching))

    def test_match(self) -> None:
        """A hash matches its password and no other."""
        made = self.hash("correct horse")
        self.assertTrue(made.startswith("$argon2id$"))
        self.assertTrue(self.matches(made, "correct horse"))
        self.assertFalse(self.matches(made, "correct horse "))
        self.assertFalse(self.matches(made, ""))

    def test_salted(self) -> None:
        """Two hashes of one password differ."""
        self.assertNotEqual(self.hash("correct horse"), self.hash("correct horse"))

    def test_lengths(self) -> None:
        """Passwords of 8 to 1024 characters are accepted."""
        for good in ("x" * 8, "x" * 1024, "é" * 1024):
            self.assertTrue(self.matches(self.hash(good), good))
        for bad in ("", "x" * 7, "x" * 1025):
            with self.assertRaises(BadPassword) as caught:
                self.failureResultOf(
                    Deferred.fromCoroutine(self.passwords.hash(bad))
                ).raiseException()
            self.assertIn("8 to 1024", str(caught.exception))

    def test_composed(self) -> None:
        """A letter with its accent is one password, however the keyboard spells it."""
        self.assertTrue(self.matches(self.hash("caf\u00e9 au lait"), "cafe\u0301 au lait"))

    def test_any_text(self) -> None:
        """Text that is not even Unicode is a wrong password, not an error."""
        self.assertFalse(self.matches(self.hash("correct horse"), "\ud800\0"))

    def test_unreadable_hash(self) -> None:
        """A hash that nobody can read matches nothing."""
        for broken in ("", "x", "$argon2id$v=19$m=8,t=1,p=1$x$x"):
            self.assertFalse(self.matches(broken, "correct horse"))

    def test_constant_work(self) -> None:
        """Nobody's password costs one hash of the same cost, as does one that is too long."""
        threads = HeldThreads()
        passwords = Passwords(threads, CHEAP)
        made = self.hash("correct horse")
        for stored, password in ((None, "correct horse"), (made, "x" * 1025), (made, "wrong")):
            answer = Deferred.fromCoroutine(passwords.matches(stored, password))
            self.assertEqual(len(threads.held), 1)
            threads.finish()
            self.assertFalse(self.successResultOf(answer))
        nobodys = passwords._nobodys_hash
        self.assertEqual(nobodys.split("$")[:4], made.split("$")[:4])
        self.assertEqual(len(nobodys), len(made))


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = HeldThreads()
        self.passwords = Passwords(self.threads, CHEAP)

    def hash(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.passwords.hash("correct horse"))

    def test_few_at_once(self) -> None:
        """Only a few hashes are computed at any time; the rest wait in turn."""
        hashing = [self.hash() for _ in range(AT_ONCE + 3)]
        for done in hashing:
            self.assertLessEqual(len(self.threads.held), AT_ONCE)
            self.threads.finish()
            self.successResultOf(done)

    def test_bounded(self) -> None:
        """When too many wait, the next is refused at once."""
        hashing = [self.hash() for _ in range(AT_ONCE + WAITING_LIMIT)]
        self.failureResultOf(self.hash(), TooManyLogins)
        self.threads.finish()
        hashing.append(self.hash())
        while self.threads.held:
            self.threads.finish()
        for done in (hashing[0], hashing[-1]):
            self.successResultOf(done)

    def test_cancelled_while_computed(self) -> None:
        """A slot stays taken until its thread ends, though nobody waits for it."""
        hashing = [self.hash() for _ in range(AT_ONCE)]
        for done in hashing:
            done.cancel()
            self.failureResultOf(done, CancelledError)
        waiting = self.hash()
        self.assertEqual(len(self.threads.held), AT_ONCE)
        for _ in range(AT_ONCE + 1):
            self.threads.finish()
        self.successResultOf(waiting)

    def test_cancelled_in_the_queue(self) -> None:
        """Who stops waiting leaves the queue."""
        running = [self.hash() for _ in range(AT_ONCE)]
        for _ in range(2 * WAITING_LIMIT):
            waiting = self.hash()
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        for done in running:
            self.threads.finish()
            self.successResultOf(done)
        self.assertEqual(self.threads.held, [])


class NewPasswordTests(SynchronousTestCase):
    """What must not become a password."""

    def test_common(self) -> None:
        """Those that are tried first are refused, in any case and width."""
        wide = "".join(chr(ord(each) + 0xFEE0) for each in "password")
        for password in ("password1", "Password1", "QWERTYUIOP", " iloveyou", wide):
            error = self.assertRaises(BadPassword, check_new_password, password)
            self.assertIn("tried first", str(error))
        self.assertLess(len(max(COMMON_PASSWORDS, key=len)), 40)
        for word in COMMON_PASSWORDS:
            self.assertEqual(word, word.casefold())
            self.assertGreaterEqual(len(word), LENGTHS[0])

    def test_own_name(self) -> None:
        """A password does not contain the user's name, unless that is too short to tell."""
        for password in ("alice-in-wonderland", "xxALICExx"):
            self.assertRaises(BadPassword, check_new_password, password, UserName("alice"))
            check_new_password(password, UserName("bob"))
        check_new_password("all of them", UserName("al"))

    def test_anything_else(self) -> None:
        """Nothing else is asked for: no digits, no capitals, no signs."""
        for password in ("correct horse", "        x", "\N{SNOWMAN}" * 8, "\ud800" * 9):
            check_new_password(password, UserName("alice"))
