"""Tests of when a client that was cut dials again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.resume.redialing import (
    FIRST_WAIT,
    LONGEST_SECONDS,
    LONGEST_WAIT,
    STABLE_SECONDS,
    Redialing,
)


class RedialingTests(SynchronousTestCase):
    """The tries of one connection."""

    def waits(self, tries: Redialing, number: int) -> list[float]:
        return [tries.next_wait() for _ in range(number)]

    def test_waits(self) -> None:
        """None before the first try, then twice as long each time, up to the longest."""
        tries = Redialing(0.0)
        tries.cut(STABLE_SECONDS)
        expected = [n * FIRST_WAIT for n in (0, 1, 2, 4, 8)]
        self.assertEqual(self.waits(tries, 6), [*expected, LONGEST_WAIT])
        self.assertEqual(set(self.waits(tries, 5000)), {LONGEST_WAIT})

    def test_stable(self) -> None:
        """Only what carried for a while makes the next try immediate."""
        tries = Redialing(0.0)
        tries.cut(100.0)
        self.waits(tries, 3)
        tries.carried(200.0)
        tries.cut(200.0 + STABLE_SECONDS - 0.1)
        self.assertEqual(tries.next_wait(), 4 * FIRST_WAIT)
        tries.carried(300.0)
        tries.cut(300.0 + STABLE_SECONDS)
        self.assertEqual(tries.next_wait(), 0.0)

    def test_too_late(self) -> None:
        """The time is counted from each cut."""
        tries = Redialing(0.0)
        for at in (1000.0, 5000.0):
            tries.cut(at)
            self.assertFalse(tries.is_too_late(at + LONGEST_SECONDS - 1))
            self.assertTrue(tries.is_too_late(at + LONGEST_SECONDS))
