"""Tests of the two windows of a stream."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.error import LocalMuxError, RemoteMuxError
from mezite.mux.limits import INITIAL_WINDOW
from mezite.mux.window import ReceiveWindow, SendWindow

MAXIMUM = 4 * INITIAL_WINDOW


class ReceiveWindowTests(SynchronousTestCase):
    def receive(self, window: ReceiveWindow, count: int) -> None:
        window.spend(count)
        window.unconsumed += count

    def test_no_update_for_little(self) -> None:
        """Updates wait until half of the window was consumed."""
        window = ReceiveWindow(INITIAL_WINDOW)
        self.receive(window, INITIAL_WINDOW)
        self.assertFalse(window.consume(INITIAL_WINDOW // 2 - 1))
        self.assertTrue(window.consume(1))
        self.assertEqual(window.reopen(0), INITIAL_WINDOW // 2)

    def test_grows_while_the_reader_keeps_up(self) -> None:
        """A reader that leaves nothing gets twice the window each time, up to the maximum."""
        window = ReceiveWindow(MAXIMUM)
        sizes = []
        for _ in range(4):
            count = window.size // 2
            self.receive(window, count)
            self.assertTrue(window.consume(count))
            window.reopen(2**40)
            sizes.append(window.size)
        self.assertEqual(sizes, [2 * INITIAL_WINDOW, MAXIMUM, MAXIMUM, MAXIMUM])
        self.assertEqual(window.left, MAXIMUM)

    def test_slow_reader_keeps_the_small_window(self) -> None:
        """A reader that leaves much is not given more to leave."""
        window = ReceiveWindow(MAXIMUM)
        self.receive(window, INITIAL_WINDOW)
        self.assertTrue(window.consume(INITIAL_WINDOW // 2))
        self.assertEqual(window.reopen(2**40), INITIAL_WINDOW // 2)
        self.assertEqual(window.growth, 0)

    def test_growth_is_rationed(self) -> None:
        """A window grows by no more than the tunnel has left."""
        window = ReceiveWindow(MAXIMUM)
        self.receive(window, INITIAL_WINDOW)
        window.consume(INITIAL_WINDOW)
        self.assertEqual(window.reopen(5), INITIAL_WINDOW + 5)
        self.assertEqual(window.growth, 5)

    def test_overrun(self) -> None:
        """Bytes beyond the window are the peer's error."""
        window = ReceiveWindow(MAXIMUM)
        window.spend(INITIAL_WINDOW)
        self.assertRaises(RemoteMuxError, window.spend, 1)

    def test_consumed_too_much(self) -> None:
        """Consuming what never came is ours."""
        self.assertRaises(LocalMuxError, ReceiveWindow(MAXIMUM).consume, 1)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
    def test_sum(self, steps: list[tuple[int, int]]) -> None:
        """What is left, unread and not yet announced is the window's size, always."""
        window = ReceiveWindow(MAXIMUM)
        for arriving, consumed in steps:
            self.receive(window, min(arriving, window.left))
            if window.consume(min(consumed, window.unconsumed)):
                window.reopen(10**5)
            self.assertEqual(window.left + window.unconsumed + window.credit, window.size)
            self.assertLessEqual(window.size, MAXIMUM)


class SendWindowTests(SynchronousTestCase):
    def test_overflow(self) -> None:
        """A window beyond 32 bits is refused."""
        window = SendWindow()
        window.open(2**32 - 1 - INITIAL_WINDOW)
        self.assertRaises(RemoteMuxError, window.open, 1)
