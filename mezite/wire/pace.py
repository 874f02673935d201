"""
How much a TCP connection is given at once, by how fast its line is.

What is written to a slow line waits, first in the kernel, which takes four
megabytes, and a key that is pressed meanwhile waits behind it. A :class:`Pace`
keeps what waits to what leaves in some 10 ms: it bounds the kernel's queue, and
says how much is worth making ready. On fast lines both are large, because each
turn has its price. It sends nothing itself.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from fcntl import ioctl
from typing import Final
from typing import Protocol as TypingProtocol

from attrs import frozen

# A turn on a fast line: 16 TLS records. More is not faster.
MOST: Final = 256 * 1024
# A TLS record; less would cost more for each byte than it gains in time.
LEAST: Final = 16 * 1024
# What the line takes in this time is one turn.
_SECONDS: Final = 0.010
# Linux: how much of what was written has not been sent, and the bound on it. The socket can be
# written to again when half of the bound is left.
_SIOCOUTQNSD: Final = 0x894B
_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Queue(TypingProtocol):
    """What was written to a connection and has not been sent."""

    def bind(self, count: int, /) -> None:
        """Let so many bytes wait, about, before no more are taken."""

    def size(self) -> int | None:
        """How many wait, if that can be known."""


@frozen
class KernelQueue:
    """The queue of a socket, as far as this system tells."""

    _handle: socket.socket

    def bind(self, count: int) -> None:
        if _LOWAT is not None:
            self._handle.setsockopt(socket.IPPROTO_TCP, _LOWAT, count)

    def size(self) -> int | None:
        if sys.platform != "linux":
            return None
        try:
            answer = ioctl(self._handle, _SIOCOUTQNSD, b"\0\0\0\0")
        except OSError:
            return None
        return int.from_bytes(answer, sys.byteorder)


class Pace:
    """
    What one connection is given; ``turn`` is how many bytes at once.

    It learns from the times when the socket is full: from one relief to the
    next, the line took what was sent between, unless it ran dry meanwhile.
    """

    __slots__ = ("_begun", "_bound", "_easy", "_full_at", "_queue", "_seconds", "_sent", "turn")

    def __init__(self, queue: Queue, seconds: Callable[[], float]) -> None:
        self._queue = queue
        self._seconds = seconds
        self.turn = MOST
        self._bound = 0
        self._sent = 0
        # Bytes since the socket was full, all of which it took at once.
        self._easy = 0
        self._begun: float | None = None
        self._full_at = 0.0
        self._bind()

    def sent(self, count: int) -> None:
        """The socket took all of so many bytes."""
        self._sent += count
        self._easy += count
        if self._easy > 8 * MOST and self.turn < MOST:
            self._take(2 * self.turn)

    def full(self, count: int) -> None:
        """The socket did not take all of so many bytes: the rest waits."""
        self._sent += count
        self._easy = 0
        self._full_at = self._seconds()

    def relieved(self) -> None:
        """The socket has taken what waited."""
        now, begun = self._seconds(), self._begun
        self._begun, sent, self._sent = now, self._sent, 0
        if begun is None or now <= begun:
            return
        if self._queue.size() == 0:
            # We came too late, and know no more than that it could be more.
            self._take(2 * self.turn)
        elif (now - self._full_at) * 2 >= now - begun:
            self._take(int(sent / (now - begun) * _SECONDS))

    def _take(self, turn: int) -> None:
        self.turn = min(max(turn, LEAST), MOST)
        # Each change has a price, too.
        if not self._bound <= 4 * self.turn <= 4 * self._bound:
            self._bind()

    def _bind(self) -> None:
        self._bound = 2 * self.turn
        self._queue.bind(self._bound)
