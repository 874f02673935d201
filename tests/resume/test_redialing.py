"""Tests of when a client that was cut dials again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.resume.redialing import (
    FIRST_WAIT,
    LATE_WAIT,
    LONGEST_SECONDS,
    LONGEST_WAIT,
    STABLE_SECONDS,
    Redialing,
)


class RedialingTests(SynchronousTestCase):
    """The tries of one connection."""

    def waits(self, tries: Redialing, number: int, now: float = 0.0) -> list[float]:
        return [tries.next_wait(now) for _ in range(number)]

    def test_waits(self) -> None:
        """None before the first try, then twice as long each time, up to the longest."""
        tries = Redialing(0.0)
        tries.cut(STABLE_SECONDS)
        expected = [n * FIRST_WAIT for n in (0, 1, 2, 4, 8)]
        self.assertEqual(self.waits(tries, 6, STABLE_SECONDS), [*expected, LONGEST_WAIT])
        self.assertEqual(set(self.waits(tries, 5000, 40.0)), {LONGEST_WAIT})

    def test_long_absence(self) -> None:
        """Whoever was away for long waits a tenth of that at most, and never for long."""
        tries = Redialing(0.0)
        tries.cut(1000.0)
        self.waits(tries, 20, 1040.0)
        for after, longest in ((41.0, 4.1), (60.0, 6.0), (100.0, 10.0), (299.0, LATE_WAIT)):
            self.assertAlmostEqual(tries.next_wait(1000.0 + after), longest)
        tries.carried(1300.0)
        tries.cut(1301.0)
        self.assertEqual(tries.next_wait(1301.0), LONGEST_WAIT)

    def test_stable(self) -> None:
        """Only what carried for a while makes the next try immediate."""
        tries = Redialing(0.0)
        tries.cut(100.0)
        self.waits(tries, 3)
        tries.carried(200.0)
        tries.cut(200.0 + STABLE_SECONDS - 0.1)
        self.assertEqual(tries.next_wait(200.0 + STABLE_SECONDS), 4 * FIRST_WAIT)
        tries.carried(300.0)
        tries.cut(300.0 + STABLE_SECONDS)
        self.assertEqual(tries.next_wait(300.0 + STABLE_SECONDS), 0.0)

    def test_too_late(self) -> None:
        """The time is counted from each cut."""
        tries = Redialing(0.0)
        for at in (1000.0, 5000.0):
            tries.cut(at)
            self.assertFalse(tries.is_too_late(at + LONGEST_SECONDS - 1))
            self.assertTrue(tries.is_too_late(at + LONGEST_SECONDS))
