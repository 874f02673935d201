"""Tests of a thousand guesses: how many are checked, and who is kept out by them."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from mezite.auth.error import LoginRefused, TooManyFailures
from mezite.auth.limiter import (
    FREE_FAILURES,
    FREE_OF_NETWORK,
    FREE_OF_USER,
    LONGEST_DELAY,
    LONGEST_DELAY_OF_USER,
)
from mezite.auth.login import Login
from mezite.auth.secondfactor import Shown
from tests.auth.people import ADDRESS, PeopleTestCase
from tests.auth.world import PASSWORD

TRIES = 1000
ELSEWHERE = "198.51.100.7"


class BruteForceTests(PeopleTestCase):
    """Somebody who has a list of passwords, and all the time there is."""

    def setUp(self) -> None:
        super().setUp()
        self.checked = 0

    def guess(self, user: str, address: str, *, code: str = "") -> None:
        password = PASSWORD if code else f"guess {self.world.now}"
        trying = self.world.logins.authenticate(user, password, address, Shown(code))
        outcomes: list[object] = []
        Deferred.fromCoroutine(trying).addErrback(
            lambda failure: failure.trap(LoginRefused, TooManyFailures)
        ).addCallback(outcomes.append)
        self.assertNotIsInstance(outcomes[0], Login)

    def attack(self, seconds: float, *, users: int = 1, networks: int = 1, code: str = "") -> None:
        """A thousand guesses, evenly over this time; ``checked`` are those that cost a hash."""
        before = len(self.events("user.login.failed"))
        for number in range(TRIES):
            user = "ada" if users == 1 else f"user{number % users}"
            network = number % networks
            address = f"10.{network // 65536}.{network // 256 % 256}.{network % 256}"
            self.guess(user, address, code=code and f"{number:06}")
            self.world.now += seconds / TRIES
        self.checked = len(self.events("user.login.failed")) - before

    def test_at_once(self) -> None:
        """A thousand guesses within a second: five are checked."""
        self.attack(0.5)
        self.assertEqual(self.checked, FREE_FAILURES)

    def test_for_hours(self) -> None:
        """A thousand guesses within an hour: two a minute are checked, and none gets in."""
        self.attack(3600.0)
        self.assertLess(self.checked, FREE_FAILURES + 6 + 3600 / LONGEST_DELAY)

    def test_many_names(self) -> None:
        """A thousand names from one place within a minute: a few tens are checked."""
        self.attack(60.0, users=TRIES)
        self.assertLess(self.checked, FREE_OF_NETWORK + 10)

    def test_many_places(self) -> None:
        """One name from a thousand places within a minute: twenty are checked, and a few."""
        self.attack(60.0, networks=TRIES)
        self.assertLess(self.checked, FREE_OF_USER + 10)

    def test_codes(self) -> None:
        """Who has the password gets as few codes checked."""
        self.enrol()
        self.attack(3600.0, code="x")
        self.assertLess(self.checked, FREE_FAILURES + 6 + 3600 / LONGEST_DELAY)

    def test_right_user_where_they_were(self) -> None:
        """The user is let in at once where they logged in before, during every attack."""
        self.result(self.world.logins.authenticate("ada", PASSWORD, ELSEWHERE))
        for attack in ({}, {"users": TRIES}, {"networks": TRIES}):
            self.attack(30.0, **attack)
            self.result(self.world.logins.authenticate("ada", PASSWORD, ELSEWHERE))

    def test_right_user_in_a_new_place(self) -> None:
        """In a new place the user waits some seconds at most, however many guess meanwhile."""
        self.attack(30.0, networks=TRIES)
        first = self.world.logins.authenticate("ada", PASSWORD, ELSEWHERE)
        self.refusal(first, TooManyFailures)
        self.attack(LONGEST_DELAY_OF_USER, networks=TRIES)
        self.result(self.world.logins.authenticate("ada", PASSWORD, ELSEWHERE))

    def test_one_place_delays_nobody_elsewhere(self) -> None:
        """One who guesses from one place delays the user nowhere else."""
        self.attack(0.5)
        self.result(self.world.logins.authenticate("ada", PASSWORD, ELSEWHERE))
        self.refusal(self.world.logins.authenticate("ada", PASSWORD, "10.0.0.0"), TooManyFailures)
        self.log_in()
        self.assertNotEqual(ADDRESS, ELSEWHERE)
