"""
What carries a resumable connection for a while, in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure


@define(eq=False)
class PlayedLeg:
    """A transport that keeps what is written, until :func:`exchange` carries it over."""

    peer: str = "192.0.2.7:4711"
    protocol: Any = field(init=False, default=None)
    written: bytes = field(init=False, default=b"")
    producer: Any = field(init=False, default=None)
    is_paused: bool = field(init=False, default=False)
    is_closed: bool = field(init=False, default=False)
    is_aborted: bool = field(init=False, default=False)
    negotiatedProtocol: bytes = b"mezite-ssh-resume"

    def attach(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += bytes(data)

    def loseConnection(self) -> None:
        self.is_closed = True

    def abortConnection(self) -> None:
        self.is_aborted = True
        self.lose(ConnectionAborted())

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone, cut unless something else is said."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(error or ConnectionLost()))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def getPeer(self) -> str:
        return self.peer

    def getHost(self) -> str:
        return "192.0.2.1:443"

    def taken(self) -> bytes:
        """What was written, which then is forgotten."""
        written, self.written = self.written, b""
        return written


def exchange(one: PlayedLeg, other: PlayedLeg) -> None:
    """Carry bytes both ways until there are none, then the ends."""
    moved = True
    while moved:
        moved = False
        for from_, to in ((one, other), (other, one)):
            if from_.written and to.protocol is not None and not to.is_paused:
                to.protocol.dataReceived(from_.taken())
                moved = True
    for from_, to in ((one, other), (other, one)):
        if from_.is_closed and not from_.written:
            to.lose(ConnectionDone())
            from_.lose(ConnectionDone())


@define(eq=False)
class Talker(Protocol):
    """A protocol that keeps what it hears."""

    heard: bytes = field(init=False, default=b"")
    reason: Failure | None = field(init=False, default=None)
    greeting: bytes = b""
    transport: Any = field(init=False, default=None)

    def connectionMade(self) -> None:
        self.transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None
        self.reason = reason
