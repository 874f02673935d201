"""Tests of what is read next of a file, and what is written when."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.copyplan import (
    IN_FLIGHT,
    MAX_REQUESTS,
    ChangedMeanwhile,
    CopyPlan,
    Crumbs,
    Range,
)


class CopyPlanTests(SynchronousTestCase):
    @given(
        st.integers(0, 3000),
        st.integers(0, 4000),
        st.integers(1, 300),
        st.integers(0, 1000),
        st.randoms(use_true_random=False),
    )
    @settings(max_examples=100, deadline=None)
    def test_any_answers(
        self, size: int, expected: int, chunk: int, start: int, random: Random
    ) -> None:
        """
        Whatever the order and however short the reads, each byte is written
        once and in the order of the file, with little in flight.
        """
        content = random.randbytes(size)
        start = min(start, size)
        plan = CopyPlan(start=start, expected=expected, chunk=chunk)
        asked: list[Range] = []
        unwritten: list[int] = []
        copied = bytearray(content[:start])
        while not plan.is_done:
            asked += plan.wanted()
            self.assertTrue(asked or unwritten, "the plan is stuck")
            self.assertLessEqual(len(asked), MAX_REQUESTS)
            if unwritten and (not asked or random.random() < 0.5):
                plan.written(unwritten.pop(random.randrange(len(unwritten))))
                continue
            wanted = asked.pop(random.randrange(len(asked)))
            data = content[wanted.offset : wanted.offset + wanted.length]
            if len(data) > 1 and random.random() < 0.3:
                data = data[: random.randrange(1, len(data))]
            for piece in plan.arrived(wanted, data):
                self.assertEqual(piece.offset, len(copied))
                copied += piece.data
                unwritten.append(len(piece.data))
        self.assertEqual(bytes(copied), content)
        self.assertEqual(plan.position, size)

    def test_bounded(self) -> None:
        """A file of any size has no more in flight than the bound."""
        for chunk in (1024, 32 * 1024, 255 * 1024):
            plan = CopyPlan(start=0, expected=2**64 - 1, chunk=chunk)
            ranges = plan.wanted()
            self.assertLessEqual(sum(each.length for each in ranges), IN_FLIGHT)
            self.assertLessEqual(len(ranges), MAX_REQUESTS)
            self.assertEqual(plan.wanted(), [])

    def test_nothing_is_read_far_beyond(self) -> None:
        """Behind the expected end, one part at a time is asked for."""
        plan = CopyPlan(start=0, expected=10, chunk=8)
        self.assertEqual(plan.wanted(), [Range(0, 8), Range(8, 2), Range(10, 8)])
        self.assertEqual(plan.wanted(), [])

    def test_growing(self) -> None:
        """A file that became longer is copied as it is."""
        plan = CopyPlan(start=0, expected=0, chunk=4)
        for offset in (0, 4):
            self.assertEqual(plan.wanted(), [Range(offset, 4)])
            (piece,) = plan.arrived(Range(offset, 4), b"abcd")
            plan.written(len(piece.data))
        plan.arrived(plan.wanted()[0], b"")
        self.assertTrue(plan.is_done)

    def test_shrinking(self) -> None:
        """A file that became shorter while it was read is not copied with a hole."""
        plan = CopyPlan(start=0, expected=12, chunk=4)
        first, second, *_ = plan.wanted()
        plan.arrived(second, b"5678")
        self.assertRaises(ChangedMeanwhile, plan.arrived, first, b"")

    def test_data_behind_the_end(self) -> None:
        """Data behind what was said to be the end is refused."""
        plan = CopyPlan(start=0, expected=12, chunk=4)
        first, second, *_ = plan.wanted()
        plan.arrived(first, b"")
        self.assertRaises(ChangedMeanwhile, plan.arrived, second, b"5678")

    def test_crumbs(self) -> None:
        """A node that answers byte by byte cannot make us hold millions of parts."""
        plan = CopyPlan(start=0, expected=2**20, chunk=2**18)
        _, second, *_ = plan.wanted()

        def nibble() -> None:
            wanted = second
            while True:
                plan.arrived(wanted, b"x")
                (wanted,) = plan.wanted()

        self.assertRaises(Crumbs, nibble)

    def test_resumed_at_the_end(self) -> None:
        """A file that is there already takes one question."""
        plan = CopyPlan(start=7, expected=7, chunk=4)
        (wanted,) = plan.wanted()
        self.assertEqual(plan.arrived(wanted, b""), [])
        self.assertTrue(plan.is_done)
