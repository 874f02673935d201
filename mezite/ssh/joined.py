"""
A channel and a connection of this machine, joined: what one says, the other hears.

Each slows the other down, and the end of one direction is passed on while the
other goes on. Who opened which of them is for the agent and the client to know.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.ssh.channel import FlowChannel


class JoinedChannel(FlowChannel):
    """The channel's half; nothing is done with data before :meth:`JoinedSocket.join`."""

    socket: JoinedSocket | None = None

    def dataReceived(self, data: bytes) -> None:
        if self.socket is not None:
            self.socket.transport.write(data)

    def eofReceived(self) -> None:
        if self.socket is not None:
            self.socket.transport.unregisterProducer()
            self.socket.transport.loseWriteConnection()

    def closed(self) -> None:
        if self.socket is not None:
            self.socket.transport.unregisterProducer()
            self.socket.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class JoinedSocket(Protocol):
    """The local half: a connection of TCP or of a unix socket."""

    channel: JoinedChannel | None = None
    transport: Any = None
    _open_halves = 2

    def connectionMade(self) -> None:
        # Nothing may be read before there is somebody to give it to.
        self.transport.pauseProducing()

    def join(self, channel: JoinedChannel) -> None:
        """The channel is open too: let bytes flow."""
        self.channel = channel
        channel.socket = self
        self.transport.registerProducer(channel, True)
        channel.registerProducer(self.transport, True)
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        if self.channel is not None:
            self.channel.write(data)

    def readConnectionLost(self) -> None:
        if self.channel is not None:
            self.channel.loseWriteConnection()
        self._half_closed()

    def writeConnectionLost(self) -> None:
        self._half_closed()

    def _half_closed(self) -> None:
        # TCP leaves it to us to notice that both halves are closed.
        self._open_halves -= 1
        if self._open_halves == 0:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self.channel is not None:
            self.channel.unregisterProducer()
            self.channel.loseConnection()
