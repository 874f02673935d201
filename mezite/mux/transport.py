"""
A stream, as the transport of an ordinary Twisted protocol.

A :class:`StreamTransport` owns what one protocol and its producer see: when
data is delivered, when a producer waits, and which ending they are told of.
Counting and framing are :mod:`mezite.mux.connection`'s, timing and writing
:mod:`mezite.mux.protocol`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.mux.bytequeue import ByteQueue
from mezite.mux.error import StreamOverflow

if TYPE_CHECKING:
    from mezite.mux.protocol import MuxProtocol


class _Reading(Enum):
    """What becomes of bytes from the peer."""

    PAUSED = auto()
    FLOWING = auto()
    # They are dropped, or cannot come any more.
    OVER = auto()


class _Writing(Enum):
    """What becomes of bytes to the peer."""

    OPEN = auto()
    # loseWriteConnection() and loseConnection(), while a producer goes on.
    HALF_CLOSING = auto()
    CLOSING = auto()
    # The same, and the end of the stream is on its way.
    HALF_ENDING = auto()
    ENDING = auto()
    OVER = auto()


@implementer(ITCPTransport, IConsumer, IPushProducer)
class StreamTransport:
    """
    One stream of a tunnel.

    Nothing is delivered before :meth:`attach`, which also accepts a stream
    that the peer offered. No method here calls the protocol back before it
    returns, except that ``attach`` calls ``makeConnection``.

    ``peer`` and ``host`` are what :meth:`getPeer` and :meth:`getHost` say: the
    tunnel's own, until somebody who knows better sets them.
    """

    disconnecting = False
    _log = Logger()

    def __init__(self, mux: MuxProtocol, stream_id: int, *, peer: IAddress, host: IAddress) -> None:
        self.mux = mux
        self.stream_id = stream_id
        self.peer = peer
        self.host = host
        self.protocol: IProtocol | None = None
        self._connection = mux.connection
        self._deliver: Callable[[bytes], object] | None = None
        self._reading = _Reading.PAUSED
        self._writing = _Writing.OPEN
        self._received = ByteQueue()
        # The peer's end of stream has arrived, and waits behind what was received.
        self._has_ended = False
        self._producer: Any = None
        self._is_streaming = True
        self._is_producer_paused = False
        # Set when all is over; given to the protocol in the tunnel's next turn.
        self._reason: Failure | None = None
        self._is_lost = False

    def __repr__(self) -> str:
        return f"<StreamTransport {self.stream_id} to {self.peer}>"

    # To the one who was given the stream.

    def attach(self, protocol: IProtocol) -> None:
        """
        Let this protocol speak on the stream.

        A protocol may pass the stream on by attaching its successor, to which
        all bytes go from then on.
        """
        is_first = self.protocol is None
        self.protocol = protocol
        self._deliver = protocol.dataReceived
        if is_first:
            if self._reading is _Reading.PAUSED:
                self._reading = _Reading.FLOWING
            if self._reason is None:
                self.mux.accept_stream(self)
        protocol.makeConnection(self)
        self.mux.attend(self)

    # ITransport and ITCPTransport.

    def write(self, data: bytes) -> None:
        if not data or not self._may_write() or not self._connection.has_stream(self.stream_id):
            return
        if type(data) is not bytes:
            data = bytes(data)
        try:
            has_room = self._connection.send(self.stream_id, data)
        except StreamOverflow:
            self._log.warn("stream {id} reset: its writer does not wait", id=self.stream_id)
            self._abort(Failure())
            return
        self.mux.sent()
        if self._producer is None:
            return
        if not self._is_streaming:
            self.mux.attend(self)
        elif (
            not has_room
            and not self._is_producer_paused
            and self._connection.is_full(self.stream_id)
        ):
            self._is_producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """
        Finish after what was written, and read no more.

        The protocol is told when the last byte has been handed to the tunnel.
        A stream that nobody had attached to is refused.
        """
        if self._reason is not None or self.disconnecting:
            return
        if self.protocol is None and self.mux.is_offered(self):
            self.abortConnection()
            return
        self.disconnecting = True
        self._stop_reading()
        if self._writing is _Writing.OVER:
            self._end(Failure(ConnectionDone()))
        elif self._writing is _Writing.HALF_ENDING:
            self._writing = _Writing.ENDING
        else:
            self._writing = _Writing.CLOSING
            self._finish_when_produced()

    def loseWriteConnection(self) -> None:
        if self._writing is _Writing.OPEN and self._reason is None:
            self._writing = _Writing.HALF_CLOSING
            self._finish_when_produced()

    def abortConnection(self) -> None:
        """Reset the stream: what was written and not yet sent is lost."""
        self._abort(Failure(ConnectionAborted()))

    def getPeer(self) -> Any:
        return self.peer

    def getHost(self) -> Any:
        return self.host

    def getTcpNoDelay(self) -> bool:
        """Always: a stream holds nothing back."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""

    def getTcpKeepAlive(self) -> bool:
        """Always: the tunnel sees to it."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Do nothing."""

    # IPushProducer: the protocol slows the peer down.

    def pauseProducing(self) -> None:
        if self._reading is _Reading.FLOWING:
            self._reading = _Reading.PAUSED

    def resumeProducing(self) -> None:
        if self._reading is _Reading.PAUSED and self.protocol is not None:
            self._reading = _Reading.FLOWING
            if self._received.size or self._has_ended:
                self.mux.attend(self)

    def stopProducing(self) -> None:
        self.loseConnection()

    # IConsumer: the peer slows the producer down.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is already registered with {self!r}")
        if not self._may_write():
            producer.stopProducing()
            return
        self._producer = producer
        self._is_streaming = streaming
        self._is_producer_paused = False
        if not streaming:
            self.mux.attend(self)
        elif self._connection.is_full(self.stream_id):
            self._is_producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._is_producer_paused = False
        if self._writing in (_Writing.CLOSING, _Writing.HALF_CLOSING):
            self._finish_when_produced()

    # From the tunnel.

    def received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._reading is _Reading.FLOWING and not self._received.size:
            self._give(data)
        elif self._reading is not _Reading.OVER:
            self._received.append(data)

    def ended(self) -> None:
        """The peer finished its direction."""
        self._has_ended = True
        self._deliver_all()

    def finish_sent(self) -> None:
        """The end of our direction was handed out."""
        if self._reason is not None:
            return
        if self._writing is _Writing.ENDING:
            self.lost(Failure(ConnectionDone()))
            return
        self._writing = _Writing.OVER
        protocol = self._half_closeable()
        if protocol is not None:
            self._call(protocol.writeConnectionLost)
        if self._has_ended and self._reading is _Reading.OVER:
            self.lost(Failure(ConnectionDone()))

    def drained(self) -> None:
        """There is room for the producer's bytes again."""
        if self._is_producer_paused:
            self._is_producer_paused = False
            self._call(self._producer.resumeProducing)
        elif self._producer is not None and not self._is_streaming:
            self.mux.attend(self)

    def attended(self) -> None:
        """It is this stream's turn to do what its methods left for later."""
        if self._reason is not None:
            self.lost(self._reason)
            return
        self._deliver_all()
        if (
            self._producer is not None
            and not self._is_streaming
            and not self._connection.is_full(self.stream_id)
        ):
            self._call(self._producer.resumeProducing)

    def lost(self, reason: Failure) -> None:
        """All is over; tell everybody, once."""
        self._reason = self._reason or reason
        self._reading = _Reading.OVER
        self._writing = _Writing.OVER
        self._received.clear()
        self.disconnecting = True
        self.mux.release(self)
        if self._is_lost or self.protocol is None:
            return
        self._is_lost = True
        self._deliver = None
        producer, self._producer = self._producer, None
        self._is_producer_paused = False
        if producer is not None:
            self._call(producer.stopProducing)
        # The two would hold each other, and the tunnel, until Python looks for such rings.
        protocol, self.protocol = self.protocol, None
        try:
            protocol.connectionLost(self._reason)
        except Exception:
            self._log.failure("connectionLost failed on stream {id}", id=self.stream_id)

    # How it is done.

    def _half_closeable(self) -> IHalfCloseableProtocol | None:
        adapted: IHalfCloseableProtocol | None = IHalfCloseableProtocol(self.protocol, None)
        return adapted

    def _may_write(self) -> bool:
        if self._writing is _Writing.OPEN:
            return self._reason is None
        # Closing waits for a producer, which may go on until it unregisters.
        return self._producer is not None and self._writing in (
            _Writing.CLOSING,
            _Writing.HALF_CLOSING,
        )

    def _finish_when_produced(self) -> None:
        if self._producer is not None:
            return
        is_half = self._writing is _Writing.HALF_CLOSING
        self._writing = _Writing.HALF_ENDING if is_half else _Writing.ENDING
        # The peer may have reset it, which we are about to be told.
        if self._connection.has_stream(self.stream_id):
            self._connection.finish(self.stream_id)
            self.mux.sent()

    def _stop_reading(self) -> None:
        self._reading = _Reading.OVER
        self._received.clear()
        self._connection.ignore(self.stream_id)

    def _abort(self, reason: Failure) -> None:
        if self._reason is not None:
            return
        self._connection.reset(self.stream_id)
        self._end(reason)

    def _end(self, reason: Failure) -> None:
        self._reason = reason
        self._reading = _Reading.OVER
        self._writing = _Writing.OVER
        self._received.clear()
        self._is_producer_paused = False
        self.disconnecting = True
        self.mux.attend(self)

    def _give(self, data: bytes) -> None:
        assert self._deliver is not None
        try:
            self._deliver(data)
        except Exception:
            self._break()
            return
        # Only now: a window that opens before the reader has taken the bytes
        # would let the peer fill the reader's own buffers without end.
        self._connection.consumed(self.stream_id, len(data))

    def _deliver_all(self) -> None:
        while self._received.size and self._reading is _Reading.FLOWING:
            self._give(self._received.pop())
        if self._has_ended and self._reading is _Reading.FLOWING:
            self._reading = _Reading.OVER
            protocol = self._half_closeable()
            if protocol is None:
                self.lost(Failure(ConnectionDone()))
                return
            self._call(protocol.readConnectionLost)
            if self._writing is _Writing.OVER and self._reason is None:
                self.lost(Failure(ConnectionDone()))

    def _call(self, what: Callable[[], object]) -> None:
        try:
            what()
        except Exception:
            self._break()

    def _break(self) -> None:
        """A protocol's or a producer's bug ends its stream and no other."""
        failure = Failure()
        self._log.failure("a bug ended stream {id}", failure=failure, id=self.stream_id)
        self._connection.reset(self.stream_id)
        if not self._is_lost:
            self.lost(failure)


def reset_by_peer() -> Failure:
    """Why a stream that the peer reset is over."""
    return Failure(ConnectionLost("the other end reset the stream"))
