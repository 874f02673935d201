"""Tests of logins against those who guess."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import LoginRefused, TooManyLogins
from tests.auth.threads import HeldThreads
from tests.auth.world import World


class PasswordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = HeldThreads()
        self.logins = World(self.threads).logins

    def attempt(self, user: str, address: str) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.logins.authenticate(user, "guess", address))

    def test_guessers_keep_nobody_out(self) -> None:
        """Somebody who tries many names from one place does not fill the queue for all others."""
        refused = 0
        for number in range(200):
            attempt = self.attempt(f"user{number}", "192.0.2.1")
            if attempt.called:
                self.failureResultOf(attempt, TooManyLogins)
                refused += 1
            else:
                attempt.addErrback(lambda failure: failure.trap(LoginRefused) and None)
        self.assertGreater(refused, 0)
        other = self.attempt("ada", "192.0.2.2")
        self.assertNoResult(other)
        while self.threads.held:
            self.threads.finish()
        self.failureResultOf(other, LoginRefused)
        # And those who have ended count no more.
        again = self.attempt("user1", "192.0.2.1")
        self.assertNoResult(again)
        again.addErrback(lambda failure: None)

    def test_one_network(self) -> None:
        """All of a household's IPv6 addresses are one place."""
        for number in range(200):
            self.attempt(f"user{number}", f"2001:db8::{number:x}").addErrback(lambda failure: None)
        self.assertNoResult(self.attempt("ada", "2001:db8:0:1::1"))
