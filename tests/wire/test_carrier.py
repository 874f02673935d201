"""
TLS on Twisted's own TCP transport, with sockets that take little or break.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.carrier import (
    CAUTIOUS_READ_SIZE,
    READ_SIZE,
    SocketCarrier,
    TransportCarrier,
    carrier_of,
)
from mezite.wire.contexts import client_context
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import certificate_set
from tests.doubles.sockets import SocketPair, socket_pair
from tests.wire.test_transport import HalfCloser, Producer, Speaker, contexts


class CarrierTestCase(SynchronousTestCase):
    """A carrier on one end of a connection; what it does is written down."""

    def carry(self, room: int) -> SocketPair:
        self.far = Speaker()
        pair = socket_pair(Protocol(), self.far, MemoryReactorClock(), room=room)
        self.heard: list[Any] = []
        self.carrier = carrier_of(
            pair.ends[0],
            receive=lambda data: self.heard.append(bytes(data)),
            full=lambda: self.heard.append("full"),
            relieved=lambda: self.heard.append("relieved"),
            seconds=pair.reactor.seconds,
        )
        return pair


class SendingTests(CarrierTestCase):
    """What is sent leaves at once, as far as there is room."""

    def test_at_once(self) -> None:
        """Bytes that the socket takes do not wait for the reactor."""
        pair = self.carry(100)
        self.assertIsInstance(self.carrier, SocketCarrier)
        self.carrier.send([b"a" * 10, memoryview(b"b" * 10)])
        self.assertEqual(pair.sockets[1].arrived, b"a" * 10 + b"b" * 10)
        self.assertEqual(pair.reactor.getWriters(), [])
        self.assertEqual(self.heard, [])

    def test_full(self) -> None:
        """What does not fit waits, with all that comes behind it, and it is said once."""
        pair = self.carry(10)
        part = bytearray(b"0123456789abc")
        self.carrier.send([memoryview(part), b"def"])
        part[:] = b"another's now"
        self.assertEqual(self.heard, ["full"])
        self.assertEqual(pair.sockets[1].arrived, b"0123456789")
        self.carrier.send([b"ghi"])
        pair.run()
        self.assertEqual(self.far.received, b"0123456789abcdefghi")
        self.assertEqual(self.heard, ["full", "relieved"])

    def test_broken(self) -> None:
        """A socket that is gone is found by the transport, which tells everybody."""
        pair = self.carry(10)
        pair.sockets[0].broken = ConnectionResetError(104, "reset")
        self.carrier.send([b"x"])
        self.assertIs(pair.ends[0].doWrite(), CONNECTION_LOST)

    def test_released(self) -> None:
        """What waits still goes when nobody is told any more."""
        pair = self.carry(10)
        self.carrier.send([b"0123456789abc"])
        self.carrier.release()
        pair.run()
        self.assertEqual(self.far.received, b"0123456789abc")
        self.assertEqual(self.heard, ["full"])


class ReceivingTests(CarrierTestCase):
    """What the reactor is told of a read."""

    def test_read(self) -> None:
        """One read takes what is there, up to its size; none there is no news."""
        pair = self.carry(2 * READ_SIZE)
        self.carrier.is_cautious = False
        pair.sockets[0].arrived += b"x" * (READ_SIZE + 1)
        self.assertIsNone(pair.ends[0].doRead())
        self.assertIsNone(pair.ends[0].doRead())
        self.assertIsNone(pair.ends[0].doRead())
        self.assertEqual(self.heard, [b"x" * READ_SIZE, b"x"])

    def test_cautious(self) -> None:
        """Little is read at once from a connection of which little has come so far."""
        pair = self.carry(2 * READ_SIZE)
        pair.sockets[0].arrived += b"x" * (CAUTIOUS_READ_SIZE + 1)
        pair.ends[0].doRead()
        self.assertEqual(self.heard, [b"x" * CAUTIOUS_READ_SIZE])

    def test_ends(self) -> None:
        """The end of the connection and its loss are what Twisted calls them."""
        pair = self.carry(10)
        pair.sockets[0].is_ended = True
        self.assertIs(pair.ends[0].doRead(), CONNECTION_DONE)
        pair.sockets[0].broken = ConnectionResetError(104, "reset")
        self.assertIs(pair.ends[0].doRead(), CONNECTION_LOST)

    def test_another_transport(self) -> None:
        """What is not Twisted's TCP transport is used as it is."""

        class Other(Protocol):
            def registerProducer(self, producer: Any, streaming: bool) -> None:
                self.producer = producer

        other = Other()
        carrier = carrier_of(
            other,
            receive=lambda data: None,
            full=lambda: None,
            relieved=lambda: None,
            seconds=lambda: 0.0,
        )
        self.assertIsInstance(carrier, TransportCarrier)
        self.assertIs(other.producer, carrier)


class ConversationTests(SynchronousTestCase):
    """All of a TLS connection over sockets that take little at a time."""

    def test_conversation(self) -> None:
        """Bytes go both ways, producers wait, and both ends close in good order."""
        for room in (700, 20_000, 3_000_000):
            with self.subTest(room):
                self.converse(room)

    def converse(self, room: int) -> None:
        heard = HalfCloser(), HalfCloser()
        reactor = MemoryReactorClock()
        context = client_context(b"mezite-auth", certificate_set().ca_pem)
        connections = context.connection(None), contexts().serverConnectionForTLS(self)
        client, server = (
            TLSTransport(connection, reactor, Handshake(inner, lambda failure: None))
            for inner, connection in zip(
                (lambda tls: tls.attach(heard[0]), lambda tls: tls.attach(heard[1])),
                connections,
                strict=True,
            )
        )
        pair = socket_pair(client, server, reactor, room=room)
        pair.run()
        producer = Producer(client, total=1_000_000)
        client.registerProducer(producer, True)
        producer.resumeProducing()
        self.assertEqual(producer.is_paused, room < 1_000_000)
        server.write(b"y" * 300_000)
        pair.run()
        self.assertEqual(heard[1].received, b"x" * 1_000_000)
        self.assertEqual(heard[0].received, b"y" * 300_000)
        for side in (client, server):
            side.loseConnection()
            pair.run()
        for inner in heard:
            assert inner.lost is not None
            self.assertIsNotNone(inner.lost.check(ConnectionDone))
        self.assertEqual(reactor.getDelayedCalls(), [])
