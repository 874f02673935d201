"""Tests of two ends that talk to each other, whatever they do and however it is cut."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.connection import Connection
from mezite.mux.error import RemoteMuxError
from mezite.mux.events import DataReceived, Event, StreamEnded, StreamOpened, StreamReset
from mezite.mux.frames import Role
from mezite.mux.limits import MuxLimits
from tests.mux.test_frames import cut

# Small enough that windows, marks and quanta are met within a few operations.
LIMITS = MuxLimits(
    quantum=50_000, unsent_high=200_000, unsent_low=10_000, stream_unsent=2**30, tunnel_unsent=2**30
)


@define(eq=False)
class End:
    """One end, and what it knows of each stream."""

    connection: Connection
    open: list[int] = field(factory=list)
    finished: set[int] = field(factory=set)
    sent: dict[int, bytes] = field(factory=dict)
    heard: dict[int, bytes] = field(factory=dict)
    ended: set[int] = field(factory=set)
    reset: set[int] = field(factory=set)
    unconsumed: dict[int, int] = field(factory=dict)

    def hear(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case StreamOpened(stream_id):
                    # It may have been opened and reset at once.
                    if self.connection.has_stream(stream_id):
                        self.connection.accept(stream_id)
                        self.open.append(stream_id)
                case DataReceived(stream_id, data):
                    self.heard[stream_id] = self.heard.get(stream_id, b"") + data
                    self.unconsumed[stream_id] = self.unconsumed.get(stream_id, 0) + len(data)
                case StreamEnded(stream_id):
                    self.ended.add(stream_id)
                case StreamReset(stream_id):
                    self.reset.add(stream_id)

    def consume_all(self) -> None:
        for stream_id, count in self.unconsumed.items():
            self.connection.consumed(stream_id, count)
        self.unconsumed.clear()


def carry(from_: End, to: End, places: list[int]) -> bool:
    data = b"".join(from_.connection.pull()[0])
    for chunk in cut(data, places):
        to.hear(to.connection.receive(chunk))
    return bool(data)


ends = st.integers(0, 1)
operations = st.one_of(
    st.tuples(st.just("open"), ends),
    st.tuples(st.just("send"), ends, st.integers(0, 20), st.integers(1, 300_000)),
    st.tuples(st.just("finish"), ends, st.integers(0, 20)),
    st.tuples(st.just("reset"), ends, st.integers(0, 20)),
    st.tuples(st.just("consume"), ends),
    st.tuples(st.just("carry"), ends, st.lists(st.integers(0, 2**20), max_size=5)),
)


class ConversationTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(operations, max_size=60))
    def test_delivers_exactly(self, todo: list[tuple]) -> None:
        """After any operations, each end has heard what the other sent, and nothing is kept."""
        pair = (End(Connection(Role.CLIENT, LIMITS)), End(Connection(Role.SERVER, LIMITS)))
        aborted: set[int] = set()
        for name, which, *rest in todo:
            end = pair[which]
            usable = [
                stream_id
                for stream_id in end.open
                if stream_id not in end.finished | end.reset | aborted
            ]
            if name == "open":
                end.open.append(end.connection.open())
            elif name == "carry":
                carry(end, pair[1 - which], rest[0])
            elif name == "consume":
                end.consume_all()
            elif usable:
                stream_id = usable[rest[0] % len(usable)]
                if name == "send":
                    data = bytes([len(end.sent.get(stream_id, b"")) % 251]) * rest[1]
                    end.connection.send(stream_id, data)
                    end.sent[stream_id] = end.sent.get(stream_id, b"") + data
                elif name == "finish":
                    end.connection.finish(stream_id)
                    end.finished.add(stream_id)
                else:
                    end.connection.reset(stream_id)
                    aborted.add(stream_id)
        self.settle(pair)
        for end, other in (pair, pair[::-1]):
            for stream_id, sent in end.sent.items():
                heard = other.heard.get(stream_id, b"")
                if stream_id in aborted:
                    self.assertTrue(sent.startswith(heard))
                else:
                    self.assertEqual(heard, sent)
            self.assertEqual(other.ended - aborted, end.finished - aborted)
        for end in pair:
            for stream_id in end.open:
                if stream_id not in end.finished | end.reset | aborted:
                    end.connection.finish(stream_id)
        self.settle(pair)
        for end in pair:
            self.assertEqual((end.connection.stream_count, end.connection.unsent), (0, 0))

    def settle(self, pair: tuple[End, End]) -> None:
        moved = True
        while moved:
            for end in pair:
                end.consume_all()
            moved = carry(pair[0], pair[1], []) | carry(pair[1], pair[0], [])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(operations, max_size=30), st.lists(st.integers(0, 2**20), max_size=30))
    def test_any_chunking(self, todo: list[tuple], places: list[int]) -> None:
        """The same bytes are the same events, however they are cut."""
        end = Connection(Role.CLIENT, LIMITS)
        ids = []
        for name, _, *rest in todo:
            if name == "open":
                ids.append(end.open())
            elif name == "carry":
                end.ping()
            elif ids and name in ("send", "finish", "reset"):
                stream_id = ids[rest[0] % len(ids)]
                if name == "send":
                    end.send(stream_id, bytes(rest[1] // 10))
                else:
                    getattr(end, name)(stream_id)
                    ids.remove(stream_id)
        data = b"".join(end.pull(2**30)[0])
        whole = heard([data])
        self.assertEqual(heard(cut(data, places)), whole)
        self.assertEqual(heard([data[i : i + 7] for i in range(0, len(data), 7)]), whole)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
    def test_garbage(self, data: bytes, places: list[int]) -> None:
        """A stranger's bytes are events or the peer's error, never another exception."""
        connection = Connection(Role.SERVER)
        opened = Connection(Role.CLIENT)
        opened.send(opened.open(), b"hello")
        try:
            for chunk in cut(b"".join(opened.pull()[0]) + data, places):
                connection.receive(chunk)
        except RemoteMuxError:
            pass


def heard(chunks: list[bytes]) -> list[Event]:
    """The events that these chunks are, with bytes that follow one another in one piece."""
    connection = Connection(Role.SERVER, LIMITS)
    events: list[Event] = []
    for chunk in chunks:
        for event in connection.receive(chunk):
            last = events[-1] if events else None
            if (
                isinstance(event, DataReceived)
                and isinstance(last, DataReceived)
                and last.stream_id == event.stream_id
            ):
                events[-1] = DataReceived(event.stream_id, last.data + event.data)
            else:
                events.append(event)
    return events
