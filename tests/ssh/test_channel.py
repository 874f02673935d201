from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.channel import (
    MAX_PACKET,
    OUTBOX_HIGH,
    OUTBOX_LIMIT,
    WINDOW,
    FlowChannel,
    Receiving,
)
from mezite.ssh.error import OutgoingOverflow, SshProtocolError
from mezite.ssh.keylife import KeyLimits
from tests.ssh.pair import EchoingChannel, HearingChannel, Pair


class RecordingConnection:
    """The connection below a channel, which only notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []
        self.wanting = 0

    def wants_to_send(self, channel: FlowChannel) -> None:
        self.wanting += 1

    def adjustWindow(self, channel: FlowChannel, count: int) -> None:
        channel.localWindowLeft += count
        self.sent.append(("adjust", count))

    def sendData(self, channel: FlowChannel, data: bytes) -> None:
        self.sent.append((0, bytes(data)))

    def sendExtendedData(self, channel: FlowChannel, kind: int, data: bytes) -> None:
        self.sent.append((kind, bytes(data)))

    def sendEOF(self, channel: FlowChannel) -> None:
        self.sent.append(("eof",))

    def sendClose(self, channel: FlowChannel) -> None:
        channel.localClosed = True
        self.sent.append(("close",))


class RecordingProducer:
    """A producer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class ChannelTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.channel = HearingChannel(remoteWindow=WINDOW, remoteMaxPacket=32768)
        self.connection = RecordingConnection()
        self.channel.conn = self.connection

    def turn(self, most: int = 1 << 30) -> list[tuple[object, ...]]:
        self.channel.send_some(most)
        sent, self.connection.sent = self.connection.sent, []
        return sent


class ReceivingTests(ChannelTestCase):
    """What comes to a channel."""

    def arrive(self, length: int) -> None:
        while length > 0:
            self.channel.data_arrived(0, bytes(min(length, MAX_PACKET)))
            length -= MAX_PACKET

    def test_reopened(self) -> None:
        """The window is opened again for what was taken."""
        self.arrive(WINDOW // 2)
        self.assertEqual(self.connection.sent, [("adjust", WINDOW // 2)])
        self.assertEqual(self.channel.localWindowLeft, WINDOW)

    def test_paused(self) -> None:
        """While the consumer takes nothing, the window stays shut, and one window waits."""
        self.channel.pauseProducing()
        self.arrive(WINDOW)
        self.assertEqual((self.connection.sent, len(self.channel.heard)), ([], 0))
        self.assertRaises(SshProtocolError, self.channel.data_arrived, 0, b"x")
        self.channel.resumeProducing()
        self.assertEqual(len(self.channel.heard), WINDOW)
        self.assertEqual(self.channel.localWindowLeft, WINDOW)

    def test_paused_again(self) -> None:
        """A consumer that pauses while it is given data gets no more."""
        taken: list[bytes] = []

        class Reluctant(FlowChannel):
            def dataReceived(self, data: bytes) -> None:
                taken.append(data)
                self.pauseProducing()

        channel = Reluctant()
        channel.conn = self.connection
        for letter in (b"a", b"b", b"c"):
            channel.data_arrived(0, letter)
        self.assertEqual(taken, [b"a"])
        channel.resumeProducing()
        self.assertEqual(taken, [b"a", b"b"])

    def test_extended_counts(self) -> None:
        """Extended data takes from the same window."""
        self.channel.data_arrived(1, bytes(MAX_PACKET))
        self.assertEqual(self.channel.localWindowLeft, WINDOW - MAX_PACKET)
        self.assertEqual(len(self.channel.extra), MAX_PACKET)

    def test_too_large(self) -> None:
        """A packet larger than was agreed is refused."""
        self.assertRaises(SshProtocolError, self.channel.data_arrived, 0, bytes(MAX_PACKET + 1))

    def test_end_waits(self) -> None:
        """The end comes after the data that waits."""
        self.channel.pauseProducing()
        self.channel.data_arrived(0, b"last")
        self.channel.eof_arrived()
        self.assertEqual(self.channel.happened, [])
        self.channel.resumeProducing()
        self.assertEqual((bytes(self.channel.heard), self.channel.happened), (b"last", ["eof"]))

    def test_nothing_after_the_end(self) -> None:
        """After the end no data may come, nor another end."""
        self.channel.eof_arrived()
        self.assertRaises(SshProtocolError, self.channel.data_arrived, 0, b"x")
        self.assertRaises(SshProtocolError, self.channel.eof_arrived)

    def test_close_pushes_through(self) -> None:
        """A close delivers what waits even to a consumer that has paused, once."""
        self.channel.pauseProducing()
        self.channel.data_arrived(0, b"last")
        self.channel.close_arrived()
        self.assertEqual((bytes(self.channel.heard), self.channel.happened), (b"last", ["eof"]))
        self.assertEqual(self.connection.sent, [("close",)])
        self.channel.resumeProducing()
        self.assertEqual(self.channel.happened, ["eof"])
        self.assertIs(self.channel._receiving, Receiving.ENDED)


class SendingTests(ChannelTestCase):
    """What leaves a channel."""

    def test_joined(self) -> None:
        """Small writes leave as one packet, and kinds stay apart."""
        for kind, data in ((0, b"a"), (0, b"b"), (1, b"c"), (0, b"d")):
            self.channel.writeExtended(kind, data)
        self.assertEqual(self.turn(), [(0, b"ab"), (1, b"c"), (0, b"d")])

    def test_cut(self) -> None:
        """A large write is cut to the peer's packets."""
        self.channel.write(bytes(100_000))
        self.assertEqual([len(one[1]) for one in self.turn()], [32768, 32768, 32768, 1696])

    def test_window(self) -> None:
        """No more leaves than the peer's window, of both kinds together."""
        self.channel.remoteWindowLeft = 5
        self.channel.write(b"abc")
        self.channel.writeExtended(1, b"defg")
        self.assertEqual(self.turn(), [(0, b"abc"), (1, b"de")])
        self.assertFalse(self.channel.can_send)
        self.channel.addWindowBytes(2)
        self.assertEqual(self.turn(), [(1, b"fg")])

    def test_window_too_large(self) -> None:
        """A window cannot grow beyond 32 bits."""
        self.assertRaises(SshProtocolError, self.channel.addWindowBytes, 0xFFFFFFFF)

    def test_end_after_data(self) -> None:
        """The end leaves after what waits, and nothing is written after it."""
        self.channel.remoteWindowLeft = 2
        self.channel.write(b"abc")
        self.channel.loseWriteConnection()
        self.channel.write(b"late")
        self.assertEqual(self.turn(), [(0, b"ab")])
        self.channel.addWindowBytes(10)
        self.assertEqual(self.turn(), [(0, b"c"), ("eof",)])

    def test_close_after_data(self) -> None:
        """A close leaves after what waits, with the end before it."""
        self.channel.write(b"abc")
        self.channel.loseConnection()
        self.assertEqual(self.turn(), [(0, b"abc"), ("eof",), ("close",)])

    def test_abort(self) -> None:
        """An abort forgets what waits."""
        self.channel.write(b"abc")
        self.channel.abortConnection()
        self.assertEqual(self.turn(), [("close",)])

    def test_producer(self) -> None:
        """A producer is paused when much waits, and resumed when half of it is gone."""
        producer = RecordingProducer()
        self.channel.registerProducer(producer, True)
        self.channel.write(bytes(OUTBOX_HIGH))
        self.assertEqual(producer.told, ["pause"])
        self.turn(OUTBOX_HIGH // 4)
        self.assertEqual(producer.told, ["pause"])
        self.turn(OUTBOX_HIGH)
        self.assertEqual(producer.told, ["pause", "resume"])
        self.channel.stop_producer()
        self.assertEqual(producer.told[-1], "stop")

    def test_producer_of_a_closed_channel(self) -> None:
        """A producer that comes too late is stopped."""
        self.channel.abortConnection()
        producer = RecordingProducer()
        self.channel.registerProducer(producer, True)
        self.assertEqual(producer.told, ["stop"])

    def test_pull(self) -> None:
        """Pull producers, and second ones, are a bug of ours."""
        self.assertRaises(RuntimeError, self.channel.registerProducer, object(), False)
        self.channel.registerProducer(RecordingProducer(), True)
        self.assertRaises(RuntimeError, self.channel.registerProducer, RecordingProducer(), True)

    def test_overflow(self) -> None:
        """Whoever ignores the pause loses the channel, not the memory."""
        for _ in range(OUTBOX_LIMIT // MAX_PACKET + 1):
            self.channel.write(bytes(MAX_PACKET))
        self.assertEqual(self.connection.sent, [("close",)])
        self.assertEqual(len(self.flushLoggedErrors(OutgoingOverflow)), 1)

    @given(
        st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=40)), max_size=20),
        st.integers(1, 30),
        st.integers(1, 30),
    )
    @settings(max_examples=80, deadline=None)
    def test_nothing_is_lost(
        self, writes: list[tuple[int, bytes]], packet: int, window: int
    ) -> None:
        """Whatever the packet and window sizes, each kind arrives in order and whole."""
        self.setUp()
        self.channel.remoteMaxPacket, self.channel.remoteWindowLeft = packet, window
        for kind, data in writes:
            self.channel.writeExtended(kind, data)
        sent = []
        for _ in range(2000):
            if not self.channel._outbox:
                break
            sent += self.turn()
            self.channel.addWindowBytes(window)
        for kind in (0, 1):
            self.assertEqual(
                b"".join(one[1] for one in sent if one[0] == kind),  # type: ignore[misc]
                b"".join(data for of, data in writes if of == kind),
            )
        self.assertTrue(all(len(one[1]) <= packet for one in sent))  # type: ignore[arg-type]


class PressureTests(SynchronousTestCase):
    """Channels over a connection whose ends do not keep up."""

    def test_network_full(self) -> None:
        """When the network takes no more, no more than a little waits, and all arrives."""
        pair = Pair(make_channel=FlowChannel).connect()
        heard = pair.open()
        channel = pair.served[0].made[0]
        producer = RecordingProducer()
        channel.registerProducer(producer, True)
        pair.server_io.is_held = True
        written = 0
        while "pause" not in producer.told:
            channel.write(bytes(MAX_PACKET))
            written += MAX_PACKET
        self.assertLess(written, 6 * MAX_PACKET)
        self.assertLess(pair.server_io.waiting(), 4 * MAX_PACKET)
        pair.server_io.is_held = False
        pair.pump.flush()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.assertEqual(len(heard.heard), written)

    def test_reader_stopped(self) -> None:
        """When the reader takes no more, one window and no more is sent."""
        pair = Pair(make_channel=FlowChannel).connect()
        channel = pair.open()
        channel.pauseProducing()
        served = pair.served[0].made[0]
        producer = RecordingProducer()
        served.registerProducer(producer, True)
        written = 0
        while producer.told[-1:] != ["pause"]:
            served.write(bytes(MAX_PACKET))
            written += MAX_PACKET
            pair.pump.flush()
        self.assertEqual(written, WINDOW + OUTBOX_HIGH)
        self.assertEqual(len(channel.heard), 0)
        channel.resumeProducing()
        pair.pump.flush()
        self.assertEqual(len(channel.heard), written)

    def test_turns(self) -> None:
        """A keystroke does not wait for all that another channel has to send."""
        pair = Pair(make_channel=FlowChannel).connect()
        pair.open()
        keys = pair.open()
        bulk, shell = pair.served[0].made
        pair.server_io.is_held = True
        for _ in range(8):
            bulk.write(bytes(MAX_PACKET))
        shell.write(b"k")
        before = len(bulk._outbox)
        self.assertGreater(before, 3)
        pair.server_io.is_held = False
        pair.pump.pump()
        pair.pump.pump()
        self.assertEqual(bytes(keys.heard), b"k")
        self.assertTrue(bulk._outbox)

    def test_new_keys_under_load(self) -> None:
        """New keys, asked for by either side amid data both ways, lose nothing."""
        for side in ("client", "server"):
            pair = Pair()
            getattr(pair, side).key_limits = KeyLimits(octets=300_000)
            pair.connect()
            channel = pair.open()
            sent = bytes(range(256)) * 256
            for _ in range(30):
                channel.write(sent)
                pair.pump.flush()
            self.assertEqual(bytes(channel.heard), sent * 30)

    def test_closed_by_loss(self) -> None:
        """When the connection goes, channels are closed and producers stopped."""
        pair = Pair().connect()
        channel = pair.open()
        producer = RecordingProducer()
        channel.registerProducer(producer, True)
        pair.server.transport.loseConnection()
        pair.pump.flush()
        self.assertEqual(channel.happened, ["open", "closed"])
        self.assertEqual(producer.told, ["stop"])
        served = pair.served[0].made[0]
        assert isinstance(served, EchoingChannel)
        self.assertTrue(served.is_gone)
