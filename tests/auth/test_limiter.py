"""Tests of the delays after failed logins."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import TooManyFailures
from mezite.auth.limiter import (
    ENTRIES_LIMIT,
    FORGET_AFTER,
    FREE_FAILURES,
    LONGEST_DELAY,
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
        self.limiter.succeeded("ada", "192.0.2.1")
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
            self.limiter.begin(str(number), "x" * 1000, 0.0)
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
