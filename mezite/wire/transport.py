"""
TLS over any transport, made for relaying.

A :class:`TLSTransport` is the protocol of one TCP connection and the transport
of what is spoken inside it. It stands in for Twisted's ``TLSMemoryBIOProtocol``, which
passes every 16 KiB record on by itself in both directions: here one read of the
socket becomes one ``dataReceived``, the writes of a turn become one ``send``,
and what one read became leaves in one write, at once
(:mod:`mezite.wire.carrier`). That takes a relay half of the CPU time
(``tests/benchmarks/relay.py``).

It owns the TLS state and the closing; who is spoken to is for whoever gave it its
:class:`~mezite.wire.handshake.Handshake` to decide, once, when that is done.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import Factory, define, field
from attrs.setters import NO_OP
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.wire.carrier import Carrier, carrier_of
from mezite.wire.error import HandshakeFailed, HandshakeTimedOut, TlsBroken, detail_of
from mezite.wire.handshake import Handshake
from mezite.wire.overlay import Overlay
from mezite.wire.pressure import Outflow
from mezite.wire.records import Piece, PlainRecords, records_of
from mezite.wire.secured import ISecured
from mezite.wire.tlsstate import READABLE, TRANSITIONS, WRITABLE, Input, State

# Bytes that arrived at once, of which most should open to something, unless they are a flood of
# records that carry nothing. One record may have begun in them and not ended.
_TELLING: Final = 32 * 1024
# Written bytes that wait for the end of the turn; above this they are sealed at once.
_COALESCE: Final = 64 * 1024
# Seconds that the last bytes may take to leave after loseConnection: 128 KiB at 1 KiB/s.
_FLUSH_TIMEOUT: Final = 128.0
# Seconds in which the peer may answer our close_notify. Closing while it still sends would
# reset the connection, and the reset can overtake our last bytes.
_LINGER: Final = 5.0

_log = Logger()

# glibc gives allocations above 128 KiB back to the system as soon as they are freed, and the
# next read of a socket pays for fresh pages, until it has once seen a larger one come and go.
bytes(8 * 1024 * 1024)


class _Ending(enum.Enum):
    """What has been asked for, and waits until nobody wants to write."""

    NOTHING = "nothing"
    WRITES = "loseWriteConnection"
    ALL = "loseConnection"


@implementer(IHalfCloseableProtocol, ISecured, IConsumer, IPushProducer)
# Without the hooks that attrs would call at each assignment, for the sake of one converter.
@define(eq=False, on_setattr=NO_OP)
class TLSTransport(Overlay, Protocol):
    """
    One TLS connection.

    Once it is secured, somebody is attached who speaks inside, or it closes.
    What is set by then: the ALPN name agreed on, the server name asked for, in
    lower case, and the peer's certificate, verified as its context demands.
    """

    _records: PlainRecords = field(converter=records_of, alias="connection")
    _clock: IReactorTime
    # Kept for as long as it lasts.
    _handshake: Handshake | None
    # Whom a load balancer speaks for, if the TCP connection is a balancer's.
    _peer: Any = None
    # Called when a connection is lost that was secured.
    _over: Callable[[TLSTransport], None] | None = None
    transport: Any = field(init=False, default=None)
    negotiatedProtocol: bytes | None = field(init=False, default=None)
    server_name: str | None = field(init=False, default=None)
    peer_certificate: x509.Certificate | None = field(init=False, default=None)
    state: State = field(init=False, default=State.HANDSHAKING)
    _carrier: Carrier = field(init=False)
    _inner: Any = field(init=False, default=None)
    _ending: _Ending = field(init=False, default=_Ending.NOTHING)
    _reason: Failure | None = field(init=False, default=None)
    _timer: IDelayedCall | None = field(init=False, default=None)
    _turn_end: IDelayedCall | None = field(init=False, default=None)
    _pending: list[Piece] = field(init=False, factory=list)
    _pending_size: int = field(init=False, default=0)
    # The inner protocol's producer, told when the TCP transport is full and when it is not.
    _outflow: Outflow = field(
        init=False, default=Factory(lambda self: Outflow(self._clock), takes_self=True)
    )
    # Reading was paused by the inner protocol, or because our answers are not being read.
    _paused: bool = field(init=False, default=False)
    _stalled: bool = field(init=False, default=False)
    # Bytes, or the end of TCP, came while paused and wait for resumeProducing.
    _held: bool = field(init=False, default=False)
    _tcp_ended: bool = field(init=False, default=False)

    # --- what the TCP transport calls

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._carrier = carrier_of(
            self.transport,
            receive=self.dataReceived,
            full=self._outflow.full,
            relieved=self._on_relief,
            seconds=self._clock.seconds,
        )
        if self._handshake is not None:
            self._handshake.begin(self._clock, self._handshake_failed)
        self._shake_hands()

    def dataReceived(self, data: Piece) -> None:
        if self.state is State.CLOSING or self._ending is _Ending.ALL:
            return
        if self._handshake is None:
            self._deliver(data)
            return
        self._records.hold(data)
        if not self._handshake.is_held_up(self, data):
            self._shake_hands()
        elif self.is_shaking_hands:
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """The end of TCP, which is only the end if close_notify came before it."""
        if self.state is State.HANDSHAKING:
            self._handshake_failed(HandshakeFailed("the connection ended too early"))
        elif self.state is State.CLOSING:
            self.transport.loseConnection()
        else:
            self._tcp_ended = True
            if not self._is_receiving():
                return
            if self._paused:
                self._held = True
            else:
                self._truncated()

    def writeConnectionLost(self) -> None:
        """Our last byte and the end of TCP are out; the peer has a little while to do the same."""
        if self.state is State.CLOSING:
            self._set_timer(_LINGER, self._linger_over)
            self._tell_inner(self._reason or connectionDone)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        was = self.state
        self._move(Input.TCP_LOST)
        self._carrier.lost()
        self._set_timer(None)
        if self._turn_end is not None:
            self._turn_end.cancel()
            self._turn_end = None
        if was is State.HANDSHAKING:
            self._tell_failure(Failure(HandshakeFailed("the connection ended too early")))
        elif self._reason is not None:
            reason = self._reason
        elif was in READABLE and reason.check(ConnectionDone) is not None:
            reason = Failure(ConnectionLost("the peer hung up without saying so"))
        self._tell_inner(reason)
        self._pending.clear()
        if self._over is not None and was is not State.HANDSHAKING:
            self._over(self)

    # --- the handshake

    @property
    def is_shaking_hands(self) -> bool:
        return self.state is State.HANDSHAKING

    @property
    def is_arriving(self) -> bool:
        """Whether the handshake goes on, or the certificate is still to be looked at."""
        return self.is_shaking_hands or (
            self.state is State.OPEN and self.peer_certificate is not None
        )

    def proceed(self) -> None:
        """Go on with a handshake that was held up."""
        if self.is_shaking_hands:
            self.transport.resumeProducing()
            self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            is_done = self._records.shake_hands()
            if is_done:
                self.peer_certificate = self._records.peer_certificate
        except HandshakeFailed as error:
            self._drain()
            self._handshake_failed(error)
        except Exception:
            _log.failure("a TLS callback failed")
            self._handshake_failed(HandshakeFailed("internal error"))
        else:
            self._drain()
            if is_done:
                self._handshake_done()

    def _handshake_done(self) -> None:
        self.negotiatedProtocol = self._records.protocol
        self.server_name = self._records.server_name
        self._move(Input.HANDSHAKE_DONE)
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.done(self)
        if self._inner is None:
            self.loseConnection()
        self._deliver()

    def _handshake_failed(self, error: HandshakeFailed | HandshakeTimedOut) -> None:
        self._reason = Failure(error)
        self._hang_up()
        self._tell_failure(self._reason)

    def _tell_failure(self, reason: Failure) -> None:
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.failed(reason)

    def forget_peer(self) -> None:
        """Keep the peer's certificate no longer; who needs it again must have looked now."""
        self.peer_certificate = None
        self._records.forget_peer()

    def attach(self, protocol: IProtocol) -> None:
        """
        Let this protocol be the one that is spoken to from now on.

        The one before hears nothing more, not even ``connectionLost``. Whoever
        changes protocols pauses the transport before, so that no bytes fall between.
        """
        self._inner = protocol
        protocol.makeConnection(self)
        if self.state is State.LOST:
            self._tell_inner(self._reason or Failure(ConnectionLost()))

    # --- bytes in

    def _deliver(self, data: Piece = b"") -> None:
        """Open what has arrived, and give it to the inner protocol in one piece."""
        if not self._is_receiving():
            return
        if self._paused:
            self._records.hold(data)
            self._held = True
            return
        self._held = False
        opened, end = self._records.open(data)
        if len(data) >= _TELLING:
            self._carrier.is_cautious = 2 * len(opened) < len(data)
        if opened:
            self._inner.dataReceived(opened)
        if not self._is_receiving():
            return
        if end is None:
            self._answer()
            if self._tcp_ended:
                self._truncated()
        elif isinstance(end, SSL.ZeroReturnError):
            self._received_close()
        else:
            self._break(TlsBroken(detail_of(end)))

    def _is_receiving(self) -> bool:
        return self.state in READABLE and self._ending is not _Ending.ALL

    def _answer(self) -> None:
        """Send what TLS itself answers, and read no more from a peer that does not read it."""
        if self._drain() and self._outflow.is_full and not self._stalled:
            self._stalled = True
            self.transport.pauseProducing()

    def _received_close(self) -> None:
        if self._paused:
            self._held = True
            return
        self._move(Input.RECEIVE_CLOSE)
        is_last = self.state is State.CLOSING
        if IHalfCloseableProtocol.providedBy(self._inner):
            self._inner.readConnectionLost()
        else:
            self._outflow.stop()
            self.loseConnection()
        if is_last:
            self._end_tcp()

    def _truncated(self) -> None:
        self._break(ConnectionLost("the peer hung up without saying so"))

    def _break(self, error: Exception) -> None:
        self._reason = Failure(error)
        self.abortConnection()

    # --- bytes out

    def write(self, data: bytes) -> None:
        self.writeSequence((data,))

    def writeSequence(self, data: Iterable[Piece]) -> None:
        if self.state not in WRITABLE:
            return
        if self._ending is not _Ending.NOTHING and not self._outflow.has_producer:
            return
        for piece in data:
            if piece:
                self._pending.append(piece)
                self._pending_size += len(piece)
        if self._pending_size >= _COALESCE:
            self._flush()
        elif self._turn_end is None and self._pending:
            self._turn_end = self._clock.callLater(0, self._end_turn)

    def _end_turn(self) -> None:
        self._turn_end = None
        self._flush()

    def _flush(self) -> None:
        if not self._pending or self.state not in WRITABLE:
            return
        pending, self._pending = self._pending, []
        self._pending_size = 0
        try:
            self._carrier.send(self._records.seal(pending))
        except SSL.Error as error:
            self._break(TlsBroken(detail_of(error)))

    def _drain(self) -> bool:
        """Pass on what TLS has to say by itself; whether there was anything."""
        answers = self._records.answers()
        if answers:
            self._carrier.send(answers)
        return bool(answers)

    # --- closing

    def loseConnection(self) -> None:
        if self.state is State.HANDSHAKING:
            self.abortConnection()
        elif self._ending is not _Ending.ALL:
            self._ending = _Ending.ALL
            self._end_if_idle()

    def loseWriteConnection(self) -> None:
        if self._ending is _Ending.NOTHING:
            self._ending = _Ending.WRITES
            self._end_if_idle()

    def abortConnection(self) -> None:
        if self.state is State.LOST:
            return
        if self.state is State.HANDSHAKING:
            self._reason = Failure(HandshakeFailed("given up"))
        was = self.state
        if was is not State.CLOSING:
            self._move(Input.HANG_UP)
        self._set_timer(None)
        self._carrier.release()
        self.transport.abortConnection()
        if was is State.HANDSHAKING and self._reason is not None:
            self._tell_failure(self._reason)

    @property
    def disconnecting(self) -> bool:
        return self._ending is _Ending.ALL or self.state is State.CLOSING

    def _end_if_idle(self) -> None:
        """Do what was asked for, once nobody wants to write any more."""
        if self._outflow.has_producer or self._ending is _Ending.NOTHING:
            return
        if self.state in WRITABLE:
            self._flush()
        if self.state in WRITABLE:
            self._carrier.send(self._records.close())
            self._move(Input.SEND_CLOSE)
            if self.state is State.CLOSING:
                self._end_tcp()
            elif self._ending is _Ending.WRITES and IHalfCloseableProtocol.providedBy(self._inner):
                self._inner.writeConnectionLost()
        if self._ending is _Ending.ALL and self.state is State.LOCAL_CLOSED:
            self._hang_up()

    def _hang_up(self) -> None:
        self._move(Input.HANG_UP)
        self._end_tcp()

    def _end_tcp(self) -> None:
        """
        End the TCP connection once the peer has our last byte.

        Reading goes on, into the void, because closing with bytes unread would reset it.
        """
        self._carrier.release()
        if self._paused or self._stalled:
            self._paused = self._stalled = False
            self.transport.resumeProducing()
        if self._tcp_ended or not ITCPTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self._set_timer(_FLUSH_TIMEOUT, self._linger_over)
            self.transport.loseWriteConnection()

    def _linger_over(self) -> None:
        self._timer = None
        self.transport.abortConnection()

    def _tell_inner(self, reason: Failure) -> None:
        self._outflow.stop()
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connectionLost(reason)

    # --- pressure

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.state in WRITABLE:
            self._outflow.register(producer, streaming)
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        self._outflow.unregister()
        self._end_if_idle()

    def _on_relief(self) -> None:
        if self._stalled:
            self._stalled = False
            if not self._paused:
                self.transport.resumeProducing()
        self._outflow.relieved()

    def pauseProducing(self) -> None:
        if not self._paused and self.state in READABLE:
            self._paused = True
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._held:
            self._clock.callLater(0, self._deliver)
        if not self._stalled and self.state is not State.LOST:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    @property
    def turn(self) -> int:
        """How many bytes are worth writing at once, by how fast the line takes them."""
        return self._carrier.turn

    # --- the rest of ISSLTransport

    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """What the peer presented, its own certificate first; nothing of it is verified here."""
        return self._records.peer_chain

    def getPeerCertificate(self) -> crypto.X509 | None:
        if self.peer_certificate is None:
            return None
        return crypto.X509.from_cryptography(self.peer_certificate)

    # --- state and time

    def _move(self, by: Input) -> None:
        self.state = TRANSITIONS[self.state, by]

    def _set_timer(self, seconds: float | None, call: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and call is not None:
            self._timer = self._clock.callLater(seconds, call)
