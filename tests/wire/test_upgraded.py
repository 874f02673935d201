"""
A connection inside a WebSocket, with the client's frames at one end and the hub's at the other.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.web.connectionupgrade import HubFrames
from mezite.wire.upgraded import UpgradedConnection
from mezite.wire.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    BrokenFrames,
    ClientFrames,
    close_payload,
)
from tests.doubles.link import Link, link


class Inner(Protocol):
    """Keeps what it hears, and what becomes of its producer's wish to write."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.lost: Failure | None = None
        self.is_paused = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        assert self.lost is None
        self.lost = reason

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def stopProducing(self) -> None:
        raise AssertionError("nobody asks for this")


def hub_frames() -> HubFrames:
    frames = HubFrames()
    frames.accept("dGhlIHNhbXBsZSBub25jZQ==")
    return frames


class PairTestCase(SynchronousTestCase):
    """Both ends, on a link in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.inners = Inner(), Inner()
        self.client, self.hub = (
            UpgradedConnection(frames, inner, self.clock)
            for frames, inner in zip((ClientFrames(), hub_frames()), self.inners, strict=True)
        )
        self.wire: Link = link(self.client, self.hub, self.clock)

    def heard(self) -> tuple[bytes, bytes]:
        self.wire.flush()
        return bytes(self.inners[0].heard), bytes(self.inners[1].heard)


class CarryingTests(PairTestCase):
    def test_both_ways(self) -> None:
        """What one end writes, the other hears."""
        self.client.write(b"hello")
        self.hub.writeSequence([b"good", b"", b" day"])
        self.assertEqual(self.heard(), (b"good day", b"hello"))

    def test_large(self) -> None:
        """More than one message takes goes in several."""
        data = bytes(range(256)) * 4096 * 3
        self.client.write(data)
        self.hub.write(data)
        self.assertEqual(self.heard(), (data, data))

    @settings(max_examples=50, deadline=None)
    @given(data=st.lists(st.binary(max_size=300), max_size=6), cut=st.integers(1, 50))
    def test_chunks(self, data: list[bytes], cut: int) -> None:
        """Any chunks give the same bytes, at either end."""
        for sender, receiver in ((ClientFrames(), hub_frames()), (hub_frames(), ClientFrames())):
            octets = b"".join(sender.frame(BINARY, each) for each in data)
            inner = Inner()
            end = UpgradedConnection(receiver, inner, self.clock)
            end.makeConnection(StringTransport())
            for start in range(0, len(octets), cut):
                end.dataReceived(octets[start : start + cut])
            self.clock.advance(0)
            self.assertEqual(bytes(inner.heard), b"".join(data))
            end.connectionLost(Failure(ConnectionDone()))

    def test_end(self) -> None:
        """An end is said, after all that was written, and both hear a clean one."""
        self.client.write(b"bye")
        self.client.loseConnection()
        self.client.write(b"too late")
        self.assertEqual(self.heard(), (b"", b"bye"))
        for inner in self.inners:
            assert inner.lost is not None
            self.assertIsNotNone(inner.lost.check(ConnectionDone))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_goodbye(self) -> None:
        """The end of the outer connection alone is no end."""
        self.wire.client.loseConnection()
        self.wire.client.producer = None
        self.wire.flush()
        lost = self.inners[1].lost
        assert lost is not None
        self.assertIsNotNone(lost.check(ConnectionLost))

    def test_abort(self) -> None:
        """An abort ends both at once, and leaves nothing behind."""
        self.hub.abortConnection()
        self.wire.flush()
        self.assertTrue(all(inner.lost is not None for inner in self.inners))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_peer_is_the_client(self) -> None:
        """The inner connection's peer is whom it is said to be, or the outer one's."""
        self.assertEqual(self.client.getPeer(), self.wire.client.getPeer())
        end = UpgradedConnection(hub_frames(), Inner(), self.clock, b"", "ada")
        self.assertEqual(end.getPeer(), "ada")


class PressureTests(PairTestCase):
    def test_pause(self) -> None:
        """Who pauses hears nothing, and the writer at the other end is paused in the end."""
        self.hub.pauseProducing()
        self.client.registerProducer(self.inners[0], True)
        for _ in range(4):
            self.client.write(bytes(64 * 1024))
        self.assertEqual(self.heard()[1], b"")
        self.assertTrue(self.inners[0].is_paused)
        self.hub.resumeProducing()
        self.assertEqual(len(self.heard()[1]), 256 * 1024)
        self.assertFalse(self.inners[0].is_paused)

    def test_resumes_later(self) -> None:
        """Nothing is delivered before resumeProducing has returned."""
        client, inner = ClientFrames(), self.inners[1]
        inner.dataReceived = lambda data: (  # type: ignore[method-assign]
            inner.heard.extend(data),
            self.hub.pauseProducing(),
        )
        self.hub.dataReceived(client.frame(BINARY, b"one") + client.frame(BINARY, b"two"))
        self.assertEqual(inner.heard, b"one")
        self.hub.resumeProducing()
        self.assertEqual(inner.heard, b"one")
        self.clock.advance(0)
        self.assertEqual(inner.heard, b"onetwo")

    def test_tiny_frames(self) -> None:
        """A read of thousands of frames does not keep the others waiting."""
        client = ClientFrames()
        self.hub.dataReceived(b"".join(client.frame(BINARY, b"x") for _ in range(1000)))
        self.assertEqual(len(self.inners[1].heard), 256)
        self.assertFalse(self.wire.server.is_reading)
        self.wire.flush()
        self.assertEqual(len(self.inners[1].heard), 1000)
        self.assertTrue(self.wire.server.is_reading)

    def test_pings_nobody_hears_answered(self) -> None:
        """Who asks and does not read the answers is not read any more."""
        client = ClientFrames()
        self.wire.client.pauseProducing()
        self.hub.registerProducer(self.inners[1], True)
        self.hub.write(bytes(65 * 1024))
        before = self.wire.server.written
        for _ in range(100):
            self.hub.dataReceived(client.frame(PING, bytes(125)))
        self.assertEqual(self.wire.server.written - before, 127)
        self.assertFalse(self.wire.server.is_reading)
        self.wire.client.resumeProducing()
        self.wire.flush()
        self.assertTrue(self.wire.server.is_reading)


class SignOfLifeTests(PairTestCase):
    def alone(self, inner: Inner) -> tuple[UpgradedConnection, StringTransport]:
        end = UpgradedConnection(ClientFrames(), inner, self.clock)
        transport = StringTransport()
        end.makeConnection(transport)
        return end, transport

    def test_idle(self) -> None:
        """An idle hour is 180 pings each way, and nobody is lost."""
        for _ in range(3600):
            self.clock.advance(1)
            self.wire.flush()
        self.assertEqual([inner.lost for inner in self.inners], [None, None])
        # Each sends its pings, and answers the other's: two octets, and a key at the client.
        self.assertEqual(self.wire.server.written, 2 * 180 * 2)
        self.assertEqual(self.wire.client.written, 2 * 180 * 6)

    def test_interval(self) -> None:
        """A ping comes every 20 seconds."""
        inner = Inner()
        _, transport = self.alone(inner)
        self.clock.advance(19.9)
        self.assertEqual(transport.value(), b"")
        self.clock.advance(0.2)
        self.assertEqual(transport.value()[0], 0x80 | PING)

    def test_silence(self) -> None:
        """Who says nothing for 50 seconds is dead."""
        inner = Inner()
        _, transport = self.alone(inner)
        for _ in range(49):
            self.clock.advance(1)
        self.assertIsNone(inner.lost)
        self.clock.advance(1)
        self.clock.advance(1)
        assert inner.lost is not None
        self.assertTrue(transport.disconnecting or transport.disconnected)

    def test_not_while_we_do_not_listen(self) -> None:
        """Who is not read cannot be heard, and is not given up."""
        inner = Inner()
        end, _ = self.alone(inner)
        end.pauseProducing()
        for _ in range(300):
            self.clock.advance(1)
        end.resumeProducing()
        self.clock.advance(0)
        self.clock.advance(40)
        self.assertIsNone(inner.lost)


class HostileTests(PairTestCase):
    def test_broken(self) -> None:
        """What breaks the rules ends it, with a Close that says why, at either end."""
        for end, inner, octets in (
            (self.client, self.inners[0], b"\x81\x01x"),
            (self.hub, self.inners[1], b"\x82\x05Hello"),
        ):
            end.dataReceived(octets)
            assert inner.lost is not None
            self.assertIsNotNone(inner.lost.check(BrokenFrames))
            end.dataReceived(octets)

    def test_close_and_more(self) -> None:
        """What follows a Close is not heard."""
        client = ClientFrames()
        self.hub.dataReceived(
            client.frame(BINARY, b"a")
            + client.frame(CLOSE, close_payload(1000))
            + client.frame(BINARY, b"b")
            + client.frame(PONG)
        )
        self.assertEqual(self.inners[1].heard, b"a")
        self.assertIsNotNone(self.inners[1].lost)

    def test_no_close_back(self) -> None:
        """Who does not answer our Close is left after five seconds."""
        self.wire.client.pauseProducing()
        self.hub.loseConnection()
        self.assertIsNone(self.inners[1].lost)
        self.clock.advance(5)
        self.assertIsNotNone(self.inners[1].lost)

    @settings(max_examples=100, deadline=None)
    @given(octets=st.binary(max_size=300))
    def test_anything(self, octets: bytes) -> None:
        """Any bytes are frames, or end it."""
        for frames in (ClientFrames(), hub_frames()):
            end = UpgradedConnection(frames, Inner(), self.clock)
            end.makeConnection(StringTransport())
            end.dataReceived(octets)
            end.connectionLost(Failure(ConnectionDone()))
