"""
An HTTP/2 connection that holds back what its peer's windows do not let through.

Wraps python-hyper h2 for unary calls: it acknowledges what was received (the
messages are bounded elsewhere), sends bodies as windows open, and keeps the
bounds of :class:`~mezite.rpc.limits.GrpcLimits`. What headers and bodies mean
is left to :mod:`mezite.rpc.server` and :mod:`mezite.rpc.client`.

Bytes in, events out; no transport, and the time comes as an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, frozen
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.events import Event as H2Event
from h2.exceptions import H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from mezite.error import LimitReached
from mezite.rpc.error import RemoteRpcError
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.screening import FRAME_LENGTH, CalmDown, FrameScreen, GoAway, goaway_frame

Headers = Sequence[tuple[str, str]]

# Per stream, what a peer may send before it hears from us; four of RFC 9113's
# initial windows let one message of 1 MiB through in four round trips.
_STREAM_WINDOW = 256 * 1024
_CONNECTION_WINDOW = 1024 * 1024
# How many ended streams h2 remembers, to tell late frames from wrong ones; its
# own choice of 65536 would be 8 MB of a connection's memory.
_ENDED_STREAMS = 1024
# SETTINGS_HEADER_TABLE_SIZE's initial value.
_HEADER_TABLE = 4096
# What one call of send_what_fits makes ready at most: 16 frames.
_BATCH = 16 * FRAME_LENGTH


@define(eq=False)
class _Outgoing:
    """A body on its way, and the trailers after it (none: the body ends the stream)."""

    stream_id: int
    left: memoryview
    trailers: Headers | None


@frozen
class Greeted:
    """The peer's settings arrived."""


@frozen
class HeadersReceived:
    """A request or an answer began."""

    stream_id: int
    headers: Headers


@frozen
class BodyReceived:
    """A part of a body."""

    stream_id: int
    data: bytes


@frozen
class TrailersArrived:
    """What follows the body; :class:`Ended` comes next."""

    stream_id: int
    headers: Headers


@frozen
class Ended:
    """The peer sends no more on this stream."""

    stream_id: int


@frozen
class Reset:
    """The stream is over, both ways."""

    stream_id: int
    error_code: int


Event = Greeted | HeadersReceived | BodyReceived | TrailersArrived | Ended | Reset | GoAway


@frozen
class Sent:
    """All of a stream's body and trailers has been let through."""

    stream_id: int


class _Values(list[int | None]):
    """
    The value of a setting, and those that wait to be acknowledged.

    h2 keeps a deque for each, of 760 bytes, which was most of an idle
    connection's memory.
    """

    __slots__ = ()

    def popleft(self) -> int | None:
        return self.pop(0)


class _Settings(Settings):
    """h2's, without those that h2 does not know: a peer may name 65,536 of them."""

    def __init__(self, client: bool, initial_values: dict[SettingCodes, int] | None = None) -> None:
        super().__init__(client, initial_values)
        self._settings: Any = {code: _Values(value) for code, value in self._settings.items()}

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        if key not in self._settings:
            if key not in _KNOWN_SETTINGS:
                return
            self._settings[key] = _Values([None])
        super().__setitem__(key, value)


_KNOWN_SETTINGS = frozenset(SettingCodes)


class _H2(H2Connection):
    MAX_CLOSED_STREAMS = _ENDED_STREAMS


class Http2Connection:
    """One side of a connection."""

    def __init__(self, *, client_side: bool, limits: GrpcLimits, now: float) -> None:
        # A server's headers are our own constants and percent-encoded text; a
        # client's may hold what its caller was given, and are checked by h2.
        self._h2 = _H2(
            H2Configuration(
                client_side=client_side,
                validate_outbound_headers=client_side,
                normalize_outbound_headers=client_side,
            )
        )
        self._screen = FrameScreen(limits, preface=not client_side, now=now)
        self._outgoing: deque[_Outgoing] = deque()
        self._raw = b""
        # h2 would hold the peer to these only once the peer has acknowledged them,
        # had they been changed after the connection was made.
        self._h2.remote_settings = _Settings(client=not client_side)
        self._h2.local_settings = _Settings(
            client=client_side,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams,
            },
        )
        self._h2.decoder.max_header_list_size = limits.header_list_bytes
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - 65535)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """
        What the peer did.

        :raises RemoteRpcError: after which :meth:`data_to_send` holds what the
            peer is told, and nothing else is to be called.
        """
        try:
            passed, goaways = self._screen.receive(data, now)
            happened = self._h2.receive_data(passed)
        except CalmDown:
            self.abandon(ErrorCodes.ENHANCE_YOUR_CALM)
            raise
        except RemoteRpcError:
            self.abandon(ErrorCodes.PROTOCOL_ERROR)
            raise
        except H2Error as error:
            self.abandon(getattr(error, "error_code", ErrorCodes.PROTOCOL_ERROR))
            raise RemoteRpcError(f"HTTP/2 was broken: {error}") from error
        # What a peer allows our encoder to remember, we need not remember.
        if self._h2.encoder.header_table_size > _HEADER_TABLE:
            self._h2.encoder.header_table_size = _HEADER_TABLE
        events: list[Event] = []
        for event in happened:
            translated = self._translate(event)
            if translated is not None:
                events.append(translated)
        return [*events, *goaways]

    def _translate(self, event: H2Event) -> Event | None:
        match event:
            case RequestReceived() | ResponseReceived():
                return HeadersReceived(event.stream_id, _text(event.headers))
            case DataReceived():
                if event.flow_controlled_length:
                    length = event.flow_controlled_length
                    self._h2.acknowledge_received_data(length, event.stream_id)
                return BodyReceived(event.stream_id, event.data)
            case TrailersReceived():
                return TrailersArrived(event.stream_id, _text(event.headers))
            case StreamEnded():
                return Ended(event.stream_id)
            case StreamReset():
                self.forget(event.stream_id)
                return Reset(event.stream_id, event.error_code)
            case RemoteSettingsChanged():
                return Greeted()
        return None

    def open(self, headers: Headers) -> int:
        """
        Begin a stream with these headers.

        :raises LimitReached: if the peer allows no more streams.
        """
        # A peer that has not sent its settings yet allows any number.
        allowed = self._h2.remote_settings.max_concurrent_streams
        if self._h2.open_outbound_streams >= allowed:
            raise LimitReached(f"there are {allowed} calls under way already")
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream_id, headers)
        return stream_id

    def send_headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> bool:
        """Send headers; ``False`` if the stream is gone."""
        try:
            self._h2.send_headers(stream_id, headers, end_stream=end)
        except ProtocolError:
            return False
        return True

    def send_body(self, stream_id: int, body: bytes, trailers: Headers | None = None) -> None:
        """Send this as windows allow, then the trailers, then the end of the stream."""
        self._outgoing.append(_Outgoing(stream_id, memoryview(body), trailers))

    def reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Give up a stream, and what was still to be sent on it."""
        self.forget(stream_id)
        stream = self._h2.streams.get(stream_id)
        if stream is not None and not stream.closed:
            self._h2.reset_stream(stream_id, code)

    def forget(self, stream_id: int) -> None:
        """Drop what was still to be sent on a stream."""
        self._outgoing = deque(item for item in self._outgoing if item.stream_id != stream_id)

    def credit_call(self) -> None:
        """A call was served to its end: see :class:`FrameScreen`."""
        self._screen.credit_call()

    def announce_end(self) -> None:
        """Tell the peer to open no more streams; those that are open go on."""
        self._raw += goaway_frame(self._h2.highest_inbound_stream_id, ErrorCodes.NO_ERROR)

    def abandon(self, code: ErrorCodes | int) -> None:
        """Tell the peer that this is the end, now."""
        self._outgoing.clear()
        self._h2.clear_outbound_data_buffer()
        self._h2.close_connection(code)

    def send_what_fits(self) -> list[Sent]:
        """
        Move bodies into :meth:`data_to_send`, as far as windows and one batch allow.

        Streams take turns frame by frame, so that a large answer does not
        hold up a small one. Call it again until :meth:`data_to_send` is empty.
        """
        sent = []
        blocked: list[_Outgoing] = []
        room = _BATCH
        while self._outgoing and room > 0:
            room -= FRAME_LENGTH
            item = self._outgoing.popleft()
            try:
                ended = self._send_frame(item)
            except ProtocolError:
                continue
            if ended is None:
                blocked.append(item)
            elif ended:
                sent.append(Sent(item.stream_id))
            else:
                self._outgoing.append(item)
        self._outgoing.extend(blocked)
        return sent

    def _send_frame(self, item: _Outgoing) -> bool | None:
        """One frame of a body: whether it was the last, or ``None`` for no room."""
        if item.left:
            room = self._h2.local_flow_control_window(item.stream_id)
            length = min(room, FRAME_LENGTH, len(item.left))
            if length <= 0:
                return None
            ends = length == len(item.left) and item.trailers is None
            self._h2.send_data(item.stream_id, bytes(item.left[:length]), end_stream=ends)
            item.left = item.left[length:]
            if ends:
                return True
            if item.left:
                return False
        if item.trailers is None:
            self._h2.end_stream(item.stream_id)
        else:
            self._h2.send_headers(item.stream_id, item.trailers, end_stream=True)
        return True

    def data_to_send(self) -> bytes:
        """The bytes for the transport; they are given once."""
        data: bytes = self._h2.data_to_send() + self._raw
        self._raw = b""
        return data


def _text(headers: Iterable[tuple[bytes | str, bytes | str]]) -> Headers:
    """Headers as text; what is no UTF-8 can match nothing that we look for."""
    return [(_decode(name), _decode(value)) for name, value in headers]


def _decode(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")
