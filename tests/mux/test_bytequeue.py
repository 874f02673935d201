"""Tests of the queue of bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.bytequeue import ByteQueue


class ByteQueueTests(SynchronousTestCase):
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.one_of(st.integers(1, 9000), st.binary(min_size=1)), max_size=30))
    def test_order(self, steps: list[int | bytes]) -> None:
        """Bytes come out as they went in, whatever the pieces."""
        queue = ByteQueue()
        put = got = b""
        for step in steps:
            if isinstance(step, bytes):
                data = step * 300
                queue.append(data)
                put += data
            else:
                count = min(step, queue.size)
                taken = b"".join(queue.take(count))
                self.assertEqual(len(taken), count)
                got += taken
            self.assertEqual(queue.size, len(put) - len(got))
        self.assertEqual(got + b"".join(queue.take(queue.size)), put)

    def test_pop(self) -> None:
        """Large pieces come out as the objects they were."""
        queue = ByteQueue()
        pieces = [bytes(5000), bytes(6000)]
        for piece in pieces:
            queue.append(piece)
        self.assertIs(queue.pop(), pieces[0])
        self.assertIs(queue.pop(), pieces[1])
        self.assertEqual(queue.size, 0)

    def test_small_pieces_are_joined(self) -> None:
        """Single bytes do not cost an object each."""
        queue = ByteQueue()
        for _ in range(10_000):
            queue.append(b"x")
        popped = 0
        while queue.size:
            queue.pop()
            popped += 1
        self.assertEqual(popped, 3)
