"""
A socket between two processes of one hub, as the transport of a mux.

A :class:`ProcessSocket` takes reading and writing over from Twisted's transport, as
:mod:`mezite.wire.carrier` does beneath TLS, and leaves to it the events, the bytes that
the socket does not take, and the end. What the mux writes leaves at once, in the pieces
that it is in, and what arrives is read into one buffer for all sockets: each byte is
copied once by this process, when a frame's body is taken out of the buffer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IConsumer, IPullProducer, ITransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.mux.protocol import MuxProtocol

# Bytes of one read, and what a mux makes ready at once: what stays in the processor's cache
# between two processes, and is a few turns of streams.
_AT_ONCE: Final = 256 * 1024
# How many pieces a system call takes.
_PIECES: Final = 1024

_arrived: Final = bytearray(_AT_ONCE)
_arrived_view: Final = memoryview(_arrived)


@implementer(ITransport, IConsumer, IPullProducer)
@define(eq=False)
class ProcessSocket(Protocol):
    """
    One end of a socket pair.

    To Twisted's transport it is a protocol, and a pull producer, because those are told
    each time that there is nothing left to write.
    """

    mux: MuxProtocol
    # How much is worth writing at once.
    turn: int = _AT_ONCE
    transport: Any = field(init=False, default=None)
    _socket: socket.socket = field(init=False)
    _producer: Any = field(init=False, default=None)
    # Bytes that the socket did not take wait in the transport, and more must wait behind them.
    _is_waiting: bool = field(init=False, default=False)

    # What Twisted calls.

    def connectionMade(self) -> None:
        self._socket = self.transport.getHandle()
        self.transport.SEND_LIMIT = _AT_ONCE
        self.transport.doRead = self._read
        self.mux.makeConnection(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Or the two would hold each other.
        del self.transport.doRead
        self.mux.connectionLost(reason)

    def resumeProducing(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost will say so."""

    # What the mux calls.

    def write(self, data: bytes) -> None:
        self.writeSequence((data,))

    def writeSequence(self, data: Iterable[bytes | memoryview]) -> None:
        pieces = [*data]
        if self._is_waiting:
            self.transport.write(b"".join(pieces))
            return
        rest = self._send(pieces)
        if rest:
            self._is_waiting = True
            self.transport.write(b"".join(rest))
            if self._producer is not None:
                self._producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming, "a mux is a push producer"
        self._producer = producer
        self.transport.registerProducer(self, False)

    def unregisterProducer(self) -> None:
        self._producer = None
        self.transport.unregisterProducer()

    def loseConnection(self) -> None:
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        self.transport.abortConnection()

    def getPeer(self) -> Any:
        return self.transport.getPeer()

    def getHost(self) -> Any:
        return self.transport.getHost()

    # How it is done.

    def _send(self, pieces: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
        """Give these to the socket; what it did not take."""
        while pieces:
            try:
                sent = self._socket.sendmsg(pieces[:_PIECES])
            except OSError:
                # It is full, or what it is is found again by the transport, which says so.
                return pieces
            taken = 0
            for piece in pieces[:_PIECES]:
                if sent < len(piece):
                    return [memoryview(piece)[sent:], *pieces[taken + 1 :]]
                sent -= len(piece)
                taken += 1
            pieces = pieces[taken:]
        return pieces

    def _read(self) -> Exception | None:
        try:
            count = self._socket.recv_into(_arrived)
        except BlockingIOError:
            return None
        except OSError:
            lost: Exception = CONNECTION_LOST
            return lost
        if not count:
            done: Exception = CONNECTION_DONE
            return done
        self.mux.dataReceived(_arrived_view[:count])
        return None


@define(eq=False)
class _OneEnd(Factory):
    """A factory for the one connection that there is."""

    noisy = False
    _socket: ProcessSocket

    def buildProtocol(self, addr: object) -> ProcessSocket:
        return self._socket


def speak(reactor: Any, fd: int, mux: MuxProtocol) -> None:
    """Let a mux speak on a socket between two processes; the descriptor is used up."""
    reactor.adoptStreamConnection(fd, socket.AF_UNIX, _OneEnd(ProcessSocket(mux)))
    os.close(fd)
