"""
A tunnel: the mux on a transport.

A :class:`MuxProtocol` carries the bytes of a
:class:`~mezite.mux.connection.Connection`, wakes its streams, and notices when
the peer is gone. It decides nothing about streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Any, ClassVar, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.error import TimedOut
from mezite.mux.connection import PULL_LENGTH, Connection
from mezite.mux.error import MuxClosed, RemoteMuxError, StreamOverflow
from mezite.mux.events import (
    DataReceived,
    Event,
    FinishSent,
    GoAwayReceived,
    PingAnswered,
    SendBufferDrained,
    StreamEnded,
    StreamOpened,
    StreamOverflowed,
    StreamReset,
)
from mezite.mux.frames import GoAwayCode, Role
from mezite.mux.keepalive import INTERVAL, LATER_INTERVAL, Keepalive
from mezite.mux.limits import MuxLimits
from mezite.mux.lingering import Lingering
from mezite.mux.pings import Pings
from mezite.mux.transport import StreamTransport, reset_by_peer

# This much is worth a write of its own; less waits for the end of the turn, so
# that what several streams have to say becomes one TLS record.
_EAGER: Final = 64 * 1024
# A peer that does not take our last words is cut off.
_CLOSE_DEADLINE: Final = 5.0


class ICarrier(ITCPTransport, IConsumer):
    """What a tunnel needs of the transport that it runs on."""

    def writeSequence(data: Iterable[bytes | memoryview]) -> None:
        """As of any transport; the views are of bytes that do not change."""


def _refuse(stream: StreamTransport) -> None:
    """Take no stream, of a tunnel that is down."""
    stream.abortConnection()


class _Life(Enum):
    NEW = auto()
    UP = auto()
    # The transport was told to close; nothing is read any more.
    CLOSING = auto()
    DOWN = auto()


@implementer(IPushProducer)
class MuxProtocol(Protocol):
    """
    One end of a tunnel.

    ``accept`` is called with each stream that the peer offers, and attaches a
    protocol, now or later, or aborts it. ``on_up`` is called once the tunnel
    can be used, ``on_down`` once with the reason, after every stream has been
    told, ``on_go_away`` when the peer takes no new streams. All calls must come
    from the reactor's thread.
    """

    transport: ICarrier
    # Whether a peer that is silent is taken for dead; if not, somebody else finds that out.
    gives_up: ClassVar[bool] = True
    _log = Logger()

    def __init__(
        self,
        *,
        role: Role,
        clock: IReactorTime,
        accept: Callable[[StreamTransport], None],
        limits: MuxLimits | None = None,
        on_up: Callable[[], None] | None = None,
        on_down: Callable[[Failure], None] | None = None,
        on_go_away: Callable[[], None] | None = None,
    ) -> None:
        self.connection = Connection(role, limits)
        # The last measured round trip in seconds, once there is one.
        self.round_trip: float | None = None
        self._clock = clock
        self._accept = accept
        self._on_up = on_up
        self._on_down = on_down
        self._on_go_away = on_go_away
        self._life = _Life.NEW
        self._is_paused = False
        self._is_leaving = False
        self._is_in_turn = False
        self._turn: IDelayedCall | None = None
        self._cut_off: IDelayedCall | None = None
        self._reason: Failure | None = None
        self._streams: dict[int, StreamTransport] = {}
        self._offered: dict[int, None] = {}
        self._lingering = Lingering(self.connection)
        self._due: dict[StreamTransport, None] = {}
        self._pulled: list[Event] = []
        self._pings = Pings()
        self._keepalive = Keepalive(
            clock,
            pass_by=self._on_interval,
            ask=self._on_quiet,
            give_up=self._on_silence,
            interval=INTERVAL if role is Role.SERVER else LATER_INTERVAL,
        )

    # For the tunnel's owner.

    @property
    def is_up(self) -> bool:
        """Whether streams may be opened as far as we know."""
        return self._life is _Life.UP and not self._is_leaving

    @property
    def stream_count(self) -> int:
        return self.connection.stream_count

    @property
    def silence(self) -> float:
        """For how many seconds the peer has said nothing."""
        return self._keepalive.silence

    def open_stream(self) -> StreamTransport:
        """
        Open a stream to the peer; whether it accepts shows later.

        :raises MuxClosed: if the tunnel is down or going down.
        :raises TooManyStreams: at one of the limits.
        """
        if self._life is not _Life.UP:
            raise MuxClosed("the tunnel is down")
        stream = self._add(self.connection.open())
        self._schedule()
        return stream

    def ping(self) -> Deferred[float]:
        """
        Fires with the round trip in seconds.

        Fails with :class:`MuxClosed` when the tunnel is or goes down, and with
        :class:`TimedOut` after about 29 seconds.
        """
        if self._life is not _Life.UP or self._pings.is_full:
            return fail(MuxClosed("the tunnel is down, or being pinged enough already"))
        self._schedule()
        return self._pings.sent(self.connection.ping(), self._clock.seconds())

    def go_away(self) -> None:
        """
        Take no new streams; the tunnel closes when the last one has ended.

        That may take for ever: a caller who cannot wait calls :meth:`close`.
        """
        if self._life is _Life.UP and not self._is_leaving:
            self._is_leaving = True
            self.connection.go_away()
            self._schedule()

    def close(self) -> None:
        """Say goodbye and close the tunnel now, with every stream in it."""
        self._close(GoAwayCode.NORMAL, Failure(MuxClosed("the tunnel was closed")))

    def abort(self) -> None:
        """Drop the tunnel without a word."""
        self._reason = self._reason or Failure(MuxClosed("the tunnel was dropped"))
        if self._life in (_Life.UP, _Life.CLOSING):
            self._life = _Life.CLOSING
            self.transport.abortConnection()

    # What Twisted calls.

    def connectionMade(self) -> None:
        self._life = _Life.UP
        self.transport.registerProducer(self, True)
        self._keepalive.start()
        if self._on_up is not None:
            self._on_up()

    def dataReceived(self, data: bytes | memoryview) -> None:
        if self._life is not _Life.UP:
            return
        self._keepalive.heard()
        try:
            events = self.connection.receive(data)
        except RemoteMuxError as error:
            self._log.warn("tunnel from {peer} broken: {error}", peer=self._peer, error=error)
            self._close(GoAwayCode.PROTOCOL_ERROR, Failure(error))
            return
        self._is_in_turn = True
        try:
            self._react(events)
        finally:
            self._is_in_turn = False
        self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._life = _Life.DOWN
        self._keepalive.stop()
        for call in (self._turn, self._cut_off):
            if call is not None and call.active():
                call.cancel()
        self._turn = self._cut_off = None
        reason = self._reason or reason
        for stream in list(self._streams.values()):
            stream.lost(Failure(ConnectionLost("the tunnel went down")))
        self._due.clear()
        self._lingering.clear()
        self._pings.fail()
        # Whoever owns a tunnel holds it: holding them, too, it would stay until Python looks
        # for such rings, with all that its transport has.
        on_down, self._on_down = self._on_down, None
        self._accept, self._on_up, self._on_go_away = _refuse, None, None
        if on_down is not None:
            on_down(reason)

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._settle()

    def stopProducing(self) -> None:
        """The transport is closing by itself; connectionLost follows."""
        self._is_paused = True

    # For the streams.

    def attend(self, stream: StreamTransport) -> None:
        """Call its :meth:`~StreamTransport.attended` in the next turn."""
        if self._life is _Life.UP:
            self._due[stream] = None
            self._schedule()
        else:
            # Whoever attaches to a stream of a dead tunnel still hears of its end.
            self._clock.callLater(0, stream.attended)

    def sent(self) -> None:
        """A stream has something to send."""
        if self.connection.unsent >= _EAGER:
            self.flush()
        self._schedule()

    def accept_stream(self, stream: StreamTransport) -> None:
        if stream.stream_id in self._offered:
            self._offered.pop(stream.stream_id, None)
            # The peer may have taken its offer back, which we are about to be told.
            if self.connection.has_stream(stream.stream_id):
                self.connection.accept(stream.stream_id)
                self._schedule()

    def is_offered(self, stream: StreamTransport) -> bool:
        """Whether the stream waits to be accepted."""
        return stream.stream_id in self._offered

    def release(self, stream: StreamTransport) -> None:
        """Nobody holds the stream any more."""
        stream_id = stream.stream_id
        if self._streams.pop(stream_id, None) is None:
            return
        self._offered.pop(stream_id, None)
        self._due.pop(stream, None)
        self.connection.abandon(stream_id)
        if self.connection.has_stream(stream_id):
            self._lingering.add(stream_id)
        self._schedule()

    def flush(self) -> None:
        """Hand to the transport all that it takes, and the windows allow."""
        while not self._is_paused and self._life is _Life.UP and self.connection.has_output:
            # Other transports than TLS over TCP have no word on how fast they are.
            pieces, events = self.connection.pull(getattr(self.transport, "turn", PULL_LENGTH))
            self._pulled += events
            if pieces:
                self.transport.writeSequence(pieces)

    # How it is done.

    @property
    def _peer(self) -> object:
        return self.transport.getPeer()

    def _add(self, stream_id: int) -> StreamTransport:
        stream = self._streams[stream_id] = StreamTransport(
            self, stream_id, peer=self.transport.getPeer(), host=self.transport.getHost()
        )
        return stream

    def _schedule(self) -> None:
        if self._turn is None and not self._is_in_turn and self._life is _Life.UP:
            self._turn = self._clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self._settle()

    def _settle(self) -> None:
        """Let streams do what was left for later, and write what came of it."""
        if self._is_in_turn:
            return
        self._is_in_turn = True
        try:
            due, self._due = self._due, {}
            for stream in due:
                stream.attended()
            self.flush()
            pulled, self._pulled = self._pulled, []
            self._react(pulled)
            self.flush()
        finally:
            self._is_in_turn = False
        if self._is_leaving and not self.connection.stream_count:
            self.close()
        elif self._due or self._pulled:
            self._schedule()

    def _react(self, events: list[Event]) -> None:
        reactions = self._REACTIONS
        for event in events:
            reaction = reactions.get(type(event))
            if reaction is not None:
                reaction(self, event)

    def _on_data(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.received(event.data)

    def _on_opened(self, event: StreamOpened) -> None:
        if self._life is not _Life.UP:
            return
        stream = self._add(event.stream_id)
        self._offered[event.stream_id] = None
        try:
            self._accept(stream)
        except Exception:
            self._log.failure("a stream from {peer} could not be accepted", peer=self._peer)
            stream.abortConnection()

    def _on_ended(self, event: StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.ended()

    def _on_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.lost(reset_by_peer())
        self._lingering.remove(event.stream_id)

    def _on_overflowed(self, event: StreamOverflowed) -> None:
        self._log.warn("stream {id} from {peer} is not read", id=event.stream_id, peer=self._peer)
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.lost(Failure(StreamOverflow("what arrived on the stream was not read")))

    def _on_drained(self, event: SendBufferDrained) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.drained()

    def _on_finish_sent(self, event: FinishSent) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.finish_sent()

    def _on_ping_answered(self, event: PingAnswered) -> None:
        round_trip = self._pings.answered(event.opaque, self._clock.seconds())
        if round_trip is not None:
            self.round_trip = round_trip

    def _on_interval(self) -> None:
        """An interval of the keepalive has passed."""
        self.connection.forgive()
        self._pings.expire(self._clock.seconds())

    def _on_quiet(self) -> None:
        """The peer has said nothing for so long; its answer is the sign of life."""
        self._pings.asked(self.connection.ping(), self._clock.seconds())
        self._settle()

    def _on_peer_leaves(self, event: GoAwayReceived) -> None:
        if self._on_go_away is not None:
            self._on_go_away()

    def _on_silence(self) -> None:
        if not self.gives_up:
            self._keepalive.start()
            return
        self._log.warn("tunnel from {peer} is silent and presumed dead", peer=self._peer)
        self._reason = Failure(TimedOut("the other end of the tunnel is silent"))
        self.abort()

    def _close(self, code: GoAwayCode, reason: Failure) -> None:
        if self._life is not _Life.UP:
            return
        self._reason = self._reason or reason
        self.connection.go_away(code)
        last_words, _ = self.connection.pull(0)
        self._life = _Life.CLOSING
        self._keepalive.stop()
        self._cut_off = self._clock.callLater(_CLOSE_DEADLINE, self.transport.abortConnection)
        # With a producer registered, TLS would wait for it before it closes.
        self.transport.unregisterProducer()
        self.transport.writeSequence(last_words)
        self.transport.loseConnection()

    _REACTIONS: ClassVar[Mapping[type[Event], Callable[[MuxProtocol, Any], None]]] = {
        DataReceived: _on_data,
        StreamOpened: _on_opened,
        StreamEnded: _on_ended,
        StreamReset: _on_reset,
        StreamOverflowed: _on_overflowed,
        SendBufferDrained: _on_drained,
        FinishSent: _on_finish_sent,
        PingAnswered: _on_ping_answered,
        GoAwayReceived: _on_peer_leaves,
    }
