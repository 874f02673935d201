"""
A first-in, first-out queue of bytes that neither copies nor wastes.

Large pieces stay the objects they were; small ones are joined, so that a
peer's one-byte frames cost no more than their bytes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

# Below this, copying a piece is cheaper than the 33 bytes of an object for it.
_JOIN_BELOW: Final = 4096


class ByteQueue:
    """Bytes that wait, and how many they are."""

    __slots__ = ("_head", "_pieces", "size")

    def __init__(self) -> None:
        self.size = 0
        # Only while there are any: an empty deque takes 760 bytes, and most streams are idle.
        self._pieces: deque[bytes] | None = None
        # How much of the first piece is already gone.
        self._head = 0

    def append(self, data: bytes) -> None:
        pieces = self._pieces
        self.size += len(data)
        if pieces is None:
            self._pieces = deque((data,))
        elif pieces and len(pieces[-1]) + len(data) <= _JOIN_BELOW:
            pieces[-1] += data
        else:
            pieces.append(data)

    def take(self, count: int) -> list[bytes | memoryview]:
        """The oldest ``count`` bytes, in pieces; no piece is copied."""
        taken: list[bytes | memoryview] = []
        self.size -= count
        pieces = self._pieces
        while count:
            assert pieces is not None
            piece = pieces[0]
            there = len(piece) - self._head
            if there <= count:
                taken.append(memoryview(piece)[self._head :] if self._head else piece)
                pieces.popleft()
                self._head = 0
                count -= there
            else:
                taken.append(memoryview(piece)[self._head : self._head + count])
                self._head += count
                count = 0
        if not self.size:
            self._pieces = None
        return taken

    def pop(self) -> bytes:
        """The oldest piece."""
        assert self._head == 0, "a queue is read in pieces or in counts, not both"
        assert self._pieces is not None
        piece = self._pieces.popleft()
        self.size -= len(piece)
        if not self.size:
            self._pieces = None
        return piece

    def clear(self) -> None:
        self._pieces = None
        self._head = 0
        self.size = 0
