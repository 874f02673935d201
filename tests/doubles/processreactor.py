"""
A reactor whose processes a test plays, and whose sockets are served by hand.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet import unix
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess, IReactorSocket
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

_ROUNDS = 10_000


@define(eq=False)
class PlayedChild:
    """
    A process that does what the test wants: nothing, at first.

    ``fds`` are its descriptors, by the numbers that it knows them by.
    """

    protocol: Any
    arguments: Sequence[str]
    environment: Mapping[str, str]
    fds: dict[int, int]
    pid: int
    signals: list[str] = field(init=False, factory=list)
    is_over: bool = field(init=False, default=False)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)
        if name == "KILL":
            self.end(signal.SIGKILL)

    def end(self, by: int | None = None, status: int = 0) -> None:
        """It has ended by this signal, or with this status."""
        self.is_over = True
        for fd in self.fds.values():
            os.close(fd)
        self.fds.clear()
        how = ProcessTerminated(status, by) if status or by else ProcessDone(0)
        self.protocol.processEnded(Failure(how))


@implementer(IReactorProcess, IReactorSocket)
class ProcessReactor(MemoryReactorClock):
    """
    The processes that were begun are in ``children``.

    ``refuses`` is raised by the next one that is to begin.
    """

    def __init__(self) -> None:
        super().__init__()
        self.children: list[PlayedChild] = []
        self.refuses: OSError | None = None

    def spawnProcess(
        self,
        processProtocol: Any,
        executable: str,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        *,
        childFDs: Mapping[int, int | str],
        **_: Any,
    ) -> PlayedChild:
        if self.refuses is not None:
            refused, self.refuses = self.refuses, None
            raise refused
        child = PlayedChild(
            processProtocol,
            args,
            env or {},
            {number: os.dup(fd) for number, fd in childFDs.items() if isinstance(fd, int)},
            1000 + len(self.children),
        )
        self.children.append(child)
        processProtocol.makeConnection(child)
        return child

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        assert addressFamily == socket.AF_UNIX
        return unix.Server._fromConnectedSocket(fileDescriptor, factory, self)

    def serve(self) -> None:
        """Let every socket read and write, until there is nothing to do."""
        for _ in range(_ROUNDS):
            if not self._turn():
                return
        raise AssertionError("sockets have no end of things to say")

    def _turn(self) -> bool:
        """Whether anything was read or written."""
        before = [*self.getReaders()], [*self.getWriters()]
        was_busy = False
        for each in before[0]:
            if each in self.getReaders() and _is_readable(each):
                was_busy = True
                self._lose(each, each.doRead())
        for each in before[1]:
            if each in self.getWriters():
                was_busy = True
                self._lose(each, each.doWrite())
        self.advance(0)
        return was_busy

    def _lose(self, each: Any, why: Any) -> None:
        if why is not None:
            self.removeReader(each)
            self.removeWriter(each)
            each.connectionLost(Failure(why if isinstance(why, Exception) else CONNECTION_LOST))


def _is_readable(each: Any) -> bool:
    return bool(select.select([each], [], [], 0)[0])
