"""
One connection of a gRPC client, and the calls that are under way on it.

Owns their deadlines, their running handlers and the end of the connection. The
bytes are :mod:`mezite.rpc.http2`'s; who the caller is and what a call does are
the factory's, :class:`mezite.rpc.server.GrpcServerFactory`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, cast
from typing import Protocol as TypingProtocol

from google.protobuf.message import Message
from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.error import LimitReached, LocalError, MeziteError, TimedOut
from mezite.rpc.calls import Call, Caller, Method
from mezite.rpc.error import MessageTooLarge, RemoteRpcError, Unimplemented
from mezite.rpc.exchange import Exchange, Phase
from mezite.rpc.framing import MessageReader, encode_message
from mezite.rpc.headers import RESPONSE_HEADERS, NotGrpc, read_request, write_trailers
from mezite.rpc.http2 import (
    BodyReceived,
    Ended,
    Event,
    Greeted,
    HeadersReceived,
    Http2Connection,
    Reset,
)
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.status import Status, status_of


class _State(Enum):
    SERVING = auto()
    # No more calls; those under way may end.
    DRAINING = auto()
    # Everything was said, or the connection is gone.
    OVER = auto()


_LIVE = (_State.SERVING, _State.DRAINING)


class _Factory(TypingProtocol):
    """What a connection is given by its factory."""

    methods: Mapping[str, Method]
    caller_of: Callable[[ITransport], Caller]
    clock: IReactorTime
    limits: GrpcLimits
    connections: set[GrpcServerProtocol]


@implementer(IPushProducer)
class GrpcServerProtocol(Protocol):
    """One connection of a client."""

    _log = Logger()

    def __init__(self, factory: _Factory) -> None:
        self._factory = factory
        self._clock = factory.clock
        self._limits = factory.limits
        self._http2 = Http2Connection(
            client_side=False, limits=factory.limits, now=factory.clock.seconds()
        )
        self._exchanges: dict[int, Exchange] = {}
        # Handlers, among them some that were cancelled and have not ended.
        self._running: set[Deferred[None]] = set()
        self._held_requests = 0
        self._held_answers = 0
        self._caller: Caller | MeziteError | None = None
        self._greeted = False
        self._state = _State.SERVING
        self._paused = False
        self._idle: IDelayedCall | None = None
        self._stalled: IDelayedCall | None = None
        self.closed: Deferred[None] = Deferred()

    # What the transport calls.

    def connectionMade(self) -> None:
        assert self.transport is not None
        try:
            self._caller = self._factory.caller_of(self.transport)
        except MeziteError as error:
            self._caller = error
        if not self._is_proved():
            self._limits = self._limits.for_strangers()
        self._idle = self._clock.callLater(self._limits.greeting_seconds, self._no_calls)
        # A streaming producer, which is told when the transport's buffer is full.
        cast(Any, self.transport).registerProducer(self, True)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        if self._state not in _LIVE:
            return
        try:
            events = self._http2.receive(data, self._clock.seconds())
        except RemoteRpcError as error:
            self._log.warn("gRPC from {peer} broken: {error}", peer=self._peer, error=error)
            self._write()
            self._close()
            return
        for event in events:
            self._on_event(event)
            if self._state not in _LIVE:
                return
        self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.OVER
        for timer in (self._idle, self._stalled):
            if timer is not None and timer.active():
                timer.cancel()
        for exchange in tuple(self._exchanges.values()):
            self._drop(exchange)
        # Nothing asks it any more, and it is most of what a collector would find later.
        del self._http2
        self._factory.connections.discard(self)
        self.closed.callback(None)

    def _is_proved(self) -> bool:
        caller = self._caller
        return isinstance(caller, Caller) and (caller.identity is not None or caller.is_local_admin)

    def pauseProducing(self) -> None:
        # Who does not take answers gives no more questions: what is read now
        # could only add to the full buffer.
        if self._paused or self._state not in _LIVE:
            return
        self._paused = True
        cast(Any, self.transport).pauseProducing()
        if self._stalled is None:
            self._stalled = self._clock.callLater(self._limits.stalled_seconds, self._abort)

    def resumeProducing(self) -> None:
        if not self._paused or self._state not in _LIVE:
            return
        self._paused = False
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        cast(Any, self.transport).resumeProducing()
        self._flush()

    def stopProducing(self) -> None:
        """The connection is about to be lost; connectionLost does the rest."""

    # What the factory calls.

    def drain(self) -> None:
        """Take no more calls, and close when those under way have ended."""
        if self._state is _State.SERVING:
            self._state = _State.DRAINING
            self._http2.announce_end()
            self._flush()

    # A call, from its first byte to its last.

    def _on_event(self, event: Event) -> None:
        match event:
            case HeadersReceived():
                self._begin(event)
            case BodyReceived():
                self._on_body(event)
            case Ended():
                self._on_request_ended(event.stream_id)
            case Reset():
                exchange = self._exchanges.get(event.stream_id)
                if exchange is not None:
                    self._drop(exchange)
            case Greeted() if not self._greeted:
                self._greeted = True
                self._rest()
            case _:
                pass  # trailers, and GOAWAY: a client that opens no more calls closes, too

    def _begin(self, event: HeadersReceived) -> None:
        stream_id = event.stream_id
        if self._state is not _State.SERVING:
            self._http2.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        try:
            exchange = self._admit(event)
        except NotGrpc as error:
            self._http2.send_headers(stream_id, [(":status", str(error.http_status))], end=True)
            self._http2.reset(stream_id, ErrorCodes.NO_ERROR)
        except MeziteError as error:
            self._refuse(stream_id, error)
        else:
            self._exchanges[stream_id] = exchange

    def _admit(self, event: HeadersReceived) -> Exchange:
        head = read_request(event.headers)
        if isinstance(self._caller, MeziteError):
            raise self._caller
        assert self._caller is not None
        method = self._factory.methods.get(head.path)
        if method is None:
            raise Unimplemented(f"there is no method {head.path[:100]!r}")
        if len(self._running) >= self._limits.streams:
            raise LimitReached("too many calls are under way on this connection")
        seconds = self._limits.call_seconds
        if head.timeout is not None:
            seconds = min(seconds, head.timeout)
        call = Call(self._caller, head.metadata, self._clock.seconds() + seconds)
        timer = self._clock.callLater(
            min(seconds, self._limits.request_seconds), self._too_late, event.stream_id
        )
        reader = MessageReader(self._limits.request_bytes)
        return Exchange(event.stream_id, method, call, timer, reader)

    def _on_body(self, event: BodyReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is None or exchange.phase is not Phase.RECEIVING:
            return
        try:
            self._hold(exchange, exchange.receive(event.data))
        except MeziteError as error:
            self._fail(exchange, error)

    def _hold(self, exchange: Exchange, length: int) -> None:
        self._held_requests += length - exchange.held
        exchange.held = length
        if self._held_requests > self._limits.pending_request_bytes:
            raise LimitReached("the unfinished calls of this connection are too large together")

    def _on_request_ended(self, stream_id: int) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is None or exchange.phase is not Phase.RECEIVING:
            return
        try:
            request = exchange.take_request()
        except MeziteError as error:
            self._fail(exchange, error)
            return
        self._hold(exchange, 0)
        self._handle(exchange, request)

    def _handle(self, exchange: Exchange, request: Message) -> None:
        exchange.phase = Phase.HANDLING
        assert exchange.call.deadline is not None
        self._wait(exchange, exchange.call.deadline - self._clock.seconds())

        async def handle() -> bytes:
            answer = await exchange.method.handle(exchange.call, request)
            if not isinstance(answer, exchange.method.response_type):
                raise LocalError(f"the handler answered with a {type(answer).__name__}")
            return answer.SerializeToString()

        running: Deferred[Any] = Deferred.fromCoroutine(handle())
        exchange.running = running
        self._running.add(running)

        def ended(result: bytes | Failure) -> None:
            self._running.discard(running)
            if exchange.phase is not Phase.HANDLING:
                return
            if self._exchanges.get(exchange.stream_id) is not exchange:
                return
            self._http2.credit_call()
            if isinstance(result, Failure):
                self._on_failure(exchange, result)
            else:
                self._answer(exchange, result)
            self._flush()

        running.addBoth(ended)

    def _on_failure(self, exchange: Exchange, failure: Failure) -> None:
        error = failure.value
        assert error is not None
        status, _ = status_of(error)
        if status is Status.INTERNAL:
            self._log.failure(
                "a call of {type} from {peer} failed",
                failure=failure,
                type=exchange.method.request_type.DESCRIPTOR.name,
                peer=self._peer,
            )
        self._fail(exchange, error)

    def _answer(self, exchange: Exchange, answer: bytes) -> None:
        if len(answer) > self._limits.response_bytes:
            self._fail(exchange, MessageTooLarge(len(answer), self._limits.response_bytes))
            return
        if self._held_answers + len(answer) > self._limits.pending_response_bytes:
            self._fail(exchange, LimitReached("the answers of this connection are not taken"))
            return
        exchange.phase = Phase.SENDING
        exchange.held = len(answer)
        self._held_answers += len(answer)
        self._wait(exchange, self._limits.response_seconds)
        if self._http2.send_headers(exchange.stream_id, RESPONSE_HEADERS):
            trailers = write_trailers(Status.OK)
            self._http2.send_body(exchange.stream_id, encode_message(answer), trailers)
        else:
            self._drop(exchange)

    # The ways a call ends.

    def _too_late(self, stream_id: int) -> None:
        exchange = self._exchanges[stream_id]
        if exchange.phase is Phase.SENDING:
            self._drop(exchange)
            self._http2.reset(stream_id, ErrorCodes.CANCEL)
        else:
            self._fail(exchange, TimedOut("the call took longer than its deadline"))
        self._flush()

    def _fail(self, exchange: Exchange, error: BaseException) -> None:
        self._drop(exchange)
        self._refuse(exchange.stream_id, error)

    def _refuse(self, stream_id: int, error: BaseException) -> None:
        """Answer with trailers only, and take no more of the request."""
        headers = [*RESPONSE_HEADERS, *write_trailers(*status_of(error))]
        if self._http2.send_headers(stream_id, headers, end=True):
            self._http2.reset(stream_id, ErrorCodes.NO_ERROR)

    def _drop(self, exchange: Exchange) -> None:
        """Forget a call; its handler, if it runs, is cancelled."""
        del self._exchanges[exchange.stream_id]
        if exchange.timer.active():
            exchange.timer.cancel()
        if exchange.phase is Phase.SENDING:
            self._held_answers -= exchange.held
        else:
            self._held_requests -= exchange.held
        exchange.held = 0
        if exchange.phase is Phase.HANDLING and exchange.running is not None:
            exchange.running.cancel()
        if not self._exchanges:
            self._rest()

    # The connection.

    @property
    def _peer(self) -> str:
        return self._caller.address if isinstance(self._caller, Caller) else "a refused caller"

    def _wait(self, exchange: Exchange, seconds: float) -> None:
        if exchange.timer.active():
            exchange.timer.cancel()
        exchange.timer = self._clock.callLater(
            max(0.0, seconds), self._too_late, exchange.stream_id
        )

    def _flush(self) -> None:
        """Write what the windows and the transport take."""
        if self._state not in _LIVE:
            return
        while True:
            if not self._paused:
                for sent in self._http2.send_what_fits():
                    exchange = self._exchanges.get(sent.stream_id)
                    if exchange is not None:
                        self._drop(exchange)
            if not self._write():
                break
        if self._state is _State.DRAINING and not self._exchanges:
            self._close()

    def _write(self) -> bool:
        data = self._http2.data_to_send()
        if data and self.transport is not None:
            self.transport.write(data)
        return bool(data)

    def _rest(self) -> None:
        """From now on the connection has so long until it makes a call."""
        if self._idle is not None and self._idle.active():
            self._idle.reset(self._limits.idle_seconds)

    def _no_calls(self) -> None:
        self._idle = self._clock.callLater(self._limits.idle_seconds, self._no_calls)
        if not self._exchanges:
            self.drain()

    def _close(self) -> None:
        """Everything was said; a peer that does not take it in time is cut off."""
        self._state = _State.OVER
        for exchange in tuple(self._exchanges.values()):
            self._drop(exchange)
        transport = cast(Any, self.transport)
        # Transports that are asked to close wait for a producer to end.
        transport.unregisterProducer()
        if self._stalled is None:
            self._stalled = self._clock.callLater(self._limits.stalled_seconds, self._abort)
        transport.loseConnection()

    def _abort(self) -> None:
        self._log.warn("{peer} takes no bytes; its gRPC connection is cut off", peer=self._peer)
        self._state = _State.OVER
        cast(Any, self.transport).abortConnection()
