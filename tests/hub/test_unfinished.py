"""
How many handshakes may be unfinished, and who gives way.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.unfinished import YIELDS_AFTER, Unfinished


@define(eq=False)
class Arrival:
    """A connection that has begun its handshake."""

    is_dropped: bool = False

    def abortConnection(self) -> None:
        self.is_dropped = True


class UnfinishedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.unfinished = Unfinished(6)

    def come(self, network: str, now: float = 0.0, number: int = 1) -> list[Arrival]:
        """So many of them, of which those are returned that were let in."""
        came: list[Any] = []
        for _ in range(number):
            if self.unfinished.has_room(network, now):
                came.append(Arrival())
                self.unfinished.add(came[-1], network, now)
        return came

    def test_share(self) -> None:
        """One address has half of the places, and what has no address all of them."""
        self.assertEqual(len(self.come("a", number=9)), 3)
        self.assertEqual(len(self.come("", number=9)), 3)

    def test_oldest_of_most(self) -> None:
        """Who has most gives up the oldest, for one that has fewer."""
        crowd = self.come("a", 0.0, 3)
        couple = self.come("b", 0.0, 2)
        self.come("c", 0.0)
        self.assertEqual(len(self.come("d", YIELDS_AFTER)), 1)
        self.assertEqual([each.is_dropped for each in crowd], [True, False, False])
        # Now two have two.
        self.assertEqual(len(self.come("e", YIELDS_AFTER)), 1)
        self.assertEqual(sum(each.is_dropped for each in crowd + couple), 2)
        # Who has one has no more than anybody.
        self.assertEqual(self.come("d", YIELDS_AFTER), [])

    def test_not_at_once(self) -> None:
        """Who has just begun is not dropped for anybody."""
        self.come("a", 5.0, 3)
        self.come("b", 5.0, 3)
        self.assertEqual(self.come("c", 5.0 + YIELDS_AFTER - 0.1), [])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3), st.booleans())))
    def test_bound(self, steps: list[tuple[str, float, bool]]) -> None:
        """Whoever comes and goes, there are never more than places, and nobody is kept."""
        self.setUp()
        now, there = 0.0, []
        for network, seconds, ends in steps:
            now += seconds
            there += self.come(network, now)
            if ends and there:
                gone: Any = there.pop(0)
                self.unfinished.discard(gone)
                self.unfinished.discard(gone)
            there = [each for each in there if not each.is_dropped]
            self.assertEqual(len(self.unfinished), len(there))
            self.assertLessEqual(len(there), 6)
        for gone in there:
            self.unfinished.discard(gone)
        self.assertEqual((len(self.unfinished), self.unfinished._of), (0, {}))
