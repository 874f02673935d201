"""Tests of one end of a tunnel, against bytes written by hand."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.connection import Connection
from mezite.mux.error import (
    LocalMuxError,
    MuxClosed,
    RemoteMuxError,
    StreamOverflow,
    TooManyStreams,
)
from mezite.mux.events import (
    DataReceived,
    Event,
    FinishSent,
    GoAwayReceived,
    PingAnswered,
    SendBufferDrained,
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
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    FrameReader,
    GoAwayCode,
    Header,
    Role,
)
from mezite.mux.limits import INITIAL_WINDOW, MuxLimits


def data(stream_id: int, body: bytes = b"", flags: int = 0) -> bytes:
    return Header(DATA, flags, stream_id, len(body)).encode() + body


def update(stream_id: int, delta: int = 0, flags: int = 0) -> bytes:
    return Header(WINDOW_UPDATE, flags, stream_id, delta).encode()


class ConnectionTestCase(SynchronousTestCase):
    """A hub's end; the peer is an agent, whose stream ids are odd."""

    limits = MuxLimits()

    def setUp(self) -> None:
        self.hub = Connection(Role.SERVER, self.limits)

    def sent(self, length: int = 2**30) -> list[Header | bytes]:
        """What the hub sends now, read as frames."""
        output, self.pulled = self.hub.pull(length)
        return FrameReader(2**32).receive(b"".join(output))

    def opened(self) -> int:
        """A stream of ours that the peer has accepted."""
        stream_id = self.hub.open()
        self.hub.receive(update(stream_id, flags=ACK))
        self.sent()
        return stream_id

    def offered(self, stream_id: int = 1) -> int:
        """A stream of the peer's that we have accepted."""
        self.hub.receive(update(stream_id, flags=SYN))
        self.hub.accept(stream_id)
        self.sent()
        return stream_id

    def assert_broken(self, received: bytes) -> None:
        self.assertRaises(RemoteMuxError, self.hub.receive, received)


class OpeningTests(ConnectionTestCase):
    def test_ids(self) -> None:
        """The agent's streams are odd, the hub's even; 0 is nobody's."""
        self.assertEqual([self.hub.open(), self.hub.open()], [2, 4])
        agent = Connection(Role.CLIENT)
        self.assertEqual([agent.open(), agent.open()], [1, 3])

    def test_open(self) -> None:
        """Opening sends SYN, and data follow without waiting."""
        stream_id = self.hub.open()
        self.hub.send(stream_id, b"SSH-2.0-")
        self.assertEqual(
            self.sent(),
            [Header(WINDOW_UPDATE, SYN, 2, 0), Header(DATA, 0, 2, 8), b"SSH-2.0-"],
        )
        self.assertEqual(self.hub.receive(update(2, 100, ACK)), [StreamAccepted(2)])
        # A second ACK is redundant, not wrong.
        self.assertEqual(self.hub.receive(update(2, 0, ACK)), [])

    def test_accept(self) -> None:
        """SYN may come with data; accepting sends ACK."""
        self.assertEqual(
            self.hub.receive(data(1, b"hi", SYN)), [StreamOpened(1), DataReceived(1, b"hi")]
        )
        self.assertEqual(self.sent(), [])
        self.hub.accept(1)
        self.assertEqual(self.sent(), [Header(WINDOW_UPDATE, ACK, 1, 0)])

    def test_refuse(self) -> None:
        """Resetting a stream that was offered refuses it."""
        self.hub.receive(update(1, flags=SYN))
        self.hub.reset(1)
        self.assertEqual(self.sent(), [Header(WINDOW_UPDATE, RST, 1, 0)])
        self.assertEqual(self.hub.stream_count, 0)
        # What was on its way to it is dropped.
        self.assertEqual(self.hub.receive(data(1, b"late", FIN)), [])

    def test_parity(self) -> None:
        """A peer that opens one of our ids is refused."""
        self.assert_broken(update(2, flags=SYN))

    def test_reuse(self) -> None:
        """An id is used once, whether its stream lives or not."""
        self.offered(1)
        self.hub.receive(update(1, flags=RST))
        self.assert_broken(update(1, flags=SYN))
        self.setUp()
        self.offered(1)
        self.assert_broken(update(1, flags=SYN))

    def test_overtaking_ids(self) -> None:
        """SYNs may overtake one another, as hashicorp's do; each id still works once."""
        self.offered(5)
        self.offered(1)
        self.offered(3)
        self.assert_broken(update(3, flags=SYN))

    def test_skipped_id_is_not_open(self) -> None:
        """An id that was skipped has no stream yet, so its frames come out of nowhere."""
        self.offered(5)
        self.assert_broken(data(3, b"?"))

    def test_leap(self) -> None:
        """A leap over all ids costs no more than a bounded memory of those skipped."""
        self.offered(2**32 - 1)
        self.offered(2**32 - 3)
        self.assert_broken(update(1, flags=SYN))

    def test_never_opened(self) -> None:
        """Frames of streams that never were break the tunnel."""
        for received in (data(1, b"x"), update(1, 5), data(2, b"x"), update(2, 0, RST)):
            self.setUp()
            self.assert_broken(received)

    def test_syn_with_ack(self) -> None:
        """An offer is no acceptance."""
        self.assert_broken(update(1, flags=SYN | ACK))


class FlowTests(ConnectionTestCase):
    def test_window_bounds_sending(self) -> None:
        """No more is sent than the peer's window takes; an update lets the rest go."""
        stream_id = self.opened()
        self.hub.send(stream_id, bytes(INITIAL_WINDOW + 10))
        sent = self.sent()
        self.assertEqual(sum(len(item) for item in sent if isinstance(item, bytes)), INITIAL_WINDOW)
        self.assertFalse(self.hub.has_output)
        self.hub.receive(update(stream_id, 4))
        self.assertEqual(self.sent(), [Header(DATA, 0, stream_id, 4), bytes(4)])
        self.assertEqual(self.hub.unsent_of(stream_id), 6)

    def test_window_overflow(self) -> None:
        """A window opened beyond 32 bits breaks the tunnel."""
        stream_id = self.opened()
        self.hub.receive(update(stream_id, 2**31))
        self.assert_broken(update(stream_id, 2**31))

    def test_beyond_our_window(self) -> None:
        """A frame longer than our window breaks the tunnel at its header."""
        self.offered(1)
        self.assert_broken(Header(DATA, 0, 1, INITIAL_WINDOW + 1).encode())

    def test_beyond_our_window_in_parts(self) -> None:
        """So do many frames that nobody has consumed."""
        self.offered(1)
        self.hub.receive(data(1, bytes(INITIAL_WINDOW)))
        self.assert_broken(data(1, b"x"))

    def test_window_stays_shut_until_consumed(self) -> None:
        """Receiving alone opens nothing; consuming does, in one update."""
        self.offered(1)
        self.hub.receive(data(1, bytes(INITIAL_WINDOW)))
        self.assertFalse(self.hub.has_output)
        for _ in range(4):
            self.hub.consumed(1, INITIAL_WINDOW // 4)
        # All of it, and as much again for a reader that left nothing.
        self.assertEqual(self.sent(), [Header(WINDOW_UPDATE, 0, 1, 2 * INITIAL_WINDOW)])

    def test_growth_is_given_back(self) -> None:
        """Windows of streams that are gone leave room for others to grow."""
        self.hub = Connection(Role.SERVER, evolve(self.limits, window_growth=INITIAL_WINDOW))
        deltas = []
        for stream_id in (1, 3):
            self.offered(stream_id)
            self.hub.receive(data(stream_id, bytes(INITIAL_WINDOW)))
            self.hub.consumed(stream_id, INITIAL_WINDOW)
            [sent] = self.sent()
            assert isinstance(sent, Header)
            deltas.append(sent.length)
        self.assertEqual(deltas, [2 * INITIAL_WINDOW, INITIAL_WINDOW])
        self.hub.reset(1)
        self.hub.receive(data(3, bytes(INITIAL_WINDOW)))
        self.hub.consumed(3, INITIAL_WINDOW)
        self.assertEqual(self.sent()[-1], Header(WINDOW_UPDATE, 0, 3, 2 * INITIAL_WINDOW))

    def test_no_update_after_the_end(self) -> None:
        """A peer that finished is not told of windows."""
        self.offered(1)
        self.hub.receive(data(1, bytes(INITIAL_WINDOW), FIN))
        self.hub.consumed(1, INITIAL_WINDOW)
        self.assertEqual(self.sent(), [])

    def test_full_and_drained(self) -> None:
        """A stream with much to send says so, and says when it has room again."""
        stream_id = self.opened()
        self.assertTrue(self.hub.send(stream_id, bytes(self.limits.unsent_high - 1)))
        self.assertFalse(self.hub.send(stream_id, b"x"))
        self.assertTrue(self.hub.is_full(stream_id))
        self.sent()
        self.assertEqual(self.pulled, [SendBufferDrained(stream_id)])
        self.assertFalse(self.hub.is_full(stream_id))

    def test_crowded_tunnel(self) -> None:
        """When all streams together have much to send, each has less room."""
        self.hub = Connection(Role.SERVER, evolve(self.limits, tunnel_unsent_high=100_000))
        first, second = self.opened(), self.opened()
        self.hub.send(first, bytes(100_001))
        self.assertFalse(self.hub.send(second, bytes(self.limits.unsent_low + 1)))

    def test_send_overflow(self) -> None:
        """A writer that never waits is stopped, per stream and per tunnel."""
        self.hub = Connection(
            Role.SERVER, evolve(self.limits, stream_unsent=100, tunnel_unsent=150)
        )
        first, second = self.opened(), self.opened()
        self.hub.send(first, bytes(100))
        self.assertRaises(StreamOverflow, self.hub.send, first, b"x")
        self.hub.send(second, bytes(50))
        self.assertRaises(StreamOverflow, self.hub.send, second, b"x")
        self.hub.reset(first)
        self.hub.send(second, bytes(50))

    def test_stuck_readers(self) -> None:
        """When too much is left unread in the tunnel, the stream that holds most is reset."""
        self.hub = Connection(
            Role.SERVER, evolve(self.limits, tunnel_received=INITIAL_WINDOW + 1000)
        )
        for stream_id in (1, 3, 5):
            self.offered(stream_id)
        self.hub.receive(data(1, bytes(900)))
        self.hub.receive(data(3, bytes(INITIAL_WINDOW)))
        events = self.hub.receive(data(5, bytes(200)))
        self.assertEqual(events, [DataReceived(5, bytes(200)), StreamOverflowed(3)])
        self.assertEqual(self.sent(), [Header(WINDOW_UPDATE, RST, 3, 0)])
        # The others go on.
        self.assertEqual(self.hub.receive(data(1, b"x")), [DataReceived(1, b"x")])

    def test_round_robin(self) -> None:
        """Streams with much to send take turns of a quantum; a small one waits for little."""
        self.hub = Connection(Role.SERVER, evolve(self.limits, quantum=1000))
        ids = [self.opened() for _ in range(3)]
        for stream_id, count in zip(ids, (5000, 5000, 10), strict=True):
            self.hub.send(stream_id, bytes(count))
        order = [item[2:] for item in self.sent() if isinstance(item, Header)]
        self.assertEqual(order[:4], [(ids[0], 1000), (ids[1], 1000), (ids[2], 10), (ids[0], 1000)])

    def test_slow_line(self) -> None:
        """Where little is asked for at once, a turn is shorter, and more than one is had."""
        ids = [self.opened() for _ in range(2)]
        for stream_id in ids:
            self.hub.send(stream_id, bytes(200_000))
        order = [item[2:] for item in self.sent(30_000) if isinstance(item, Header)]
        self.assertEqual(order[:2], [(ids[0], 16384), (ids[1], 16384)])

    def test_newcomer(self) -> None:
        """Who has had nothing to send goes before those who have had a turn, and then behind."""
        self.hub = Connection(Role.SERVER, evolve(self.limits, quantum=1000))
        copies = [self.opened() for _ in range(3)]
        keys = self.opened()
        for stream_id in copies:
            self.hub.send(stream_id, bytes(50_000))
        self.turns(2500)
        self.hub.send(keys, b"l")
        order = self.turns(1000)
        # Once more before its turn comes: it waits for those who were there before.
        self.hub.send(keys, b"s")
        order += self.turns(4000)
        first, second, third = copies
        self.assertEqual(order, [keys, first, second, third, keys, first, second])

    def test_newcomers(self) -> None:
        """However many begin, and whatever they send, those who were there go on."""
        self.hub = Connection(Role.SERVER, evolve(self.limits, quantum=1000))
        copy, *others = [self.opened() for _ in range(4)]
        self.hub.send(copy, bytes(50_000))
        self.turns(1000)
        order: list[int] = []
        for _ in range(12):
            for stream_id in others:
                self.hub.send(stream_id, b"x")
            order += self.turns(100)
        self.assertGreaterEqual(order.count(copy), 3)

    def turns(self, length: int) -> list[int]:
        """Whose frames are sent when so much is asked for."""
        return [item.stream_id for item in self.sent(length) if isinstance(item, Header)]

    def test_alone(self) -> None:
        """A stream without company fills what is asked for with one frame."""
        stream_id = self.opened()
        self.hub.send(stream_id, bytes(200_000))
        headers = [item for item in self.sent(150_000) if isinstance(item, Header)]
        self.assertEqual(headers, [Header(DATA, 0, stream_id, 150_000)])

    def test_control_frames_overtake_data(self) -> None:
        """An answer to a ping does not wait behind data."""
        stream_id = self.opened()
        self.hub.send(stream_id, bytes(10))
        self.hub.receive(Header(PING, SYN, 0, 9).encode())
        self.assertEqual(self.sent()[0], Header(PING, ACK, 0, 9))


class EndingTests(ConnectionTestCase):
    def test_finish_after_data(self) -> None:
        """FIN rides on the last data."""
        stream_id = self.opened()
        self.hub.send(stream_id, b"last")
        self.hub.finish(stream_id)
        self.assertEqual(self.sent(), [Header(DATA, FIN, stream_id, 4), b"last"])
        self.assertEqual(self.pulled, [FinishSent(stream_id)])
        self.assertRaises(LocalMuxError, self.hub.send, stream_id, b"more")
        self.assertRaises(LocalMuxError, self.hub.finish, stream_id)

    def test_finish_waits_for_the_window(self) -> None:
        """FIN does not overtake data that the window holds back."""
        stream_id = self.opened()
        self.hub.send(stream_id, bytes(INITIAL_WINDOW + 1))
        self.hub.finish(stream_id)
        self.sent()
        self.assertNotIn(FinishSent(stream_id), self.pulled)
        self.hub.receive(update(stream_id, 1))
        self.assertEqual(self.sent(), [Header(DATA, FIN, stream_id, 1), b"\0"])

    def test_half_closed(self) -> None:
        """After FIN one way, data still goes the other way, and both ends close it."""
        stream_id = self.opened()
        self.hub.finish(stream_id)
        self.assertEqual(self.sent(), [Header(DATA, FIN, stream_id, 0)])
        events = self.hub.receive(data(stream_id, b"still") + update(stream_id, 0, FIN))
        self.assertEqual(events, [DataReceived(stream_id, b"still"), StreamEnded(stream_id)])
        self.assertEqual(self.hub.stream_count, 1)
        self.hub.consumed(stream_id, 5)
        self.assertEqual(self.hub.stream_count, 0)

    def test_late_frames(self) -> None:
        """Frames that crossed our side of the end are ignored."""
        stream_id = self.opened()
        self.hub.finish(stream_id)
        self.sent()
        self.hub.receive(update(stream_id, 0, FIN))
        self.assertEqual(self.hub.receive(update(stream_id, 10) + update(stream_id, 0, RST)), [])

    def test_data_after_fin(self) -> None:
        """Data past FIN breaks the tunnel."""
        self.offered(1)
        self.assert_broken(data(1, b"end", FIN) + data(1, b"x"))

    def test_second_fin(self) -> None:
        """So does a second FIN."""
        self.offered(1)
        self.assert_broken(update(1, 0, FIN) + update(1, 0, FIN))

    def test_end_comes_after_the_body(self) -> None:
        """A frame with FIN ends the stream only when its last byte is there."""
        self.offered(1)
        frame = data(1, b"abc", FIN)
        self.assertEqual(self.hub.receive(frame[:13]), [DataReceived(1, b"a")])
        self.assertEqual(self.hub.receive(frame[13:]), [DataReceived(1, b"bc"), StreamEnded(1)])

    def test_reset_by_peer(self) -> None:
        """RST ends both directions, drops what waited, and what its frame carries."""
        stream_id = self.opened()
        self.hub.send(stream_id, bytes(100))
        events = self.hub.receive(data(stream_id, b"xyz", RST) + Header(PING, ACK, 0, 1).encode())
        self.assertEqual(events, [StreamReset(stream_id), PingAnswered(1)])
        self.assertEqual((self.hub.stream_count, self.hub.unsent), (0, 0))
        self.assertEqual(self.sent(), [])

    def test_reset_within_a_body(self) -> None:
        """A stream that we reset drops the rest of a frame that had begun."""
        self.offered(1)
        frame = data(1, b"abcdef")
        self.hub.receive(frame[:14])
        self.hub.reset(1)
        self.assertEqual(
            self.hub.receive(frame[14:] + Header(PING, ACK, 0, 1).encode()), [PingAnswered(1)]
        )

    def test_abandon(self) -> None:
        """An abandoned stream sends what it has, then its end, and hands nothing on."""
        stream_id = self.opened()
        self.hub.send(stream_id, b"last")
        self.hub.receive(data(stream_id, b"unread"))
        self.hub.abandon(stream_id)
        self.assertEqual(self.sent(), [Header(DATA, FIN, stream_id, 4), b"last"])
        self.assertEqual(self.hub.receive(data(stream_id, bytes(INITIAL_WINDOW - 6))), [])
        self.assertEqual(self.sent(), [])
        self.assert_broken(data(stream_id, b"x"))

    def test_calls_on_streams_that_are_gone(self) -> None:
        """Letting go is always allowed; using is our error."""
        self.hub.consumed(2, 5)
        self.hub.abandon(2)
        self.hub.ignore(2)
        self.hub.reset(2)
        for call in (self.hub.accept, self.hub.finish):
            self.assertRaises(LocalMuxError, call, 2)
        self.assertRaises(LocalMuxError, self.hub.send, 2, b"x")


class TunnelTests(ConnectionTestCase):
    def test_ping(self) -> None:
        """A ping is echoed, and its echo is an event."""
        first, second = self.hub.ping(), self.hub.ping()
        self.assertEqual(self.sent(), [Header(PING, SYN, 0, first), Header(PING, SYN, 0, second)])
        self.assertEqual(self.hub.receive(Header(PING, ACK, 0, second).encode()), [PingAnswered(1)])

    def test_our_go_away(self) -> None:
        """After it we open nothing and refuse everything; what exists goes on."""
        stream_id = self.opened()
        self.hub.go_away()
        self.assertEqual(self.sent(), [Header(GO_AWAY, 0, 0, 0)])
        self.assertRaises(MuxClosed, self.hub.open)
        self.assertEqual(self.hub.receive(update(1, flags=SYN)), [])
        self.assertEqual(self.sent(), [Header(WINDOW_UPDATE, RST, 1, 0)])
        self.assertEqual(self.hub.receive(data(stream_id, b"x")), [DataReceived(stream_id, b"x")])

    def test_peers_go_away(self) -> None:
        """After it we open nothing; the peer may still do."""
        events = self.hub.receive(Header(GO_AWAY, 0, 0, 0).encode())
        self.assertEqual(events, [GoAwayReceived(GoAwayCode.NORMAL)])
        self.assertRaises(MuxClosed, self.hub.open)
        self.assertEqual(self.hub.receive(update(1, flags=SYN)), [StreamOpened(1)])

    def test_peer_in_trouble(self) -> None:
        """A go-away with an error ends the tunnel."""
        for code in (1, 2):
            self.setUp()
            self.assert_broken(Header(GO_AWAY, 0, 0, code).encode())


class HostilePeerTests(ConnectionTestCase):
    limits = MuxLimits(streams=8, backlog=4, nuisances=20, control_frames=30)

    def test_too_many_offers(self) -> None:
        """Streams beyond the backlog are refused one by one, the others live."""
        events: list[Event] = []
        for stream_id in range(1, 13, 2):
            events += self.hub.receive(update(stream_id, flags=SYN))
        self.assertEqual(events, [StreamOpened(stream_id) for stream_id in (1, 3, 5, 7)])
        self.assertEqual(
            self.sent(), [Header(WINDOW_UPDATE, RST, 9, 0), Header(WINDOW_UPDATE, RST, 11, 0)]
        )

    def test_too_many_streams(self) -> None:
        """So are those beyond the number of streams, accepted or not."""
        for stream_id in range(1, 17, 2):
            self.offered(stream_id)
        self.assertEqual(self.hub.receive(update(17, flags=SYN)), [])
        self.assertRaises(TooManyStreams, self.hub.open)

    def test_peer_acknowledges_nothing(self) -> None:
        """We do not open more than the backlog without an answer."""
        for _ in range(4):
            self.hub.open()
        self.assertRaises(TooManyStreams, self.hub.open)
        self.hub.receive(update(2, flags=ACK))
        self.hub.open()

    def test_floods(self) -> None:
        """Frames that serve no stream are counted, and too many break the tunnel."""
        self.offered(1)
        self.hub.receive(update(3, flags=SYN))
        for flood in (
            Header(PING, SYN, 0, 1).encode(),
            Header(PING, ACK, 0, 1).encode(),
            Header(GO_AWAY, 0, 0, 0).encode(),
            data(1),
            update(1),
        ):
            self.hub.forgive()
            for _ in range(20):
                self.hub.receive(flood)
                self.sent()
            self.assert_broken(flood)

    def test_syn_flood(self) -> None:
        """Offers that are refused are counted."""
        with self.assertRaises(RemoteMuxError):
            for stream_id in range(1, 101, 2):
                self.hub.receive(update(stream_id, flags=SYN))
                self.sent()
        self.assertEqual(self.hub.stream_count, 4)

    def test_rapid_reset(self) -> None:
        """Streams that are opened only to be reset are counted."""
        with self.assertRaises(RemoteMuxError):
            for stream_id in range(1, 101, 2):
                self.hub.receive(update(stream_id, flags=SYN) + update(stream_id, flags=RST))

    def test_forgiven(self) -> None:
        """What is spread over time is no flood."""
        for _ in range(10):
            for _ in range(20):
                self.hub.receive(Header(PING, SYN, 0, 1).encode())
            self.sent()
            self.hub.forgive()

    def test_peer_does_not_read(self) -> None:
        """Answers that nobody takes do not pile up, however slowly they are asked for."""
        with self.assertRaises(RemoteMuxError):
            for _ in range(100):
                self.hub.receive(Header(PING, SYN, 0, 1).encode())
                self.hub.forgive()

    def test_offers_while_nothing_is_taken(self) -> None:
        """Nor do those to streams that come and go."""
        with self.assertRaises(RemoteMuxError):
            for stream_id in range(1, 401, 2):
                self.hub.receive(update(stream_id, flags=SYN))
                self.hub.accept(stream_id)
                self.hub.reset(stream_id)
                self.hub.forgive()

    def test_single_byte_frames(self) -> None:
        """The smallest frames are delivered as they come, and cost their bytes of the window."""
        self.offered(1)
        events = self.hub.receive(data(1, b"x") * 1000)
        self.assertEqual(len(events), 1000)
        self.hub.receive(data(1, bytes(INITIAL_WINDOW - 1000)))
        self.assert_broken(data(1, b"x"))

    def test_frame_length(self) -> None:
        """A frame above the limit is refused at its header, also on a stream that is gone."""
        self.offered(1)
        self.hub.reset(1)
        self.assert_broken(Header(DATA, 0, 1, self.limits.frame_length + 1).encode())
