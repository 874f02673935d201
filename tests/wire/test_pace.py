"""Tests of how much a line is given at once."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.pace import LEAST, MOST, Pace


@define
class FakeQueue:
    """A queue that keeps the bounds that it is given."""

    waiting: int | None = 1
    bounds: list[int] = field(factory=list)

    def bind(self, count: int) -> None:
        self.bounds.append(count)

    def size(self) -> int | None:
        return self.waiting


class PaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = FakeQueue()
        self.pace = Pace(self.queue, self.clock.seconds)

    def fill(self, bytes_per_second: float, seconds: float = 0.02) -> None:
        """Send for so long to a line that is always full, and takes so much."""
        self.pace.full(int(bytes_per_second * seconds))
        self.clock.advance(seconds)
        self.pace.relieved()

    def test_fast(self) -> None:
        """A line that has never been full is given as much as any."""
        self.pace.sent(10_000_000)
        self.assertEqual(self.pace.turn, MOST)
        self.assertEqual(self.queue.bounds, [2 * MOST])

    def test_slow(self) -> None:
        """A slow line is given what it takes in 10 ms, and the kernel twice as much."""
        for _ in range(3):
            self.fill(4_000_000)
        self.assertEqual(self.pace.turn, 40_000)
        self.assertEqual(self.queue.bounds, [2 * MOST, 80_000])

    def test_very_slow(self) -> None:
        """The slowest is given a TLS record."""
        for _ in range(3):
            self.fill(1000)
        self.assertEqual(self.pace.turn, LEAST)

    def test_between_fast_ones(self) -> None:
        """A line that is full and yet fast is given as much as any."""
        for _ in range(3):
            self.fill(200_000_000)
        self.assertEqual(self.pace.turn, MOST)

    def test_pauses(self) -> None:
        """Times when nobody had anything to send say nothing of the line."""
        for _ in range(3):
            self.fill(4_000_000)
        self.clock.advance(60)
        self.pace.full(1000)
        self.clock.advance(0.001)
        self.pace.relieved()
        self.assertEqual(self.pace.turn, 40_000)

    def test_ran_dry(self) -> None:
        """If it was us who were slow, it is given more and not less."""
        for _ in range(3):
            self.fill(4_000_000)
        self.queue.waiting = 0
        self.fill(1_000_000)
        self.assertEqual(self.pace.turn, 80_000)
        for _ in range(3):
            self.fill(1_000_000)
        self.assertEqual(self.pace.turn, MOST)

    def test_easy(self) -> None:
        """A line that has become fast, so that it is never full, is found out."""
        for _ in range(3):
            self.fill(4_000_000)
        for _ in range(100):
            self.pace.sent(40_000)
        self.assertEqual(self.pace.turn, MOST)

    def test_no_time(self) -> None:
        """Two reliefs at one time are no division by nought."""
        self.pace.full(10)
        self.pace.relieved()
        self.pace.full(10)
        self.pace.relieved()
        self.assertEqual(self.pace.turn, MOST)

    def test_unknown(self) -> None:
        """Where the kernel does not tell, the line is measured all the same."""
        self.queue.waiting = None
        for _ in range(3):
            self.fill(4_000_000)
        self.assertEqual(self.pace.turn, 40_000)
