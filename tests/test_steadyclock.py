"""Tests of the reactor's clock."""

from __future__ import annotations

from twisted.internet.base import ReactorBase
from twisted.trial.unittest import SynchronousTestCase

from mezite import steadyclock
from mezite.steadyclock import keep_steady


class StillReactor(ReactorBase):
    """A reactor that waits for nothing; its clock is on a wall, and at hand."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        super().__init__()

    def installWaker(self) -> None:
        pass

    def seconds(self) -> float:
        return self.wall


class SteadyClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.since_start = 5000.0
        self.patch(steadyclock, "seconds", lambda: self.since_start)
        self.reactor = StillReactor()
        self.called: list[str] = []

    def later(self, seconds: float, name: str) -> None:
        self.reactor.callLater(seconds, self.called.append, name)

    def pass_time(self, seconds: float) -> None:
        self.since_start += seconds
        self.reactor.runUntilCurrent()

    def test_clock_set(self) -> None:
        """Timers come when they are due, however the time of day is set meanwhile."""
        for day in (86400, -86400):
            keep_steady(self.reactor)
            self.later(10, "ten")
            self.reactor.wall += day
            self.pass_time(9)
            self.assertEqual(self.called, [])
            self.pass_time(1.5)
            self.assertEqual(self.called, ["ten"])
            self.called.clear()

    def test_set_before(self) -> None:
        """A timer that was set before the change is due as it was."""
        self.later(20, "twenty")
        self.later(10, "ten")
        self.reactor.runUntilCurrent()
        keep_steady(self.reactor)
        keep_steady(self.reactor)
        self.pass_time(9)
        self.assertEqual(self.called, [])
        self.pass_time(2)
        self.assertEqual(self.called, ["ten"])
        self.pass_time(10)
        self.assertEqual(self.called, ["ten", "twenty"])
