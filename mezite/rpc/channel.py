"""
Calling unary gRPC methods over any Twisted transport.

A :class:`GrpcChannel` owns one connection and the calls under way on it. Who
dials, and who dials again, is left to its owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any, TypeVar, cast

from attrs import define
from google.protobuf.message import DecodeError, Message
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.error import LimitReached, MeziteError, TimedOut
from mezite.rpc.error import (
    CallCancelled,
    ChannelClosed,
    MessageTooLarge,
    RemoteRpcError,
)
from mezite.rpc.framing import MessageReader, encode_message
from mezite.rpc.headers import Headers, read_response, read_trailers, write_request
from mezite.rpc.http2 import (
    BodyReceived,
    Ended,
    Event,
    HeadersReceived,
    Http2Connection,
    Reset,
    TrailersArrived,
)
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.screening import GoAway

M = TypeVar("M", bound=Message)

# How long a peer may take to close after we have said goodbye.
_GOODBYE_SECONDS = 5.0


class _State(Enum):
    UNCONNECTED = auto()
    OPEN = auto()
    # The server takes no more calls; those under way may end.
    DRAINING = auto()
    # We said goodbye, and wait for the transport.
    CLOSING = auto()
    GONE = auto()


_CONNECTED = (_State.OPEN, _State.DRAINING)


@define(eq=False)
class _Call:
    """One call under way."""

    stream_id: int
    reader: MessageReader
    answer: Deferred[bytes]
    headers: Headers | None = None
    trailers: Headers | None = None
    message: bytes | None = None


@implementer(IPushProducer)
class GrpcChannel(Protocol):
    """
    One connection to a gRPC server.

    A call raises the kinds of :mod:`mezite.error` that its status stands for
    (:mod:`mezite.rpc.status`), :class:`ChannelClosed` when the connection is
    gone, and :class:`TimedOut` at its deadline.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        authority: str = "mezite",
        limits: GrpcLimits | None = None,
    ) -> None:
        self._clock = clock
        self._authority = authority
        self._limits = GrpcLimits() if limits is None else limits
        self._http2 = Http2Connection(client_side=True, limits=self._limits, now=clock.seconds())
        self._calls: dict[int, _Call] = {}
        self._state = _State.UNCONNECTED
        # What a call is told when the state is not OPEN.
        self._closed_because = "the connection is not made yet"
        self._lost: BaseException | None = None
        self._paused = False
        self._goodbye: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []

    # What its owner calls.

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._state is _State.OPEN

    @property
    def is_busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._calls)

    def on_closed(self) -> Deferred[None]:
        """Fires once the connection is gone, at once if it is gone already."""
        waiting: Deferred[None] = Deferred()
        if self._state is _State.GONE:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    async def call(
        self,
        path: str,
        request: Message,
        response_type: type[M],
        *,
        timeout: float = 10.0,  # noqa: ASYNC109 -- asyncio's is not Twisted's
        metadata: Iterable[tuple[str, str]] = (),
    ) -> M:
        """
        Call the method at this path, and await its answer for ``timeout`` seconds.

        Cancelling the call cancels it on the server as well.
        """
        data = request.SerializeToString()
        if len(data) > self._limits.request_bytes:
            raise MessageTooLarge(len(data), self._limits.request_bytes)
        if self._state is not _State.OPEN:
            raise ChannelClosed(self._closed_because)
        stream_id = self._open(path, timeout, metadata)
        answer: Deferred[bytes] = Deferred(lambda _: self._give_up(stream_id))
        reader = MessageReader(self._limits.response_bytes)
        self._calls[stream_id] = _Call(stream_id, reader, answer)
        expiry = self._clock.callLater(timeout, self._expire, stream_id, path)
        self._http2.send_body(stream_id, encode_message(data))
        self._flush()
        try:
            received = await answer
        finally:
            if expiry.active():
                expiry.cancel()
        try:
            return response_type.FromString(received)
        except DecodeError:
            raise RemoteRpcError("the answer cannot be read") from None

    def close(self) -> None:
        """End the connection; calls that are under way fail."""
        if self._state in _CONNECTED:
            self._end("the connection was closed", ErrorCodes.NO_ERROR)

    # What the transport calls.

    def connectionMade(self) -> None:
        self._state = _State.OPEN
        cast(Any, self.transport).registerProducer(self, True)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        if self._state not in _CONNECTED:
            return
        try:
            events = self._http2.receive(data, self._clock.seconds())
        except RemoteRpcError as error:
            self._log.warn("a gRPC server broke its connection: {error}", error=error)
            self._write()
            self._end(f"the connection broke: {error}", None)
            return
        for event in events:
            self._on_event(event)
            if self._state not in _CONNECTED:
                return
        self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state in _CONNECTED:
            self._closed_because = "the connection was lost"
        self._state = _State.GONE
        self._lost = reason.value
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()
        self._fail_all()
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    # Reading goes on while writing is held up: two sides that stop reading
    # because the other does not would wait for each other. What is read is
    # bounded by the answers that were asked for.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._flush()

    def stopProducing(self) -> None:
        """The connection is about to be lost; connectionLost does the rest."""

    # A call, from its first byte to its last.

    def _open(self, path: str, timeout: float, metadata: Iterable[tuple[str, str]]) -> int:
        headers = write_request(path, authority=self._authority, timeout=timeout, metadata=metadata)
        try:
            return self._http2.open(headers)
        except H2Error as error:
            raise ChannelClosed(f"no more calls on this connection: {error}") from error

    def _on_event(self, event: Event) -> None:
        if isinstance(event, GoAway):
            self._on_goaway(event)
            return
        call = self._calls.get(getattr(event, "stream_id", 0))
        if call is None:
            return
        try:
            match event:
                case HeadersReceived():
                    call.headers = event.headers
                    read_response(event.headers)
                case BodyReceived():
                    self._on_body(call, event.data)
                case TrailersArrived():
                    call.trailers = event.headers
                case Ended():
                    self._on_ended(call)
                case Reset():
                    self._fail(call, _error_of_reset(event.error_code))
        except MeziteError as error:
            self._http2.reset(call.stream_id, ErrorCodes.CANCEL)
            self._fail(call, error)

    def _on_body(self, call: _Call, data: bytes) -> None:
        for message in call.reader.receive(data):
            if call.message is not None:
                raise RemoteRpcError("a unary answer has one message, not more")
            call.message = message

    def _on_ended(self, call: _Call) -> None:
        trailers = call.headers if call.trailers is None else call.trailers
        error = read_trailers(trailers or ())
        if error is not None:
            raise error
        call.reader.finish()
        if call.message is None:
            raise RemoteRpcError("a unary answer has one message, not none")
        self._http2.credit_call()
        # The server may answer before it has read all of the request.
        self._http2.reset(call.stream_id, ErrorCodes.CANCEL)
        self._forget(call)
        call.answer.callback(call.message)

    def _fail(self, call: _Call, error: BaseException) -> None:
        self._forget(call)
        if not call.answer.called:
            call.answer.errback(error)

    def _fail_all(self) -> None:
        for call in tuple(self._calls.values()):
            error = ChannelClosed(self._closed_because)
            error.__cause__ = self._lost
            self._fail(call, error)

    def _forget(self, call: _Call) -> None:
        self._calls.pop(call.stream_id, None)
        self._http2.forget(call.stream_id)

    def _give_up(self, stream_id: int) -> None:
        """The caller cancelled: the server is told, and Twisted fires CancelledError."""
        self._calls.pop(stream_id, None)
        if self._state in _CONNECTED:
            self._http2.reset(stream_id, ErrorCodes.CANCEL)
            self._flush()

    def _expire(self, stream_id: int, path: str) -> None:
        call = self._calls[stream_id]
        self._http2.reset(stream_id, ErrorCodes.CANCEL)
        self._flush()
        method = path.rpartition("/")[2]
        self._fail(call, TimedOut(f"the hub did not answer {method} in time"))

    # The connection.

    def _on_goaway(self, event: GoAway) -> None:
        self._state = _State.DRAINING
        if event.error_code == ErrorCodes.ENHANCE_YOUR_CALM:
            self._closed_because = "the hub refuses so many calls"
        else:
            self._closed_because = "the hub is ending the connection"
        for call in tuple(self._calls.values()):
            if call.stream_id > event.last_stream_id:
                self._fail(call, ChannelClosed(self._closed_because))
        self._flush()

    def _end(self, sentence: str, code: ErrorCodes | None) -> None:
        self._state = _State.CLOSING
        self._closed_because = sentence
        if code is not None:
            self._http2.abandon(code)
            self._write()
        transport = cast(Any, self.transport)
        self._goodbye = self._clock.callLater(_GOODBYE_SECONDS, transport.abortConnection)
        # Transports that are asked to close wait for a producer to end.
        transport.unregisterProducer()
        transport.loseConnection()
        self._fail_all()

    def _flush(self) -> None:
        if self._state not in _CONNECTED:
            return
        while True:
            if not self._paused:
                self._http2.send_what_fits()
            if not self._write():
                break
        if self._state is _State.DRAINING and not self._calls:
            self._end(self._closed_because, ErrorCodes.NO_ERROR)

    def _write(self) -> bool:
        data = self._http2.data_to_send()
        if data and self.transport is not None:
            self.transport.write(data)
        return bool(data)


def _error_of_reset(code: int) -> MeziteError:
    match code:
        case ErrorCodes.REFUSED_STREAM:
            return ChannelClosed("the hub takes no more calls on this connection")
        case ErrorCodes.ENHANCE_YOUR_CALM:
            return LimitReached("the hub refuses so many calls")
        case ErrorCodes.CANCEL | ErrorCodes.NO_ERROR:
            return CallCancelled("the hub gave up the call")
    return RemoteRpcError(f"the hub broke off the call (HTTP/2 error {code})")


async def open_channel(
    endpoint: IStreamClientEndpoint, clock: IReactorTime, *, authority: str = "mezite"
) -> GrpcChannel:
    """Connect, and have a channel. The endpoint's failures pass; so does its deadline."""
    factory = Factory.forProtocol(lambda: GrpcChannel(clock, authority=authority))
    factory.noisy = False
    try:
        channel = await endpoint.connect(factory)
    except ConnectingCancelledError:
        # Twisted's endpoints say in their own words that they were cancelled, which a
        # caller who waits for CancelledError would take for a failure.
        raise CancelledError from None
    return cast(GrpcChannel, channel)
