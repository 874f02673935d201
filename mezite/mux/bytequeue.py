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
        self._pieces: deque[bytes] = deque()
        # How much of the first piece is already gone.
        self._head = 0

    def append(self, data: bytes) -> None:
        pieces = self._pieces
        self.size += len(data)
        if pieces and len(pieces[-1]) + len(data) <= _JOIN_BELOW:
            pieces[-1] += data
        else:
            pieces.append(data)

    def take(self, count: int) -> list[bytes | memoryview]:
        """The oldest ``count`` bytes, in pieces; no piece is copied."""
        taken: list[bytes | memoryview] = []
        self.size -= count
        while count:
            piece = self._pieces[0]
            there = len(piece) - self._head
            if there <= count:
                taken.append(memoryview(piece)[self._head :] if self._head else piece)
                self._pieces.popleft()
                self._head = 0
                count -= there
            else:
                taken.append(memoryview(piece)[self._head : self._head + count])
                self._head += count
                count = 0
        return taken

    def pop(self) -> bytes:
        """The oldest piece."""
        assert self._head == 0, "a queue is read in pieces or in counts, not both"
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece

    def clear(self) -> None:
        self._pieces.clear()
        self._head = 0
        self.size = 0
