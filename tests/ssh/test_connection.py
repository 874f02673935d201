from __future__ import annotations

from typing import Any

from twisted.conch.error import ConchError
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.channel import FlowChannel
from mezite.ssh.connection import CHANNELS
from mezite.ssh.error import (
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_TYPE,
    ChannelRefused,
    PeerDisconnected,
)
from mezite.ssh.fields import string, uint32
from tests.ssh.pair import HearingChannel, Pair

CLOSE, EOF, DATA, EXTENDED, ADJUST, REQUEST = 97, 96, 94, 95, 93, 98


class WaitingChannel(FlowChannel):
    """A server's channel that is opened when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.was_cancelled = False
        self.opening: Deferred[None] = Deferred(self._cancel)

    def _cancel(self, opening: Deferred[None]) -> None:
        self.was_cancelled = True

    def open_requested(self, data: bytes) -> Deferred[None]:
        self.asked = data
        return self.opening


class OpeningTests(SynchronousTestCase):
    """Channels that are opened, and that are not."""

    def test_unknown(self) -> None:
        """A kind of channel that nobody knows is refused."""
        channel = HearingChannel()
        channel.name = b"fancy"
        Pair().connect().open(channel)
        [error] = channel.happened
        assert isinstance(error, ChannelRefused)
        self.assertEqual(error.code, OPEN_UNKNOWN_TYPE)

    def test_client_opens_nothing(self) -> None:
        """A server cannot open channels on a client that expects none."""
        pair = Pair().connect()
        channel = HearingChannel()
        pair.served[0].openChannel(channel)
        pair.pump.flush()
        self.assertIsInstance(channel.happened[0], ChannelRefused)

    def test_later(self) -> None:
        """A channel may be confirmed when it is ready."""
        pair = Pair(make_channel=WaitingChannel).connect()
        channel = HearingChannel()
        pair.connection.openChannel(channel, b"extra")
        pair.pump.flush()
        self.assertEqual(channel.happened, [])
        waiting = pair.served[0].made[0]
        self.assertEqual(waiting.asked, b"extra")
        waiting.opening.callback(None)
        pair.pump.flush()
        self.assertEqual(channel.happened, ["open"])

    def test_not_after_all(self) -> None:
        """A channel that cannot be made ready is refused with its sentence."""
        pair = Pair(make_channel=WaitingChannel).connect()
        channel = pair.open()
        pair.served[0].made[0].opening.errback(
            ChannelRefused("db1:1 cannot be reached", OPEN_CONNECT_FAILED)
        )
        pair.pump.flush()
        [error] = channel.happened
        self.assertEqual(str(error), "db1:1 cannot be reached")

    def test_gone_meanwhile(self) -> None:
        """A channel that is not ready when the connection ends is given up."""
        pair = Pair(make_channel=WaitingChannel).connect()
        pair.open()
        pair.client.close()
        pair.pump.flush()
        self.assertTrue(pair.served[0].made[0].was_cancelled)

    def test_too_many(self) -> None:
        """There is a limit to channels, and closing one makes room."""
        pair = Pair().connect()
        channels = [pair.open() for _ in range(CHANNELS)]
        [error] = pair.open().happened
        assert isinstance(error, ChannelRefused)
        self.assertEqual(error.code, OPEN_RESOURCE_SHORTAGE)
        channels[0].loseConnection()
        pair.pump.flush()
        self.assertEqual(pair.open().happened, ["open"])


class RequestTests(SynchronousTestCase):
    """Requests on channels and on the connection."""

    def test_answers(self) -> None:
        """Every request that wants an answer gets its own."""
        pair = Pair().connect()
        channel = pair.open()
        yes = pair.connection.sendRequest(channel, b"yes", b"data", wantReply=1)
        no = pair.connection.sendRequest(channel, b"no", b"", wantReply=1)
        pair.connection.sendRequest(channel, b"no", b"", wantReply=0)
        pair.pump.flush()
        self.successResultOf(yes)
        self.failureResultOf(no, ConchError)
        self.assertEqual(
            pair.served[0].made[0].requests, [(b"yes", b"data"), (b"no", b""), (b"no", b"")]
        )

    def test_keepalive(self) -> None:
        """A keepalive is answered by either side; what is unknown is refused."""
        pair = Pair().connect()
        alive = pair.connection.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)
        strange = pair.served[0].sendGlobalRequest(b"tcpip-forward", b"", wantReply=1)
        pair.pump.flush()
        self.successResultOf(alive)
        self.failureResultOf(strange, ConchError)

    def test_unanswered(self) -> None:
        """What was not answered fails when the connection ends."""
        pair = Pair().connect()
        channel = pair.open()
        asked = pair.connection.sendRequest(channel, b"yes", b"", wantReply=1)
        everywhere = pair.connection.sendGlobalRequest(b"x", b"", wantReply=1)
        pair.client.connectionLost(None)
        self.failureResultOf(asked, ConchError)
        self.failureResultOf(everywhere, ConchError)


class EndingTests(SynchronousTestCase):
    """EOF and CLOSE in every order."""

    def ends(self, *acts: str) -> list[object]:
        pair = Pair(make_channel=FlowChannel).connect()
        ours = pair.open()
        theirs = pair.served[0].made[0]
        for act in acts:
            side, verb = act.split()
            channel: Any = ours if side == "our" else theirs
            {"eof": channel.loseWriteConnection, "close": channel.loseConnection}[verb]()
            pair.pump.flush()
        self.assertEqual((pair.connection.channels, pair.served[0].channels), ({}, {}))
        self.assertFalse(pair.client.disconnecting)
        return ours.happened

    def test_orders(self) -> None:
        """Whoever ends first, both sides forget the channel and nothing else happens."""
        for acts in (
            ("their close",),
            ("our eof", "their close"),
            ("our eof", "their eof", "our close"),
            ("their eof", "our eof", "their close"),
            ("their eof", "our close"),
        ):
            happened = self.ends(*acts)
            self.assertEqual(happened, ["open", "eof", "closed"], acts)
        # Who closes first may hear no end of data any more.
        for acts in (("our close",), ("our eof", "our close")):
            self.assertEqual(self.ends(*acts), ["open", "closed"], acts)

    def test_at_once(self) -> None:
        """Both may close before they hear of each other."""
        pair = Pair(make_channel=FlowChannel).connect()
        ours = pair.open()
        theirs = pair.served[0].made[0]
        ours.loseConnection()
        theirs.write(b"crossing")
        theirs.loseConnection()
        pair.pump.flush()
        self.assertEqual(ours.happened[-1], "closed")
        self.assertEqual(pair.served[0].channels, {})
        self.assertFalse(pair.client.disconnecting)


class HostileTests(SynchronousTestCase):
    """A client that breaks the protocol on a connection that stands."""

    def told(self, *packets: tuple[int, bytes]) -> str:
        """What the server says when it ends the connection."""
        pair = Pair().connect()
        pair.open()
        for message, payload in packets:
            pair.client.sendPacket(message, payload)
        ended = pair.client.ended()
        pair.pump.flush()
        error = self.successResultOf(ended)
        assert isinstance(error, PeerDisconnected), error
        self.assertTrue(pair.certificates.avatars[0].is_out)
        return str(error)

    def test_no_such_channel(self) -> None:
        """Nothing can be said on a channel that is not there."""
        for message in (ADJUST, DATA, EXTENDED, EOF, CLOSE, REQUEST, 99, 100):
            self.assertIn("no such channel", self.told((message, uint32(9) + bytes(12))))

    def test_cut(self) -> None:
        """Messages that end too early."""
        for message in (80, 90, 91, 92, ADJUST, DATA, EXTENDED, EOF, CLOSE, REQUEST):
            self.told((message, b"\0\0"))

    def test_more_than_the_window(self) -> None:
        """Data beyond the window."""
        packet = (DATA, uint32(0) + string(bytes(65536)))
        pair = Pair(make_channel=FlowChannel).connect()
        pair.open()
        pair.served[0].made[0].pauseProducing()
        for _ in range(33):
            pair.client.sendPacket(*packet)
            pair.pump.flush()
        self.assertTrue(pair.server.disconnecting)

    def test_larger_than_agreed(self) -> None:
        """Packets larger than agreed."""
        self.assertIn("window", self.told((DATA, uint32(0) + string(bytes(65537)))))

    def test_window_overflow(self) -> None:
        """Windows beyond 32 bits."""
        self.assertIn("window", self.told((ADJUST, uint32(0) + b"\xff" * 4)))

    def test_after_the_end(self) -> None:
        """Data, or an end, after the end."""
        pair = Pair(make_channel=FlowChannel).connect()
        pair.open()
        for _ in range(2):
            pair.client.sendPacket(EOF, uint32(0))
        pair.pump.flush()
        self.assertTrue(pair.server.disconnecting)

    def test_answers_to_nothing(self) -> None:
        """Answers that nobody waits for."""
        self.told((81, b""))
        self.told((82, b""))
        self.told((99, uint32(0)))
        self.told((91, uint32(0) * 4))
        self.told((92, uint32(7) * 2 + string(b"") * 2))

    def test_tiny_packets(self) -> None:
        """Channels that want a packet for each byte."""
        self.told((90, string(b"echo") + uint32(5) + uint32(1000) + uint32(1)))

    def test_unknown_message(self) -> None:
        """A message that does not exist is said to be unknown, and nothing ends."""
        pair = Pair().connect()
        pair.client.sendPacket(200, b"x")
        pair.client.sendPacket(51, b"x")
        pair.pump.flush()
        self.assertEqual(pair.open().happened, ["open"])
