"""Tests of the tunnel on a transport: timing, pressure, fairness and ending."""

from __future__ import annotations

import gc
from weakref import ref

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import TimedOut
from mezite.mux.error import MuxClosed, RemoteMuxError
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
    Header,
    Role,
)
from mezite.mux.limits import INITIAL_WINDOW, MuxLimits
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from tests.mux.pair import Listener, Pair, listener


class Hub:
    """A hub's end, or an agent's, on a transport that only writes down; the peer is us."""

    def __init__(self, limits: MuxLimits | None = None, role: Role = Role.SERVER) -> None:
        self.clock = Clock()
        self.offered: list[StreamTransport] = []
        self.downs: list[object] = []
        self.mux = MuxProtocol(
            role=role,
            clock=self.clock,
            accept=self.offered.append,
            limits=limits,
            on_down=self.downs.append,
        )
        self.transport = StringTransport()
        self.mux.makeConnection(self.transport)

    def turn(self) -> list[Header | bytes]:
        """Let the tunnel's turn pass; what it wrote."""
        self.clock.advance(0)
        written = self.transport.value()
        self.transport.clear()
        return FrameReader(2**32).receive(written)

    def stream(self) -> StreamTransport:
        stream = self.mux.open_stream()
        stream.attach(Listener())
        self.mux.dataReceived(Header(WINDOW_UPDATE, ACK, stream.stream_id, 2**24).encode())
        self.turn()
        return stream


class LifeTests(SynchronousTestCase):
    def test_nothing_kept(self) -> None:
        """A tunnel that is down is gone with its last reference, and need not be looked for."""
        hub = Hub()
        hub.mux.open_stream().attach(Protocol())
        hub.turn()
        hub.mux.connectionLost()
        hub.transport.unregisterProducer()
        mux = ref(hub.mux)
        gc.disable()
        self.addCleanup(gc.enable)
        del hub
        self.assertIsNone(mux())

    def test_up_and_down(self) -> None:
        """Its owner hears once that the tunnel is up and once that it is down."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        self.assertEqual((pair.at_hub.ups, pair.at_agent.ups), (1, 1))
        pair.agent.close()
        pair.flush()
        self.assertEqual([len(pair.at_hub.downs), len(pair.at_agent.downs)], [1, 1])
        for stream in (at_hub, at_agent):
            [reason] = listener(stream).lost
            reason.trap(ConnectionLost)
        self.assertFalse(pair.hub.is_up)
        self.assertRaises(MuxClosed, pair.hub.open_stream)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_broken_by_peer(self) -> None:
        """A peer that breaks the protocol is told so and dropped."""
        hub = Hub()
        stream = hub.stream()
        hub.mux.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(hub.turn(), [Header(GO_AWAY, 0, 0, 1)])
        self.assertTrue(hub.transport.disconnecting)
        self.assertIsNone(hub.transport.producer)
        # Whatever else it says is not heard, and it gets five seconds to leave.
        hub.mux.dataReceived(Header(WINDOW_UPDATE, SYN, 1, 0).encode())
        self.assertEqual(hub.offered, [])
        self.assertFalse(hub.transport.disconnected)
        hub.clock.advance(5)
        self.assertTrue(hub.transport.disconnected)
        hub.mux.connectionLost()
        self.assertEqual(len(hub.downs), 1)
        hub.downs[0].trap(RemoteMuxError)
        listener(stream).lost[0].trap(ConnectionLost)
        self.assertEqual(hub.clock.getDelayedCalls(), [])

    def test_abort(self) -> None:
        """An aborted tunnel is dropped without a word."""
        hub = Hub()
        hub.mux.abort()
        self.assertTrue(hub.transport.disconnected)
        self.assertEqual(hub.turn(), [])

    def test_graceful(self) -> None:
        """After go-away there are no new streams, the old ones go on, and the last closes it."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        pair.hub.go_away()
        pair.flush()
        self.assertRaises(MuxClosed, pair.agent.open_stream)
        self.assertRaises(MuxClosed, pair.hub.open_stream)
        at_hub.write(b"still here")
        pair.flush()
        self.assertEqual(listener(at_agent).text, b"still here")
        self.assertEqual(pair.at_hub.downs, [])
        at_hub.loseConnection()
        pair.flush()
        listener(at_agent).lost[0].trap(ConnectionDone)
        self.assertEqual([len(pair.at_hub.downs), len(pair.at_agent.downs)], [1, 1])

    def test_peer_leaves(self) -> None:
        """Who asked for it is told, once, that the other end takes no new streams."""
        told: list[str] = []
        pair = Pair(agent_accepts=Listener)
        pair.agent._on_go_away = lambda: told.append("gone")
        pair.stream()
        pair.hub.go_away()
        pair.hub.go_away()
        pair.flush()
        self.assertEqual(told, ["gone"])

    def test_graceful_when_idle(self) -> None:
        """A tunnel without streams goes away at once."""
        pair = Pair()
        pair.hub.go_away()
        pair.flush()
        self.assertEqual([len(pair.at_hub.downs), len(pair.at_agent.downs)], [1, 1])

    def test_accept_that_fails(self) -> None:
        """A bug in accepting refuses that stream, is logged, and leaves the tunnel up."""

        def build() -> Listener:
            raise ZeroDivisionError

        pair = Pair(agent_accepts=build)
        at_hub, _ = pair.stream()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(listener(at_hub).lost), 1)
        self.assertTrue(pair.agent.is_up)

    def test_offer_taken_back(self) -> None:
        """An offer that is reset in the same segment is accepted by nobody, and no error."""
        hub = Hub()
        hub.mux._accept = lambda stream: stream.attach(Listener())
        hub.mux.dataReceived(
            Header(WINDOW_UPDATE, SYN, 1, 0).encode() + Header(WINDOW_UPDATE, RST, 1, 0).encode()
        )
        self.assertEqual(hub.turn(), [])
        self.assertEqual(hub.mux.stream_count, 0)


class KeepaliveTests(SynchronousTestCase):
    def test_pings(self) -> None:
        """Pings keep an idle tunnel up, and measure the round trip."""
        pair = Pair()
        for _ in range(100):
            pair.clock.advance(1)
            pair.flush()
        self.assertTrue(pair.hub.is_up)
        self.assertEqual(pair.hub.round_trip, 0)

    def test_dead_peer(self) -> None:
        """A peer that says nothing is given up after 29 seconds, within 30."""
        hub = Hub()
        stream = hub.stream()
        pings = seconds = 0
        while not hub.transport.disconnected and seconds < 60:
            seconds += 1
            hub.clock.advance(1)
            pings += len(hub.turn())
        self.assertGreaterEqual(seconds, 28)
        self.assertLessEqual(seconds, 30)
        self.assertEqual(pings, 1)
        hub.mux.connectionLost()
        hub.downs[0].trap(TimedOut)
        self.assertEqual(len(listener(stream).lost), 1)
        self.assertEqual(hub.clock.getDelayedCalls(), [])

    def test_one_end_asks(self) -> None:
        """The hub's question and the agent's answer are enough for both."""
        agent = Hub(role=Role.CLIENT)
        asked = 0
        for second in range(1, 101):
            agent.clock.advance(1)
            if second % 10 == 0:
                agent.mux.dataReceived(Header(PING, SYN, 0, second).encode())
            asked += sum(item.flags == SYN for item in agent.turn())
        self.assertEqual(asked, 0)
        self.assertTrue(agent.mux.is_up)

    def test_agent_asks_whom_it_does_not_hear(self) -> None:
        """A hub that says nothing is asked by the agent, and given up within 30 seconds."""
        agent = Hub(role=Role.CLIENT)
        asked = seconds = 0
        while not agent.transport.disconnected and seconds < 60:
            seconds += 1
            agent.clock.advance(1)
            asked += len(agent.turn())
        self.assertLessEqual(seconds, 30)
        self.assertEqual(asked, 1)

    def test_we_were_asleep(self) -> None:
        """Whoever could not listen for a minute asks, and gives nobody up before 5 seconds."""
        pair = Pair()
        pair.clock.advance(60)
        pair.flush()
        self.assertTrue(pair.hub.is_up and pair.agent.is_up)
        hub = Hub()
        hub.clock.advance(60)
        self.assertEqual(len(hub.turn()), 1)
        for _ in range(3):
            hub.clock.advance(1)
        self.assertTrue(hub.mux.is_up)
        for _ in range(3):
            hub.clock.advance(1)
        self.assertFalse(hub.mux.is_up)

    def test_any_byte_is_a_sign_of_life(self) -> None:
        """A peer that sends data is alive, even if it never answers pings."""
        hub = Hub()
        stream = hub.stream()
        asked = hub.mux.ping()
        for _ in range(60):
            hub.clock.advance(1)
            hub.mux.dataReceived(Header(DATA, 0, stream.stream_id, 1).encode() + b"x")
            hub.turn()
        self.assertTrue(hub.mux.is_up)
        self.failureResultOf(asked, TimedOut)

    def test_many_tunnels_share_timers(self) -> None:
        """A hundred tunnels that came up together cost one timer."""
        clock = Clock()
        for _ in range(100):
            mux = MuxProtocol(role=Role.SERVER, clock=clock, accept=lambda stream: None)
            mux.makeConnection(StringTransport())
        self.assertEqual(len(clock.getDelayedCalls()), 1)

    def test_ping(self) -> None:
        """A ping fires with the round trip in seconds."""
        pair = Pair()
        answered = pair.hub.ping()
        pair.clock.advance(0.25)
        pair.flush()
        self.assertEqual(self.successResultOf(answered), 0.25)

    def test_ping_without_answer(self) -> None:
        """A ping fails with the tunnel, and on a tunnel that is down."""
        hub = Hub()
        asked = hub.mux.ping()
        hub.mux.connectionLost()
        self.failureResultOf(asked, MuxClosed)
        self.failureResultOf(hub.mux.ping(), MuxClosed)

    def test_pings_are_bounded(self) -> None:
        """Nobody needs many pings at once."""
        hub = Hub()
        for _ in range(16):
            hub.mux.ping().addErrback(lambda _: None)
        self.failureResultOf(hub.mux.ping(), MuxClosed)


class PressureTests(SynchronousTestCase):
    def test_paused_by_the_transport(self) -> None:
        """Nothing is written while the transport is full, and all of it after."""
        hub = Hub()
        stream = hub.stream()
        self.assertIs(hub.transport.producer, hub.mux)
        hub.mux.pauseProducing()
        stream.write(bytes(100_000))
        self.assertEqual(hub.turn(), [])
        hub.mux.resumeProducing()
        self.assertEqual(hub.turn(), [Header(DATA, 0, 2, 100_000), bytes(100_000)])

    def test_one_write_for_many(self) -> None:
        """What several streams say in one turn is one write."""
        hub = Hub()
        streams = [hub.stream() for _ in range(3)]
        written: list[object] = []
        hub.transport.writeSequence = written.append
        for stream in streams:
            stream.write(b"a key")
            stream.write(b"stroke")
        self.assertEqual(written, [])
        hub.clock.advance(0)
        self.assertEqual(len(written), 1)

    def test_producer_is_paused(self) -> None:
        """A writer is paused at the high mark, and resumed at the low one."""
        limits = MuxLimits()
        hub = Hub(limits)
        stream = hub.stream()
        producer = StringTransport()
        stream.registerProducer(producer, True)
        hub.mux.pauseProducing()
        stream.write(bytes(limits.unsent_high - 1))
        self.assertEqual(producer.producerState, "producing")
        stream.write(b"x")
        self.assertEqual(producer.producerState, "paused")
        hub.mux.resumeProducing()
        hub.turn()
        self.assertEqual(producer.producerState, "producing")

    def test_producer_is_not_paused_for_nothing(self) -> None:
        """A large write that the tunnel takes at once pauses nobody."""
        hub = Hub()
        stream = hub.stream()
        producer = StringTransport()
        stream.registerProducer(producer, True)
        states: list[str] = []
        producer.pauseProducing = lambda: states.append("paused")
        stream.write(bytes(10**6))
        self.assertEqual(states, [])

    def test_slow_reader(self) -> None:
        """A reader that pauses holds one window; its writer holds the high mark, no more."""
        limits = MuxLimits()
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        at_agent.pauseProducing()
        producer = StringTransport()
        at_hub.registerProducer(producer, True)
        written = 0
        chunk = bytes(50_000)
        while producer.producerState == "producing":
            at_hub.write(chunk)
            written += len(chunk)
            pair.flush()
            self.assertLess(written, 10**6)
        self.assertEqual(listener(at_agent).text, b"")
        self.assertLessEqual(written, INITIAL_WINDOW + limits.unsent_high + len(chunk))
        at_agent.resumeProducing()
        pair.flush()
        self.assertEqual(len(listener(at_agent).text), written)
        self.assertEqual(producer.producerState, "producing")

    def test_paused_within_delivery(self) -> None:
        """A protocol that pauses in dataReceived gets no further piece until it resumes."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        heard_by = listener(at_agent)

        def hear(data: bytes) -> None:
            heard_by.heard.append(data)
            at_agent.pauseProducing()

        at_agent._deliver = hear
        for _ in range(3):
            at_hub.write(bytes(100_000))
        at_hub.loseConnection()
        pair.flush()
        self.assertEqual(len(heard_by.heard), 1)
        while not heard_by.lost:
            at_agent.resumeProducing()
            pair.flush()
        self.assertEqual(len(heard_by.text), 300_000)
        heard_by.lost[0].trap(ConnectionDone)

    def test_other_streams_flow_past_a_stuck_one(self) -> None:
        """A stream that nobody reads delays no other."""
        pair = Pair(agent_accepts=Listener)
        stuck_hub, stuck_agent = pair.stream()
        stuck_agent.pauseProducing()
        stuck_hub.write(bytes(10**6))
        at_hub, at_agent = pair.stream()
        at_hub.write(bytes(10**6))
        pair.flush()
        self.assertEqual(len(listener(at_agent).text), 10**6)

    def test_pull_producer(self) -> None:
        """A pull producer is asked until it unregisters, and then the stream ends."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()

        class Puller:
            left = 20

            def resumeProducing(self) -> None:
                at_hub.write(bytes(50_000))
                self.left -= 1
                if not self.left:
                    at_hub.unregisterProducer()

            def stopProducing(self) -> None:
                raise AssertionError

        at_hub.registerProducer(Puller(), False)
        at_hub.loseConnection()
        pair.flush()
        self.assertEqual(len(listener(at_agent).text), 10**6)
        listener(at_agent).lost[0].trap(ConnectionDone)

    def test_writer_that_does_not_wait(self) -> None:
        """A writer that ignores everything loses its stream, not the tunnel."""
        pair = Pair(agent_accepts=Listener, hub_limits=MuxLimits(stream_unsent=10**6))
        at_hub, at_agent = pair.stream()
        at_agent.pauseProducing()
        for _ in range(20):
            at_hub.write(bytes(100_000))
        pair.flush()
        self.assertEqual([len(listener(at_hub).lost), len(listener(at_agent).lost)], [1, 1])
        self.assertTrue(pair.hub.is_up)
        self.assertEqual(pair.hub.stream_count, 0)

    def test_unread_streams_are_bounded(self) -> None:
        """Too much left unread in a tunnel costs the fullest stream, not the tunnel."""
        pair = Pair(agent_accepts=Listener, agent_limits=MuxLimits(tunnel_received=600_000))
        streams = [pair.stream() for _ in range(3)]
        for at_hub, at_agent in streams:
            at_agent.pauseProducing()
            at_hub.write(bytes(250_000))
            pair.flush()
        self.assertEqual(sum(len(listener(at_agent).lost) for _, at_agent in streams), 1)
        self.assertTrue(pair.agent.is_up)

    def test_fairness(self) -> None:
        """A keystroke is written before a bulk stream's second helping."""
        hub = Hub()
        bulk, typing = hub.stream(), hub.stream()
        hub.mux.pauseProducing()
        bulk.write(bytes(10**6))
        typing.write(b"x")
        hub.mux.resumeProducing()
        headers = [item for item in hub.turn() if isinstance(item, Header)]
        self.assertEqual([header.stream_id for header in headers[:3]], [2, 4, 2])


class LingeringTests(SynchronousTestCase):
    def test_slow_peer_is_waited_for(self) -> None:
        """A stream that we left is not reset while its peer may still be reading."""
        hub = Hub()
        stream = hub.stream()
        stream.write(b"the last of a large file")
        stream.loseConnection()
        hub.turn()
        listener(stream).lost[0].trap(ConnectionDone)
        sent: list[Header | bytes] = []
        for _ in range(600):
            hub.clock.advance(1)
            hub.mux.dataReceived(Header(DATA, 0, 2, 1).encode() + b"x")
            sent += hub.turn()
        self.assertLessEqual({item.frame_type for item in sent if isinstance(item, Header)}, {PING})
        hub.mux.dataReceived(Header(WINDOW_UPDATE, FIN, 2, 0).encode())
        self.assertEqual(hub.mux.stream_count, 0)

    def test_peer_that_never_finishes(self) -> None:
        """Of too many streams that we left and the peer did not, the oldest is reset."""
        hub = Hub()
        for _ in range(257):
            hub.stream().loseConnection()
            hub.turn()
        self.assertEqual(hub.mux.stream_count, 256)
        hub.stream().loseConnection()
        self.assertIn(Header(WINDOW_UPDATE, RST, 4, 0), hub.turn())

    def test_streams_that_end_in_time(self) -> None:
        """Streams whose peer finishes are never reset, however many there were."""
        hub = Hub()
        first = hub.stream()
        first.loseConnection()
        for _ in range(600):
            stream = hub.stream()
            stream.loseConnection()
            hub.turn()
            hub.mux.dataReceived(Header(WINDOW_UPDATE, FIN, stream.stream_id, 0).encode())
        self.assertEqual(hub.mux.stream_count, 1)

    def test_what_was_written_still_goes(self) -> None:
        """A peer that reads slowly still gets all, as long as it goes on reading."""
        hub = Hub()
        stream = hub.mux.open_stream()
        stream.attach(Listener())
        stream.write(bytes(INITIAL_WINDOW + 100))
        # Its end takes our protocol, which cannot be half-closed, with it.
        hub.mux.dataReceived(
            Header(WINDOW_UPDATE, ACK, 2, 0).encode() + Header(WINDOW_UPDATE, 4, 2, 0).encode()
        )
        self.assertEqual(len(listener(stream).lost), 1)
        for _ in range(100):
            hub.clock.advance(1)
            hub.mux.dataReceived(Header(WINDOW_UPDATE, 0, 2, 1).encode())
            hub.turn()
        self.assertEqual(hub.mux.stream_count, 0)
