"""
How several processes share the connections that come to one listening socket.

The kernel wakes all that wait, and whoever is quickest would take most; a tunnel stays
where it was accepted for weeks. So whoever has more connections than another leaves the
next ones to it for a moment, and takes what is still there then: a process that hangs
costs five milliseconds, and never leaves the port deaf.
"""

from __future__ import annotations

import mmap
import os
from typing import Any, Final

from attrs import define, field
from twisted.internet import tcp
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

# Nobody does this worker's share.
ABSENT: Final = 0xFFFFFFFF
# Connections that are taken at once before it is looked who has fewer.
BATCH: Final = 8
# So many more than another one has are too many.
LEAD: Final = 1
# How long the others have to take a connection: a reactor at work comes round in this time.
PATIENCE: Final = 0.005


class Board:
    """
    How many connections each worker has, in memory that all of them share.

    Each writes its own number and reads the others'. Nothing depends on it being
    right but who accepts first.
    """

    def __init__(self, fd: int, workers: int) -> None:
        """:param fd: stays the caller's."""
        self._memory = mmap.mmap(fd, 4 * (workers + 1))
        self._counts = memoryview(self._memory).cast("I")

    @staticmethod
    def create(workers: int) -> int:
        """A descriptor of a new board, on which nobody is there."""
        fd = os.memfd_create("mezite-workers")
        os.ftruncate(fd, 4 * (workers + 1))
        board = Board(fd, workers)
        for number in range(workers + 1):
            board.set(number, ABSENT)
        return fd

    def set(self, worker: int, count: int) -> None:
        self._counts[worker] = count

    def is_ahead(self, worker: int) -> bool:
        """Whether another one has so many fewer that it should go first."""
        counts = self._counts
        own = counts[worker]
        least = min(count for number, count in enumerate(counts) if number != worker)
        return bool(own >= least + LEAD)


class _CountedServer(tcp.Server):
    """A TCP connection that says when it is over."""

    sharing: EvenAccepting

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.sharing.closed()


@define(eq=False)
class EvenAccepting:
    """
    One worker's accepting on the port.

    :param port: what ``adoptStreamPort`` gave, which is changed.
    """

    _port: Any
    _board: Board
    _worker: int
    _clock: IReactorTime
    connections: int = field(init=False, default=0)
    _accept: Any = field(init=False)
    _is_stopped: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._board.set(self._worker, 0)
        self._accept = self._port.doRead
        self._port.doRead = self._read
        self._port.transport = self._opened

    def stop(self) -> None:
        """Accept nothing more; connections that are there stay."""
        self._is_stopped = True
        self._board.set(self._worker, ABSENT)
        self._port.stopListening()

    def closed(self) -> None:
        self._count(-1)

    def _opened(self, *given: Any) -> _CountedServer:
        server = _CountedServer(*given)
        server.sharing = self
        self._count(1)
        return server

    def _count(self, change: int) -> None:
        self.connections += change
        if not self._is_stopped:
            self._board.set(self._worker, self.connections)

    def _read(self) -> None:
        if self._board.is_ahead(self._worker):
            self._port.stopReading()
            self._clock.callLater(PATIENCE, self._take_what_is_left)
        else:
            self._take()

    def _take(self) -> None:
        self._port.numberAccepts = BATCH
        self._accept()

    def _take_what_is_left(self) -> None:
        if not self._is_stopped:
            self._take()
            self._port.startReading()
