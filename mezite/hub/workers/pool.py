"""
The processes of a hub's workers: begun, watched, begun again, and ended.

A :class:`WorkerPool` owns the listening socket, which it never accepts on, and the
sockets between the processes. Nobody can connect to one of those: they are pairs that
have no name, and each end is handed to the process that it is for. What is said on
them is :mod:`mezite.hub.workers.control`'s.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import TimedOut
from mezite.hub.error import HubCannotStart
from mezite.hub.workers import process
from mezite.hub.workers.accepting import ABSENT, Board
from mezite.hub.workers.control import WorkerLink, Workers
from mezite.hub.workers.process import NEIGHBOUR
from mezite.hub.workers.processlog import LineReader
from mezite.hub.workers.processsocket import speak
from mezite.names import HostPort
from mezite.tasks import within

# A worker that ends by itself is begun again after this, then after twice as long, and so on.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
# One that lived so long had no fault of its own.
STABLE_SECONDS: Final = 30.0
# After its socket has ended, or it was asked to end.
_END_SECONDS: Final = 3.0
# How soon after a process the end of its socket is noticed.
_COUNT_SECONDS: Final = 0.05
# Connections that wait while all workers are at work, or begin: the kernel takes no more.
_BACKLOG: Final = 4096
# What may be on its way between two processes: four windows that are full.
_SOCKET_BUFFER: Final = 1024 * 1024


def listening_socket(place: HostPort) -> socket.socket:
    """
    The hub's port, open.

    :raises HubCannotStart: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    port = socket.socket(family, socket.SOCK_STREAM)
    try:
        port.setblocking(False)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind((place.host, place.port))
        port.listen(_BACKLOG)
    except OSError as error:
        port.close()
        raise HubCannotStart(f"cannot listen on {place}: {error.strerror or error}") from None
    return port


def _pair(kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair(socket.AF_UNIX, kind)
    for end in pair:
        end.setblocking(False)
        if kind == socket.SOCK_STREAM:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
    return pair


def _environment() -> dict[str, str]:
    """What a worker finds modules and the time by; nothing that is a secret of the hub's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEZITE_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@define(eq=False)
class _Running(ProcessProtocol):
    """One worker's process, and control's ends of what it was given."""

    _pool: WorkerPool
    number: int
    begun: float
    _doorway: socket.socket
    link: WorkerLink = field(init=False)
    transport: Any = field(init=False, default=None)
    is_over: bool = field(init=False, default=False)
    _out: LineReader = field(init=False)
    _err: LineReader = field(init=False)

    def __attrs_post_init__(self) -> None:
        name = f"worker {self.number}"
        self._out, self._err = LineReader(name), LineReader(name)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        (self._out if childFD == process.LOG else self._err).receive(data)

    def processEnded(self, reason: Failure) -> None:
        self.is_over = True
        self._doorway.close()
        self._pool.ended(self, reason)

    def pass_neighbour(self, number: int, end: socket.socket) -> None:
        """Hand in a socket to this neighbour."""
        try:
            socket.send_fds(self._doorway, [NEIGHBOUR.pack(number)], [end.fileno()])
        except OSError:
            # It is ending, and its end says more.
            pass

    def kill(self) -> None:
        try:
            if not self.is_over:
                self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            # What it said last is still to be read.
            pass


@define(eq=False)
class WorkerPool:
    """As many processes as there are to be workers."""

    _workers: Workers
    _reactor: Any
    _log_level: str
    _port: socket.socket | None = field(init=False, default=None)
    _board: Board = field(init=False)
    _board_fd: int = field(init=False)
    _running: dict[int, _Running] = field(init=False, factory=dict)
    _pauses: dict[int, float] = field(init=False, factory=dict)
    _waiting: dict[int, IDelayedCall] = field(init=False, factory=dict)
    _is_stopping: bool = field(init=False, default=False)
    _all_ended: Deferred[None] | None = field(init=False, default=None)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._board_fd = Board.create(self._workers.count)
        self._board = Board(self._board_fd, self._workers.count)

    def start(self, place: HostPort) -> None:
        """
        Open the port and begin the workers; connections wait until they are there.

        :raises HubCannotStart: the port cannot be had.
        """
        self._port = listening_socket(place)
        for number in range(1, self._workers.count + 1):
            self._begin(number)

    def stop_listening(self) -> None:
        """Close the port, for all."""
        self._is_stopping = True
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
        if self._port is not None:
            self._port.close()
            self._port = None
        self._workers.stop_listening()

    async def stop(self) -> None:
        """End the workers, with what they still hold."""
        self.stop_listening()
        if self._running:
            self._all_ended = Deferred()
            for running in self._running.values():
                running.link.mux.close()
            try:
                await within(
                    self._reactor, _END_SECONDS, self._all_ended, doing="ending the workers"
                )
            except TimedOut as error:
                self._log.warn("{error}; they are killed", error=error)
                for running in tuple(self._running.values()):
                    running.kill()
        os.close(self._board_fd)

    def _begin(self, number: int) -> None:
        self._waiting.pop(number, None)
        if self._port is None or number in self._running:
            return
        with ExitStack() as given:
            try:
                self._spawn(number, self._port, given)
            except OSError as error:
                self._log.error(
                    "worker {number} cannot begin: {error}; it is tried again in {pause:g} s",
                    number=number,
                    error=error.strerror or error,
                    pause=LONGEST_PAUSE,
                )
                later = self._reactor.callLater(LONGEST_PAUSE, self._begin, number)
                self._waiting[number] = later

    def _spawn(self, number: int, port: socket.socket, given: ExitStack) -> None:
        """
        Begin a process with its sockets; what is for others to hold is closed by ``given``.

        :raises OSError: the machine has no more of something.
        """
        link_end, link_child = [given.enter_context(end) for end in _pair()]
        doors = _pair(socket.SOCK_SEQPACKET)
        door_end, door_child = [given.enter_context(end) for end in doors]
        between: dict[int, list[socket.socket]] = {
            other: [given.enter_context(end) for end in _pair()] for other in self._running
        }
        running = _Running(self, number, self._reactor.seconds(), door_end.dup())
        level, count = self._log_level, str(self._workers.count)
        self._reactor.spawnProcess(
            running,
            sys.executable,
            # -P: what lies in the directory where the hub was started is no module of ours.
            [sys.executable, "-P", "-m", "mezite.hub.workers", str(number), count, level],
            env=_environment(),
            childFDs={
                0: "w",
                process.LOG: "r",
                2: "r",
                process.LINK: link_child.fileno(),
                process.PORT: port.fileno(),
                process.DOORWAY: door_child.fileno(),
                process.BOARD: self._board_fd,
            },
        )
        running.link = link = self._workers.link(number, running.transport.pid)
        link.on_down = lambda: self._lost(running)
        for other, (ours, theirs) in between.items():
            running.pass_neighbour(other, ours)
            self._running[other].pass_neighbour(number, theirs)
        self._running[number] = running
        speak(self._reactor, link_end.detach(), link.mux)
        self._log.info("worker {number} begins: pid {pid}", number=number, pid=link.pid)

    def _lost(self, running: _Running) -> None:
        """Its socket has ended; a process that stays would hold connections of nobody's."""
        if not running.is_over:
            self._reactor.callLater(_END_SECONDS, self._end_late, running)

    def _end_late(self, running: _Running) -> None:
        if not running.is_over:
            self._log.error(
                "worker {number} does not end (pid {pid}) and is killed",
                number=running.number,
                pid=running.link.pid,
            )
            running.kill()

    def ended(self, running: _Running, reason: Failure) -> None:
        number = running.number
        if self._running.get(number) is running:
            del self._running[number]
        self._board.set(number, ABSENT)
        running.link.mux.abort()
        if self._is_stopping:
            if not self._running and self._all_ended is not None and not self._all_ended.called:
                self._all_ended.callback(None)
            return
        lived = self._reactor.seconds() - running.begun
        pause = self._pauses.get(number, 0.0) * 2
        pause = FIRST_PAUSE if lived >= STABLE_SECONDS else max(FIRST_PAUSE, pause)
        self._pauses[number] = pause = min(LONGEST_PAUSE, pause)
        self._waiting[number] = self._reactor.callLater(pause, self._begin, number)
        # The tunnels are counted when the socket is found to have ended, a moment later.
        self._reactor.callLater(_COUNT_SECONDS, self._say_ended, running, reason, pause)

    def _say_ended(self, running: _Running, reason: Failure, pause: float) -> None:
        link = running.link
        self._log.error(
            "worker {number} ended (pid {pid}, {how}) and took {held} tunnels with it;"
            " another begins in {pause:g} s",
            number=link.number,
            pid=link.pid,
            how=_how(reason),
            held=link.held,
            pause=pause,
        )


def _how(reason: Failure) -> str:
    """How a process ended, in words."""
    if reason.check(ProcessDone) is not None:
        return "by itself"
    number = getattr(reason.value, "signal", None)
    if number is not None:
        return f"signal {signal.Signals(number).name}"
    return f"status {getattr(reason.value, 'exitCode', '?')}"
