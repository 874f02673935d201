"""Tests of when tunnels are asked for signs of life, many of them on one clock."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.keepalive import INTERVAL, Keepalive


def _nothing() -> None:
    pass


class KeepalivesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[int] = []

    def begin(self, number: int, ask: Callable[[], None] | None = None) -> Keepalive:
        """One that notes its number when it asks."""
        keepalive = Keepalive(
            self.clock,
            pass_by=_nothing,
            ask=ask or (lambda: self.asked.append(number)),
            give_up=_nothing,
        )
        keepalive.start()
        return keepalive

    def wait_until_due(self) -> None:
        self.clock.advance(INTERVAL)

    def test_spread_over_their_second(self) -> None:
        """More than are quickly asked are asked in parts, all of them within their second."""
        for number in range(300):
            self.begin(number)
        self.wait_until_due()
        self.assertLess(len(self.asked), 100)
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.asked, list(range(300)))

    def test_one_that_fails(self) -> None:
        """What one raises is logged, and the others are asked all the same."""

        def fail() -> None:
            raise RuntimeError("no transport")

        self.begin(1)
        self.begin(2, fail)
        self.begin(3)
        self.wait_until_due()
        self.assertEqual(self.asked, [1, 3])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_nothing_is_left(self) -> None:
        """When all have ended no timer is left, whether they had asked or not."""
        some = [self.begin(number) for number in range(200)]
        for each in some[:100]:
            each.stop()
        self.wait_until_due()
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.asked, list(range(100, 200)))
        for each in some:
            each.stop()
        self.clock.advance(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended_by_another(self) -> None:
        """One that is ended while those of its second are asked is not asked any more."""
        first = self.begin(1, lambda: second.stop())
        second = self.begin(2)
        self.wait_until_due()
        self.assertEqual(self.asked, [])
        first.stop()
        self.clock.advance(2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
