"""Tests of the delays after failed logins."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import TooManyFailures
from mezite.auth.limiter import (
    ENTRIES_LIMIT,
    FORGET_AFTER,
    FORGET_ONE_AFTER,
    FREE_FAILURES,
    FREE_OF_NETWORK,
    FREE_OF_USER,
    KNOWN_FOR,
    LONGEST_DELAY,
    LONGEST_DELAY_OF_USER,
    NETWORKS_PER_USER,
    FailureLimiter,
)


class FailureLimiterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limiter = FailureLimiter()

    def try_often(self, times: int, *, address: str = "192.0.2.1", now: float = 0.0) -> None:
        for _ in range(times):
            self.limiter.begin("ada", address, now)

    def wait(self, *, user: str = "ada", address: str = "192.0.2.1", now: float = 0.0) -> float:
        try:
            self.limiter.begin(user, address, now)
        except TooManyFailures as error:
            return error.wait
        return 0.0

    def test_growing_delay(self) -> None:
        """After some free failures each one doubles the wait, up to a ceiling."""
        self.try_often(FREE_FAILURES)
        now, waits = 0.0, []
        for _ in range(8):
            waits.append(self.wait(now=now))
            now += waits[-1]
            self.assertEqual(self.wait(now=now), 0.0)
        self.assertEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30])

    def test_refused_tries_do_not_count(self) -> None:
        """Whoever hammers does not wait longer for it, and neither does whom they hammer at."""
        self.try_often(FREE_FAILURES)
        for _ in range(1000):
            self.assertEqual(self.wait(), 1.0)

    def test_nobody_else(self) -> None:
        """Other addresses and other users are not delayed."""
        self.try_often(FREE_FAILURES)
        self.assertEqual(self.wait(address="192.0.2.2"), 0.0)
        self.assertEqual(self.wait(user="bob"), 0.0)

    def test_success(self) -> None:
        """A success forgets the failures before it."""
        self.try_often(FREE_FAILURES)
        self.limiter.succeeded("ada", "192.0.2.1", 0.0)
        self.assertEqual(self.wait(), 0.0)
        self.assertEqual(len(self.limiter), 1)

    def test_withdraw(self) -> None:
        """A try that came to no end is not counted, and leaves nothing behind."""
        for _ in range(3 * FREE_FAILURES):
            self.assertEqual(self.wait(), 0.0)
            self.limiter.withdraw("ada", "192.0.2.1")
        self.assertEqual(len(self.limiter), 0)
        self.limiter.withdraw("ada", "192.0.2.1")

    def test_quiet_while(self) -> None:
        """After a quiet while the count begins again."""
        self.try_often(FREE_FAILURES)
        self.assertEqual(self.wait(now=FORGET_AFTER), 0.0)
        self.assertEqual(self.wait(now=FORGET_AFTER), 0.0)

    def test_clock_set_back(self) -> None:
        """A clock that is set back locks nobody out."""
        self.try_often(FREE_FAILURES, now=1e9)
        self.assertEqual(self.wait(now=5.0), 0.0)

    def test_six(self) -> None:
        """The addresses of one IPv6 network count as one, and mapped ones as IPv4."""
        self.try_often(FREE_FAILURES, address="2001:db8::1")
        self.assertEqual(self.wait(address="[2001:db8::ffff]"), 1.0)
        self.assertEqual(self.wait(address="2001:db8:0:1::1"), 0.0)
        self.try_often(FREE_FAILURES)
        self.assertEqual(self.wait(address="::ffff:192.0.2.1"), 1.0)

    def test_bounded(self) -> None:
        """The table has a bound, and keeps what is newest."""
        for number in range(ENTRIES_LIMIT + 10):
            self.limiter.begin(str(number), f"{number}{'x' * 1000}", 0.0)
            self.limiter.succeeded(str(number), f"{number}{'x' * 1000}", 0.0)
            self.limiter.begin(str(number), f"{number}{'x' * 1000}", 0.0)
        for number in range(FREE_OF_USER):
            self.limiter.begin("bob", f"bob{number}", 0.0)
        for number in range(ENTRIES_LIMIT + 10):
            self.assertGreater(self.wait(user="bob", address=f"b{number}"), 0.0)
        self.assertEqual(len(self.limiter), ENTRIES_LIMIT)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0, 2000), max_size=30))
    def test_never_for_long(self, times: list[float]) -> None:
        """However somebody fails, they wait for the ceiling at most."""
        limiter = FailureLimiter()
        for now in sorted(times):
            try:
                limiter.begin("ada", "", now)
            except TooManyFailures as error:
                self.assertLessEqual(error.wait, LONGEST_DELAY)


class LimiterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.limiter = FailureLimiter()
        self.tried = 0

    def attempt(self, user: str, address: str, now: float) -> float:
        """How long the caller is to wait; nothing, if the password was looked at."""
        try:
            self.limiter.begin(user, address, now)
        except TooManyFailures as error:
            return error.wait
        self.tried += 1
        return 0.0


class OneNetworkTests(LimiterTestCase):
    """Somebody who tries name after name from one place."""

    def wait(self, user: str, now: float, address: str = "192.0.2.1") -> float:
        return self.attempt(user, address, now)

    def test_growing_delay(self) -> None:
        """After some free failures each name waits, and longer each time."""
        for number in range(FREE_OF_NETWORK):
            self.assertEqual(self.wait(f"u{number}", 0.0), 0.0)
        now, waits = 0.0, []
        for number in range(6):
            waits.append(self.wait(f"v{number}", now))
            now += waits[-1]
            self.assertEqual(self.wait(f"v{number}", now), 0.0)
        self.assertEqual([round(wait) for wait in waits[:3]], [1, 2, 4])
        self.assertLessEqual(max(waits), LONGEST_DELAY)

    def test_thousand_names(self) -> None:
        """A thousand names in as many seconds: at most so many were tried."""
        for number in range(1000):
            self.wait(f"u{number}", float(number))
        self.assertLess(self.tried, FREE_OF_NETWORK + 1000 / FORGET_ONE_AFTER + 40)

    def test_who_works_there(self) -> None:
        """Who logged in there lately is not kept out by it, for as long as it lasts."""
        self.limiter.succeeded("ada", "192.0.2.1", 0.0)
        for number in range(1000):
            self.wait(f"u{number}", 1.0)
        self.assertGreater(self.wait("bob", 1.0), 0.0)
        self.assertEqual(self.wait("ada", 1.0), 0.0)
        self.assertEqual(self.wait("bob", 1.0, "192.0.2.2"), 0.0)
        self.limiter.succeeded("ada", "192.0.2.1", 1.0)
        later = KNOWN_FOR + 2.0
        for number in range(1000):
            self.wait(f"u{number}", later)
        self.assertGreater(self.wait("ada", later), 0.0)

    def test_ends_soon(self) -> None:
        """Some minutes after the attack nobody waits there."""
        for number in range(10_000):
            self.wait(f"u{number}", float(number) / 10)
        quiet = 1000.0 + 10 * FORGET_ONE_AFTER
        for number in range(3):
            self.assertEqual(self.wait(f"new{number}", quiet), 0.0)

    def test_successes_are_no_failures(self) -> None:
        """An office that logs in all day waits for nothing."""
        for number in range(1000):
            self.assertEqual(self.wait(f"u{number}", 0.0), 0.0)
            self.limiter.succeeded(f"u{number}", "192.0.2.1", 0.0)


class OneUserTests(LimiterTestCase):
    """Many who guess at one user from everywhere."""

    def wait(self, address: str, now: float, user: str = "ada") -> float:
        return self.attempt(user, address, now)

    def attack(self, now: float = 0.0, networks: int = 1000) -> None:
        for number in range(networks):
            self.wait(f"10.0.{number // 256}.{number % 256}", now)

    def test_thousand_networks(self) -> None:
        """Of a thousand guesses from as many networks few are tried at once."""
        self.attack()
        self.assertEqual(self.tried, FREE_OF_USER)

    def test_elsewhere(self) -> None:
        """The user waits some seconds in a new place, however many guess meanwhile."""
        self.attack()
        wait = self.wait("192.0.2.1", 0.0)
        self.assertGreater(wait, 0.0)
        self.assertLessEqual(wait, LONGEST_DELAY_OF_USER)
        for tenth in range(60):
            self.attack(tenth / 10, networks=100)
        self.assertEqual(self.wait("192.0.2.1", 6.0), 0.0)

    def test_known_place(self) -> None:
        """Where the user logged in lately they wait for nothing."""
        self.limiter.succeeded("ada", "192.0.2.1", 0.0)
        self.attack(1.0)
        self.assertEqual(self.wait("192.0.2.1", 1.0), 0.0)
        self.assertGreater(self.wait("192.0.2.2", 1.0), 0.0)
        self.assertEqual(self.wait("192.0.2.2", 1.0, "bob"), 0.0)

    def test_known_places_are_few(self) -> None:
        """The places of a user that count are the latest ones."""
        for number in range(NETWORKS_PER_USER + 1):
            self.limiter.succeeded("ada", f"192.0.2.{number}", 0.0)
        self.attack(1.0)
        self.assertGreater(self.wait("192.0.2.0", 1.0), 0.0)
        self.assertEqual(self.wait("192.0.2.1", 1.0), 0.0)

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.floats(0, 2000),
                st.sampled_from(["ada", "bob", ""]),
                st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", "?"]),
                st.sampled_from(["fail", "succeed", "withdraw"]),
            ),
            max_size=60,
        )
    )
    def test_never_for_long(self, tries: list[tuple[float, str, str, str]]) -> None:
        """Whatever happens, and even if time runs back, nobody waits for more than a ceiling."""
        limiter = FailureLimiter()
        for now, user, address, end in tries:
            try:
                limiter.begin(user, address, now)
            except TooManyFailures as error:
                self.assertLessEqual(error.wait, max(LONGEST_DELAY, LONGEST_DELAY_OF_USER))
                continue
            if end == "succeed":
                limiter.succeeded(user, address, now)
            elif end == "withdraw":
                limiter.withdraw(user, address)
