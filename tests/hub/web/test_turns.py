"""Tests of many requests at once."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.web.turns import Turns


class TurnsTests(SynchronousTestCase):
    """Turns, one after the other."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock, at_once=2)
        self.begun: list[int] = []

    def turn(self) -> None:
        """One turn of a reactor, which leaves what it makes due to the next one."""
        for call in self.clock.getDelayedCalls():
            self.clock.calls.remove(call)
            call.func()

    def ask(self, *numbers: int) -> None:
        for number in numbers:
            self.turns.begin(lambda number=number: self.begun.append(number))  # type: ignore[misc]

    def test_at_once(self) -> None:
        """A few begin at once, the others in the turns that follow, as they came."""
        self.ask(1, 2, 3, 4, 5)
        self.assertEqual(self.begun, [1, 2])
        self.turn()
        self.assertEqual(self.begun, [1, 2, 3, 4])
        self.ask(6)
        self.assertEqual(self.begun, [1, 2, 3, 4])
        self.turn()
        self.assertEqual(self.begun, [1, 2, 3, 4, 5, 6])

    def test_next_turn(self) -> None:
        """Each turn has as many, and nothing is left on the clock when nobody asks."""
        for number in range(3):
            self.ask(2 * number, 2 * number + 1)
            self.turn()
        self.assertEqual(self.begun, [0, 1, 2, 3, 4, 5])
        self.turn()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_brings_another(self) -> None:
        """A connection whose next request is there already cannot take all turns."""
        left = 10

        def request() -> None:
            nonlocal left
            left -= 1
            if left:
                self.turns.begin(request)

        self.turns.begin(request)
        self.assertEqual(left, 8)
        for expected in (6, 4, 2, 0):
            self.turn()
            self.assertEqual(left, expected)
