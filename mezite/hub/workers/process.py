"""
A worker's process: what the hub has left open for it, and its reactor.

Its descriptors are those that :data:`LINK` and so on number. It has nothing else of the
hub's: no file, no address, no variable. When the socket to control ends, so does it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import LogLevel, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.hub.workers.accepting import Board, EvenAccepting
from mezite.hub.workers.processlog import LinePipe
from mezite.hub.workers.processsocket import speak
from mezite.hub.workers.worker import Worker
from mezite.steadyclock import keep_steady

LOG: Final = 1
# The socket to control, the port's, where sockets to neighbours come, and the board.
LINK: Final = 3
PORT: Final = 4
DOORWAY: Final = 5
BOARD: Final = 6

# What a descriptor of a neighbour's comes with: its number.
NEIGHBOUR: Final = struct.Struct("!I")
# prctl(2): the kernel ends this process when its parent has ended.
_PR_SET_PDEATHSIG: Final = 1
# After control is gone; what it said last is written by then.
_LAST_WORDS_SECONDS: Final = 0.2


@implementer(IReadDescriptor)
@define(eq=False)
class Doorway:
    """Where control hands in the sockets to neighbours."""

    _socket: socket.socket
    _reactor: Any
    _worker: Worker

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "doorway"

    def doRead(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, NEIGHBOUR.size, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if len(data) != NEIGHBOUR.size or not fds:
            # Control is gone, which the other socket says as well.
            self._reactor.removeReader(self)
            return
        os.set_blocking(fds[0], False)
        speak(self._reactor, fds[0], self._worker.neighbour(*NEIGHBOUR.unpack(data)))

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()


@define(eq=False)
class WorkerProcess:
    """One worker on a reactor."""

    _reactor: Any
    _board: Board
    worker: Worker = field(init=False)
    _accepting: EvenAccepting | None = field(init=False, default=None)

    def start(self, number: int) -> None:
        self.worker = Worker(
            number,
            self._reactor,
            on_settings=self._settle,
            on_end=self._end,
            connections=lambda: 0 if self._accepting is None else self._accepting.connections,
        )
        doorway = socket.socket(fileno=DOORWAY)
        doorway.setblocking(False)
        self._reactor.addReader(Doorway(doorway, self._reactor, self.worker))
        speak(self._reactor, LINK, self.worker.link)

    def _settle(self) -> None:
        """Listen, or stop it, as the settings say."""
        if self.worker.is_listening and self._accepting is None:
            assert self.worker.router is not None
            with socket.socket(fileno=os.dup(PORT)) as listening:
                family = listening.family
            port = self._reactor.adoptStreamPort(PORT, family, self.worker.router)
            os.close(PORT)
            self._accepting = EvenAccepting(port, self._board, self.worker.number, self._reactor)
        elif not self.worker.is_listening and self._accepting is not None:
            self._accepting.stop()

    def _end(self) -> None:
        self._reactor.callLater(_LAST_WORDS_SECONDS, self._stop)

    def _stop(self) -> None:
        if self._reactor.running:
            self._reactor.stop()


def main(number: int, workers: int, level: str) -> None:
    """Run one worker, until control is gone."""
    # Or the port would stay open while the next hub wants it, for as long as this process hangs.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A service manager signals every process of a service; control says when to end.
    for unwanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(unwanted, signal.SIG_IGN)
    from twisted.internet import reactor

    running: Any = reactor
    keep_steady(running)
    pipe = LinePipe(LOG, running, LogLevel.levelWithName(level))
    globalLogBeginner.beginLoggingTo([pipe], redirectStandardIO=False)
    board = Board(BOARD, workers)
    os.close(BOARD)
    WorkerProcess(running, board).start(number)
    running.run(installSignalHandlers=False)
