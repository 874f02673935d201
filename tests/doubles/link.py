"""
A TCP connection in memory, with what iosim leaves out.

Its buffers are bounded, so that writers are paused; readers that pause are
left alone; and each direction ends by itself, or with an abort.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

_SEGMENT: Final = 64 * 1024


@implementer(ITCPTransport, IConsumer, IPushProducer)
@define(eq=False)
class LinkEnd:
    """One end: the transport of the protocol that lives here."""

    protocol: IProtocol
    host: IPv4Address
    peer: IPv4Address
    # As of a Twisted TCP transport: writers are paused above this.
    bufferSize: int = 64 * 1024
    other: LinkEnd = field(init=False)
    out: bytearray = field(init=False, factory=bytearray)
    written: int = field(init=False, default=0)
    most_buffered: int = field(init=False, default=0)
    is_reading: bool = field(init=False, default=True)
    is_finishing: bool = field(init=False, default=False)
    is_finished: bool = field(init=False, default=False)
    is_aborted: bool = field(init=False, default=False)
    is_lost: bool = field(init=False, default=False)
    has_seen_end: bool = field(init=False, default=False)
    disconnecting: bool = field(init=False, default=False)
    producer: Any = field(init=False, default=None)
    is_producer_paused: bool = field(init=False, default=False)
    is_streaming: bool = field(init=False, default=True)

    def write(self, data: bytes) -> None:
        if self.is_lost or self.is_finishing or self.disconnecting:
            return
        self.out += data
        self.written += len(data)
        self.most_buffered = max(self.most_buffered, len(self.out))
        if self.producer is not None and len(self.out) > self.bufferSize:
            self.is_producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer
        self.is_streaming = streaming

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.is_reading = False

    def resumeProducing(self) -> None:
        self.is_reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        self.is_finishing = True

    def abortConnection(self) -> None:
        self.is_aborted = True

    def getPeer(self) -> IPv4Address:
        return self.peer

    def getHost(self) -> IPv4Address:
        return self.host

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def lose(self, error: Exception) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.protocol.connectionLost(Failure(error))

    def step(self) -> bool:
        """Let this end do one thing; whether it did."""
        if self.is_lost:
            return False
        if self.is_aborted:
            self.lose(ConnectionAborted())
            self.other.lose(ConnectionLost())
            return True
        if self.out and self.other.is_reading and not self.other.is_lost:
            segment = bytes(self.out[:_SEGMENT])
            del self.out[:_SEGMENT]
            if not self.other.disconnecting:
                self.other.protocol.dataReceived(segment)
            return True
        if self.out and self.other.is_lost:
            self.out.clear()
            return True
        if not self.out and self.producer is not None and self.is_producer_paused:
            self.is_producer_paused = False
            self.producer.resumeProducing()
            return True
        if not self.out and self.is_finishing and not self.is_finished:
            self.is_finished = True
            half_closeable = IHalfCloseableProtocol(self.protocol, None)
            if half_closeable is not None:
                half_closeable.writeConnectionLost()
            return True
        if self._is_over() and not self.other.has_seen_end and self.other.is_reading:
            self.other.see_end()
            return True
        if self.disconnecting and not self.out and self.producer is None:
            self.lose(ConnectionDone())
            return True
        return False

    def see_end(self) -> None:
        self.has_seen_end = True
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None:
            self.lose(ConnectionDone())
        elif not self.is_lost:
            half_closeable.readConnectionLost()

    def _is_over(self) -> bool:
        return not self.out and (self.is_finished or (self.disconnecting and self.producer is None))


@define(eq=False)
class Link:
    """Both ends, and the clock that runs between them."""

    client: LinkEnd
    server: LinkEnd
    clock: Clock

    def flush(self) -> bool:
        """Move bytes until nothing moves, in no time; whether anything did."""
        has_moved = False
        for _ in range(100_000):
            self.clock.advance(0)
            # Not "or": both get their turn.
            if not any([self.client.step(), self.server.step()]):
                return has_moved
            has_moved = True
        raise AssertionError("the two ends never come to rest")


def link(client: IProtocol, server: IProtocol, clock: Clock, *, flush: bool = True) -> Link:
    """Connect two protocols, and let them greet."""
    here = IPv4Address("TCP", "192.0.2.1", 40000)
    there = IPv4Address("TCP", "192.0.2.2", 3080)
    ends = LinkEnd(client, here, there), LinkEnd(server, there, here)
    ends[0].other, ends[1].other = ends[1], ends[0]
    joined = Link(*ends, clock)
    server.makeConnection(ends[1])
    client.makeConnection(ends[0])
    if flush:
        joined.flush()
    return joined
