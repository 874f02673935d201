"""
Two ends of a TCP connection in memory, beneath Twisted's own TCP transport.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure


@define(eq=False)
class FakeSocket:
    """What a transport needs of a non-blocking socket; it takes ``room`` bytes and no more."""

    number: int
    room: int
    other: FakeSocket = field(init=False)
    arrived: bytearray = field(init=False, factory=bytearray)
    is_ended: bool = field(init=False, default=False)
    broken: OSError | None = field(init=False, default=None)

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def fileno(self) -> int:
        return self.number

    def setsockopt(self, *option: Any) -> None:
        pass

    def send(self, data: Any) -> int:
        if self.broken is not None:
            raise self.broken
        count = min(len(data), self.room - len(self.other.arrived))
        if not count:
            raise BlockingIOError(11, "full")
        self.other.arrived += bytes(data[:count])
        return count

    def recv(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def recv_into(self, buffer: Any, size: int = 0) -> int:
        if self.broken is not None:
            raise self.broken
        if not self.arrived and not self.is_ended:
            raise BlockingIOError(11, "empty")
        count = min(size or len(buffer), len(self.arrived))
        buffer[:count] = self.arrived[:count]
        del self.arrived[:count]
        return count

    def shutdown(self, how: int) -> None:
        self.other.is_ended = True

    def close(self) -> None:
        self.other.is_ended = True


class FakeConnection(tcp.Connection):
    """Twisted's TCP transport on such a socket."""

    connected = 1

    def __init__(self, socket: Any, protocol: IProtocol, reactor: Any) -> None:
        super().__init__(socket, protocol, reactor)
        self.startReading()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 40000)

    getHost = getPeer


@define(eq=False)
class SocketPair:
    """Both ends, and the reactor that runs them."""

    sockets: list[FakeSocket]
    ends: list[FakeConnection]
    reactor: MemoryReactorClock

    def run(self) -> None:
        """Do what a reactor would, until there is nothing to do."""
        for _ in range(10_000):
            self.reactor.advance(0)
            # Both get their turn, every time.
            moved = [self._step(end) for end in self.ends]
            if not any(moved):
                return
        raise AssertionError("the two ends never come to rest")

    def _step(self, end: FakeConnection) -> bool:
        if not end.connected:
            return False
        socket: Any = end.socket
        if end in self.reactor.getReaders() and (socket.arrived or socket.is_ended):
            self._tell(end, end.doRead(), is_read=True)
        elif end in self.reactor.getWriters() and len(socket.other.arrived) < socket.room:
            self._tell(end, end.doWrite(), is_read=False)
        else:
            return False
        return True

    def _tell(self, end: FakeConnection, why: Any, *, is_read: bool) -> None:
        if why is None:
            return
        self.reactor.removeReader(end)
        if is_read and why is CONNECTION_DONE:
            end.readConnectionLost(Failure(why))
        else:
            end.connectionLost(Failure(why))


def socket_pair(
    client: IProtocol, server: IProtocol, reactor: MemoryReactorClock, *, room: int
) -> SocketPair:
    """Connect two protocols by sockets that take so many bytes."""
    sockets = [FakeSocket(10, room), FakeSocket(11, room)]
    sockets[0].other, sockets[1].other = sockets[1], sockets[0]
    ends = [
        FakeConnection(socket, protocol, reactor)
        for socket, protocol in zip(sockets, (client, server), strict=True)
    ]
    for end in reversed(ends):
        end.protocol.makeConnection(end)
    return SocketPair(sockets, ends, reactor)
