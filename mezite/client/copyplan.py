"""
Which parts of a file are read next, and which may be written now.

A :class:`CopyPlan` keeps a bounded stretch of one file in flight. Parts are
read in any order and cut as short as the other side likes; they are handed
out for writing in the order of the file, so that whatever interrupts a copy
leaves the beginning of the file and never one with holes. It has no I/O;
:mod:`mezite.client.copypump` acts on it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import frozen

from mezite.error import RemoteError

# Twice the window of an SSH channel, so that neither end ever waits for a request.
IN_FLIGHT: Final = 4 * 1024 * 1024
MAX_REQUESTS: Final = 64
# Below 1 KiB each on average: nobody means well who answers like that.
_MOST_HELD: Final = 4096


class ChangedMeanwhile(RemoteError):
    """The file was not the same at all times while it was read."""

    def __init__(self) -> None:
        super().__init__("the file changed while it was read")


class Crumbs(RemoteError):
    """The file is answered in more and smaller parts than we would keep."""

    def __init__(self) -> None:
        super().__init__("the file came in too many small parts")


@frozen
class Range:
    """A part that is wanted."""

    offset: int
    length: int


@frozen
class Piece:
    """A part that is there."""

    offset: int
    data: bytes


class CopyPlan:
    """
    The copy of one file, from ``start`` to wherever it ends.

    :param expected: where it probably ends; beyond that one part at a time is wanted.
    :param chunk: the longest part.
    """

    def __init__(self, *, start: int, expected: int, chunk: int) -> None:
        self._start = start
        self._expected = expected
        self._chunk = chunk
        self._in_flight = max(chunk, min(IN_FLIGHT, MAX_REQUESTS * chunk))
        self._next = start
        self._again: deque[Range] = deque()
        self._is_probing = False
        self._asked = 0
        self._held: dict[int, bytes] = {}
        # One beyond the last byte that was seen, handed out, and written.
        self._seen = start
        self._due = start
        self._written = start
        self._end: int | None = None

    def wanted(self) -> list[Range]:
        """What should be read now; each must be told of by :meth:`arrived`."""
        found = list(self._again)
        self._again.clear()
        while self._end is None and self._next + self._chunk - self._written <= self._in_flight:
            if self._next < self._expected:
                length = min(self._chunk, self._expected - self._next)
            elif not self._is_probing:
                self._is_probing = True
                length = self._chunk
            else:
                break
            found.append(Range(self._next, length))
            self._next += length
        self._asked += len(found)
        return found

    def arrived(self, wanted: Range, data: bytes) -> list[Piece]:
        """
        This is what was read; nothing at all means that the file ends there.

        Returns what is to be written now, in this order.

        :raises ChangedMeanwhile: if there is something behind the end.
        """
        self._asked -= 1
        if not data:
            self._end = wanted.offset if self._end is None else min(self._end, wanted.offset)
        else:
            self._held[wanted.offset] = data
            beyond = wanted.offset + len(data)
            self._seen = max(self._seen, beyond)
            if len(data) < wanted.length:
                self._again.append(Range(beyond, wanted.length - len(data)))
            elif wanted.offset >= self._expected:
                self._is_probing = False
        if self._end is not None and self._seen > self._end:
            raise ChangedMeanwhile
        if len(self._held) > _MOST_HELD:
            raise Crumbs
        return self._due_pieces()

    def _due_pieces(self) -> list[Piece]:
        found = []
        while self._due in self._held:
            piece = Piece(self._due, self._held.pop(self._due))
            self._due += len(piece.data)
            found.append(piece)
        return found

    def written(self, length: int) -> None:
        """So many bytes more have been written."""
        self._written += length

    @property
    def is_done(self) -> bool:
        """Whether all of the file is where it should be."""
        return self._end is not None and self._asked == 0 and self._written == self._end

    @property
    def position(self) -> int:
        """One beyond the last byte that is known to be written."""
        return self._written
