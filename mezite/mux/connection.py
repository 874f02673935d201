"""
One tunnel, without the network: bytes and calls in, events and bytes out.

A :class:`Connection` owns every stream's state, all counting and the order in
which streams take turns. It reads no clock and writes to nothing:
:mod:`mezite.mux.protocol` carries its bytes.
"""

from __future__ import annotations

from typing import Final

from mezite.mux.error import (
    LocalMuxError,
    MuxClosed,
    RemoteMuxError,
    TooManyStreams,
)
from mezite.mux.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    PingAnswered,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamOverflowed,
    StreamReset,
)
from mezite.mux.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_LENGTH,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    FrameReader,
    GoAwayCode,
    Header,
    Role,
)
from mezite.mux.limits import DEFAULT_LIMITS, MuxLimits
from mezite.mux.sendqueue import SendQueue
from mezite.mux.stream import Input, State, Stream
from mezite.mux.streamids import StreamIds
from mezite.mux.window import ReceiveWindow

# What one pull hands out when asked for no other amount: 16 TLS records, so that
# a keystroke behind it waits for little, and a write costs little for each byte.
PULL_LENGTH: Final = 256 * 1024


class Connection:
    """
    Both directions of one tunnel.

    Calls on a stream that is gone raise :class:`LocalMuxError`, except those
    that only let go of it: :meth:`consumed`, :meth:`abandon` and :meth:`reset`.
    """

    def __init__(self, role: Role, limits: MuxLimits | None = None) -> None:
        self._limits = limits or DEFAULT_LIMITS
        self._reader = FrameReader(self._limits.frame_length)
        self._streams: dict[int, Stream] = {}
        self._ids = StreamIds(role)
        # Dicts, since an empty one takes 64 bytes and an empty set 216.
        self._unacknowledged: dict[int, None] = {}
        self._unaccepted: dict[int, None] = {}
        # The Data frame whose body is arriving: its stream, if anybody reads it.
        self._body_of: Stream | None = None
        self._body_left = 0
        self._body_ends_stream = False
        self._control: list[bytes] = []
        self._updates: dict[Stream, None] = {}
        self._queue = SendQueue(self._limits)
        self._unconsumed = 0
        self._growth_left = self._limits.window_growth
        self._nuisances = 0
        self._next_ping = 0
        self._we_leave = False
        self._peer_leaves = False

    # What both ends can see.

    @property
    def stream_count(self) -> int:
        """How many streams exist, with those closed whose bytes wait to be read."""
        return len(self._streams)

    @property
    def has_output(self) -> bool:
        """Whether :meth:`pull` would hand out anything."""
        return bool(self._control or self._updates or self._queue)

    @property
    def unsent(self) -> int:
        """The bytes of all streams that wait to be sent."""
        return self._queue.unsent

    def has_stream(self, stream_id: int) -> bool:
        return stream_id in self._streams

    def is_full(self, stream_id: int) -> bool:
        """Whether the stream's writer should wait for :class:`SendBufferDrained`."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.is_full

    def unsent_of(self, stream_id: int) -> int:
        """The bytes of this stream that wait to be sent."""
        stream = self._streams.get(stream_id)
        return stream.unsent.size if stream is not None else 0

    # Calls: what we do.

    def open(self) -> int:
        """
        Open a stream, and say its id; data may be sent at once.

        :raises MuxClosed: after a go-away, or when the ids are used up.
        :raises TooManyStreams: at one of the limits.
        """
        if self._we_leave or self._peer_leaves:
            raise MuxClosed("the tunnel is going down and takes no new streams")
        if (
            len(self._streams) >= self._limits.streams
            or len(self._unacknowledged) >= self._limits.backlog
            or len(self._control) >= self._limits.control_frames
        ):
            raise TooManyStreams("too many streams are open in the tunnel")
        stream = self._add(self._ids.take(), Input.SEND_SYN)
        self._unacknowledged[stream.stream_id] = None
        self._control.append(Header(WINDOW_UPDATE, SYN, stream.stream_id, 0).encode())
        return stream.stream_id

    def accept(self, stream_id: int) -> None:
        """Take a stream that the peer offered."""
        self._stream(stream_id).move(Input.SEND_ACK)
        self._unaccepted.pop(stream_id, None)
        self._control.append(Header(WINDOW_UPDATE, ACK, stream_id, 0).encode())

    def send(self, stream_id: int, data: bytes) -> bool:
        """
        Queue bytes, and say whether there is room for more.

        :raises StreamOverflow: if that would be beyond what may wait; nothing
            was queued.
        """
        stream = self._stream(stream_id)
        stream.move(Input.SEND_DATA)
        return self._queue.put(stream, data)

    def finish(self, stream_id: int) -> None:
        """End our direction of a stream, after what was sent."""
        stream = self._stream(stream_id)
        stream.move(Input.FINISH)
        self._queue.join(stream)

    def reset(self, stream_id: int) -> None:
        """Tear a stream down in both directions, or refuse one that was offered."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        is_closed = stream.state is State.CLOSED
        stream.move(Input.SEND_RST)
        if not is_closed:
            # Older peers drop a tunnel whose frames name a stream that they have closed.
            self._control.append(Header(WINDOW_UPDATE, RST, stream_id, 0).encode())
        self._drop(stream)

    def consumed(self, stream_id: int, count: int) -> None:
        """The reader of a stream took so many of the bytes that it was given."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_unread:
            return
        self._unconsumed -= count
        if stream.receiving.consume(count) and stream.may_receive:
            self._updates[stream] = None
        self._retire_if_done(stream)

    def abandon(self, stream_id: int) -> None:
        """
        Nobody reads the stream any more, and nothing more will be written.

        What was written still goes, then our end of it. The peer can fill the
        window once.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self.ignore(stream_id)
        if stream.state is State.SYN_RECEIVED:
            self.reset(stream_id)
        elif stream.state in (State.SYN_SENT, State.OPEN, State.REMOTE_CLOSED):
            self.finish(stream_id)

    def ignore(self, stream_id: int) -> None:
        """Nobody reads the stream any more; it may still be written to."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.is_unread = True
        self._unconsumed -= stream.receiving.unconsumed
        stream.receiving.unconsumed = 0
        self._retire_if_done(stream)

    def ping(self) -> int:
        """Ask the peer for a sign of life; :class:`PingAnswered` will carry this value."""
        opaque = self._next_ping
        self._next_ping = (opaque + 1) & 0xFFFFFFFF
        self._control.append(Header(PING, SYN, 0, opaque).encode())
        return opaque

    def go_away(self, code: GoAwayCode = GoAwayCode.NORMAL) -> None:
        """Take no further streams, and say so; those that exist go on."""
        self._we_leave = True
        self._control.append(Header(GO_AWAY, 0, 0, code).encode())

    def forgive(self) -> None:
        """A keepalive interval has passed: count the peer's nuisances from nought again."""
        self._nuisances = 0

    def pull(self, length: int = PULL_LENGTH) -> tuple[list[bytes | memoryview], list[Event]]:
        """
        About so many bytes to be sent, in pieces, and what their leaving made happen.

        Control frames go first, then streams in turn, a quantum each.
        """
        pieces: list[bytes | memoryview] = [*self._control]
        self._control.clear()
        for stream in self._updates:
            if stream.may_receive:
                before = stream.receiving.size
                delta = stream.receiving.reopen(self._growth_left)
                self._growth_left -= stream.receiving.size - before
                pieces.append(Header(WINDOW_UPDATE, 0, stream.stream_id, delta).encode())
        self._updates.clear()
        events: list[Event] = []
        length -= HEADER_LENGTH * len(pieces)
        for stream in self._queue.pull(length, pieces, events):
            self._retire_if_done(stream)
        return pieces, events

    # Bytes: what the peer does.

    def receive(self, data: bytes | memoryview) -> list[Event]:
        """
        What these bytes mean.

        :raises RemoteMuxError: if the peer broke the protocol or a limit; the
            tunnel must be dropped.
        """
        events: list[Event] = []
        for item in self._reader.receive(data):
            if isinstance(item, Header):
                self._on_header(item, events)
            else:
                self._on_body(item, events)
        return events

    def _on_body(self, data: bytes, events: list[Event]) -> None:
        self._body_left -= len(data)
        stream = self._body_of
        if stream is None or stream.state is State.RESET:
            return
        if not stream.is_unread:
            stream.receiving.unconsumed += len(data)
            self._unconsumed += len(data)
            events.append(DataReceived(stream.stream_id, data))
            if self._unconsumed > self._limits.tunnel_received:
                self._relieve(events)
        if not self._body_left:
            self._body_of = None
            # The same stream may have been the one that paid.
            if self._body_ends_stream and self.has_stream(stream.stream_id):
                self._on_end(stream, events)

    def _on_header(self, header: Header, events: list[Event]) -> None:
        if header.frame_type <= WINDOW_UPDATE:
            if header.frame_type == DATA:
                self._body_of = None
                self._body_left = header.length
            self._on_stream_header(header, events)
        elif header.frame_type == PING:
            self._nuisance()
            if header.flags == SYN:
                self._answer(Header(PING, ACK, 0, header.length))
            else:
                events.append(PingAnswered(header.length))
        elif header.length == GoAwayCode.NORMAL:
            self._nuisance()
            self._peer_leaves = True
            events.append(GoAwayReceived(GoAwayCode.NORMAL))
        else:
            raise RemoteMuxError(f"the peer ended the tunnel: {GoAwayCode(header.length).name}")

    def _on_stream_header(self, header: Header, events: list[Event]) -> None:
        frame_type, flags, stream_id, length = header
        if flags & SYN:
            stream = self._on_syn(stream_id, events)
        else:
            stream = self._streams.get(stream_id)
            if stream is None:
                self._ids.check_was_used(stream_id)
        if stream is None:
            return
        if flags & RST:
            self._nuisance()
            stream.move(Input.RECV_RST)
            self._drop(stream)
            events.append(StreamReset(stream_id))
            return
        if flags & ACK:
            stream.move(Input.RECV_ACK)
            if stream_id in self._unacknowledged:
                self._unacknowledged.pop(stream_id, None)
                events.append(StreamAccepted(stream_id))
        if length == 0 and not flags:
            self._nuisance()
        if frame_type == WINDOW_UPDATE:
            stream.move(Input.RECV_WINDOW)
            stream.sending.open(length)
            self._queue.join(stream)
        elif length:
            stream.move(Input.RECV_DATA)
            stream.receiving.spend(length)
            self._body_of = stream
            self._body_ends_stream = bool(flags & FIN)
            return
        if flags & FIN:
            self._on_end(stream, events)

    def _on_syn(self, stream_id: int, events: list[Event]) -> Stream | None:
        self._ids.use(stream_id)
        if (
            self._we_leave
            or len(self._streams) >= self._limits.streams
            or len(self._unaccepted) >= self._limits.backlog
        ):
            self._nuisance()
            self._answer(Header(WINDOW_UPDATE, RST, stream_id, 0))
            return None
        self._check_control()
        stream = self._add(stream_id, Input.RECV_SYN)
        self._unaccepted[stream_id] = None
        events.append(StreamOpened(stream_id))
        return stream

    def _on_end(self, stream: Stream, events: list[Event]) -> None:
        stream.move(Input.RECV_FIN)
        events.append(StreamEnded(stream.stream_id))
        self._retire_if_done(stream)

    def _nuisance(self) -> None:
        self._nuisances += 1
        if self._nuisances > self._limits.nuisances:
            raise RemoteMuxError("too many frames that serve no stream")

    def _answer(self, header: Header) -> None:
        self._check_control()
        self._control.append(header.encode())

    def _check_control(self) -> None:
        if len(self._control) >= self._limits.control_frames:
            raise RemoteMuxError("the peer asks and does not read the answers")

    # Both.

    def _stream(self, stream_id: int) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise LocalMuxError(f"there is no stream {stream_id}")
        return stream

    def _add(self, stream_id: int, by: Input) -> Stream:
        stream = Stream(stream_id, ReceiveWindow(self._limits.window))
        stream.move(by)
        self._streams[stream_id] = stream
        return stream

    def _relieve(self, events: list[Event]) -> None:
        """Too much is left unread: the stream that holds the most pays for it."""
        slowest = max(self._streams.values(), key=lambda stream: stream.receiving.unconsumed)
        events.append(StreamOverflowed(slowest.stream_id))
        self.reset(slowest.stream_id)

    def _retire_if_done(self, stream: Stream) -> None:
        if stream.state is State.CLOSED and not stream.receiving.unconsumed:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._unacknowledged.pop(stream.stream_id, None)
        self._unaccepted.pop(stream.stream_id, None)
        self._updates.pop(stream, None)
        self._queue.drop(stream)
        self._unconsumed -= stream.receiving.unconsumed
        self._growth_left += stream.receiving.growth
