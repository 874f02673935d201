"""Tests of one end of a resumable connection, and of two that talk to each other."""

from __future__ import annotations

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.resume import frames
from mezite.resume.error import LocalResumeError, RemoteResumeError
from mezite.resume.frames import FrameReader
from mezite.resume.link import (
    ACKNOWLEDGED_ALONG_AT,
    ACKNOWLEDGED_AT,
    FULL,
    LIMIT,
    TRANSITIONS,
    Event,
    Input,
    Link,
    State,
)


def link(state: State = State.OPEN) -> Link:
    made = Link()
    made.carried(0)
    made.state = state
    return made


def output(end: Link) -> bytes:
    return b"".join(end.take_output())


def data(payload: bytes) -> bytes:
    return frames.header(frames.DATA, len(payload)) + payload


@define(eq=False)
class End:
    """One end, what was said there, and what was heard."""

    link: Link = field(factory=Link)
    said: bytes = b""
    heard: bytes = b""
    has_heard_end: bool = False
    # On its way to the other end; lost when the line is cut.
    line: bytes = b""

    def say(self, payload: bytes) -> None:
        if self.link.is_writable:
            self.said += payload
            self.link.send(payload)

    def finish(self) -> None:
        if self.link.is_writable:
            self.link.finish()

    def hear(self, payload: bytes) -> None:
        for event in self.link.receive(payload):
            if isinstance(event, Event):
                assert event is Event.ENDED
                assert not self.has_heard_end
                self.has_heard_end = True
            else:
                assert not self.has_heard_end
                self.heard += bytes(event)


@define(eq=False)
class Pair:
    """Two ends, and a line that is cut now and then."""

    ends: tuple[End, End] = field(factory=lambda: (End(), End()))

    def connect(self) -> None:
        one, other = (end.link for end in self.ends)
        for end in self.ends:
            end.link.cut()
            end.line = b""
        counts = one.received, other.received
        one.carried(counts[1])
        other.carried(counts[0])

    def carry(self, which: int, most: int) -> None:
        """So many bytes of what one end has said arrive at the other."""
        from_, to = self.ends[which], self.ends[1 - which]
        from_.line += output(from_.link)
        arrived, from_.line = from_.line[:most], from_.line[most:]
        if arrived:
            to.hear(arrived)

    def settle(self) -> None:
        for _ in range(8):
            for which in (0, 1):
                self.carry(which, 1 << 30)
                self.ends[which].link.acknowledge()


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 1), st.binary(min_size=1, max_size=6000)),
        st.tuples(st.just("carry"), st.integers(0, 1), st.integers(1, 9000)),
        st.tuples(st.just("cut"), st.just(0), st.just(0)),
        st.tuples(st.just("acknowledge"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("ping"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("finish"), st.integers(0, 1), st.just(0)),
    ),
    max_size=40,
)


class TwoEndTests(SynchronousTestCase):
    """Two ends over a line that is cut at any byte, in either direction."""

    @settings(deadline=None)
    @given(OPERATIONS)
    def test_exactly_once(self, operations: list[tuple[str, int, int | bytes]]) -> None:
        """What one end says the other hears, all of it, in order and once, and then the end."""
        pair = Pair()
        pair.connect()
        for what, which, argument in operations:
            end = pair.ends[which]
            if what == "say" and isinstance(argument, bytes):
                end.say(argument)
            elif what == "carry" and isinstance(argument, int):
                pair.carry(which, argument)
            elif what == "cut":
                pair.connect()
            elif what == "acknowledge":
                end.link.acknowledge()
            elif what == "ping":
                end.link.ping()
            elif what == "finish":
                end.finish()
        pair.connect()
        for end in pair.ends:
            end.finish()
        pair.settle()
        one, other = pair.ends
        self.assertEqual(other.heard, one.said)
        self.assertEqual(one.heard, other.said)
        for end in pair.ends:
            self.assertTrue(end.has_heard_end)
            self.assertTrue(end.link.is_over)
            self.assertEqual(end.link.unacknowledged, 0)

    def test_every_byte(self) -> None:
        """A cut behind each single byte of a conversation loses nothing and doubles nothing."""
        for cut in range(60):
            pair = Pair()
            pair.connect()
            one, other = pair.ends
            one.say(b"a question")
            one.say(b", and more")
            one.finish()
            pair.carry(0, cut)
            other.say(b"an answer")
            pair.carry(1, cut)
            pair.connect()
            pair.settle()
            self.assertEqual((other.heard, one.heard), (b"a question, and more", b"an answer"))
            self.assertTrue(other.has_heard_end)

    def test_not_carried(self) -> None:
        """What is said while nothing carries it is heard when something does."""
        pair = Pair()
        one, other = pair.ends
        one.say(b"x" * 5000)
        one.finish()
        self.assertEqual(output(one.link), b"")
        pair.connect()
        pair.settle()
        self.assertEqual(other.heard, b"x" * 5000)
        self.assertTrue(other.has_heard_end)


class LinkTests(SynchronousTestCase):
    """One end, and a peer that may say anything."""

    def test_table(self) -> None:
        """Every pair of state and input moves, or raises and stays."""
        does = {
            Input.SEND: lambda end: end.send(b"x"),
            Input.FINISH: Link.finish,
            Input.RESET: Link.reset,
            Input.RECV_DATA: lambda end: end.receive(data(b"x")),
            Input.RECV_END: lambda end: end.receive(frames.end()),
            Input.RECV_RESET: lambda end: end.receive(frames.reset()),
        }
        for state in State:
            for by, do in does.items():
                end = link(state)
                after = TRANSITIONS.get((state, by))
                if after is not None:
                    do(end)
                    self.assertIs(end.state, after)
                    continue
                kind = RemoteResumeError if "receive" in by.value else LocalResumeError
                with self.assertRaises(kind):
                    do(end)
                self.assertIs(end.state, state)

    def test_impossible_counts(self) -> None:
        """Counts that go back, or beyond what was sent, are refused, and change nothing."""
        end = link()
        end.send(b"x" * 100)
        end.receive(frames.acknowledgement(60))
        for count in (59, 101, 1 << 62):
            with self.assertRaises(RemoteResumeError):
                link_ = end
                link_.receive(frames.acknowledgement(count))
            self.assertFalse(end.could_have_sent(count))
            self.assertEqual(end.unacknowledged, 40)
        with self.assertRaises(RemoteResumeError):
            end.carried(101)
        self.assertTrue(end.is_carried)

    def test_bound(self) -> None:
        """A writer that does not wait is stopped at the bound, with nothing of that kept."""
        end = link()
        end.send(bytes(FULL))
        end.send(bytes(LIMIT - FULL))
        with self.assertRaises(LocalResumeError):
            end.send(b"x")
        self.assertEqual(end.unacknowledged, LIMIT)

    def test_acknowledging(self) -> None:
        """Much is acknowledged by itself, little when the owner says so, and nothing twice."""
        end = link()
        end.receive(data(b"x"))
        self.assertEqual(output(end), b"")
        self.assertTrue(end.owes_acknowledgement)
        end.acknowledge()
        end.acknowledge()
        self.assertEqual(output(end), frames.acknowledgement(1))
        end.receive(data(bytes(ACKNOWLEDGED_AT)))
        self.assertEqual(output(end), frames.acknowledgement(1 + ACKNOWLEDGED_AT))

    def test_acknowledging_along(self) -> None:
        """With data that goes anyway less is acknowledged, in front of it; but not a little."""
        end = link()
        end.receive(data(bytes(ACKNOWLEDGED_ALONG_AT - 1)))
        end.send(b"a")
        self.assertEqual(output(end), data(b"a"))
        end.receive(data(b"x"))
        end.send(b"b")
        end.send(b"c")
        expected = frames.acknowledgement(ACKNOWLEDGED_ALONG_AT) + data(b"b") + data(b"c")
        self.assertEqual(output(end), expected)

    def test_pings(self) -> None:
        """A ping is answered; a flood of them that arrives at once is, once."""
        end = link()
        end.receive(frames.ping())
        self.assertEqual(output(end), frames.pong())
        end.receive(frames.ping() * 1000 + frames.pong())
        self.assertEqual(output(end), frames.pong())

    def test_reset(self) -> None:
        """A reset ends it for both, and nothing is kept."""
        end = link()
        end.send(b"x" * 100)
        self.assertEqual(end.receive(frames.reset() + data(b"x")), [Event.RESET])
        self.assertTrue(end.is_over)
        other = link()
        other.reset()
        self.assertTrue(other.is_over)
        self.assertEqual(output(other), frames.reset())

    def test_large_pieces(self) -> None:
        """What is longer than a frame goes in several, and memory is not copied."""
        end = link()
        end.send(memoryview(bytes(frames.DATA_LENGTH + 5)))
        pieces = end.take_output()
        self.assertEqual([len(each) for each in pieces], [4, frames.DATA_LENGTH, 9])

    def test_carried_by_nothing(self) -> None:
        """Nothing can be received before something carries the connection."""
        with self.assertRaises(LocalResumeError):
            Link().receive(b"x")


class FrameReaderTests(SynchronousTestCase):
    @given(st.lists(st.integers(1, 40), max_size=20), st.binary(min_size=1, max_size=60))
    def test_chunks(self, places: list[int], payload: bytes) -> None:
        """Any chunking gives the same bytes and the same frames."""
        whole = frames.ping() + data(payload) + frames.acknowledgement(7) + frames.end()
        reader, found, heard, at = FrameReader(), [], b"", 0
        for place in [*places, len(whole)]:
            for kind, part in reader.receive(whole[at : at + place]):
                if kind == frames.DATA:
                    heard += bytes(part)
                else:
                    found.append((kind, bytes(part)))
            at += place
        self.assertEqual(heard, payload)
        acknowledged = (7).to_bytes(8, "big")
        self.assertEqual(found, [(frames.PING, b""), (frames.ACK, acknowledged), (frames.END, b"")])

    @given(st.binary(max_size=200))
    def test_anything(self, garbage: bytes) -> None:
        """Whatever arrives is read or refused, and no more waits than the start of a frame."""
        reader = FrameReader()
        try:
            reader.receive(garbage)
        except RemoteResumeError:
            return
        self.assertLess(len(reader._waiting), 16)
