"""
TLS transports, ours at both ends, over a connection in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.wire.contexts import ClientContext, HubContexts, client_context, outer_context
from mezite.wire.error import HandshakeFailed, HandshakeTimedOut, TlsBroken
from mezite.wire.handshake import Handshake
from mezite.wire.tlsstate import TRANSITIONS, Input, State
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import HUB_NAME, certificate_set, leaf_of
from tests.doubles.handmade import (
    APPLICATION_DATA,
    HANDSHAKE,
    KEY_UPDATE_REQUESTED,
    HandMadeRecords,
    watch_secrets,
)
from tests.doubles.link import Link, link


@define(eq=False)
class Speaker(Protocol):
    """An inner protocol that keeps what it is told."""

    received: bytearray = field(init=False, factory=bytearray)
    deliveries: int = field(init=False, default=0)
    lost: Failure | None = field(init=False, default=None)

    def dataReceived(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.received += data
        self.deliveries += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None
        self.lost = reason


@implementer(IHalfCloseableProtocol)
@define(eq=False)
class HalfCloser(Speaker):
    """The same, for one who takes each direction's end by itself."""

    is_read_lost: bool = field(init=False, default=False)
    is_write_lost: bool = field(init=False, default=False)

    def readConnectionLost(self) -> None:
        self.is_read_lost = True

    def writeConnectionLost(self) -> None:
        self.is_write_lost = True


class Pauser(HalfCloser):
    """One who is not ready when the handshake is."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


@implementer(IPushProducer)
@define(eq=False)
class Producer:
    """Writes as much as it may, up to a total."""

    consumer: Any
    total: int
    is_paused: bool = field(init=False, default=True)
    stops: int = field(init=False, default=0)

    def resumeProducing(self) -> None:
        self.is_paused = False
        while not self.is_paused and self.total:
            piece = b"x" * min(self.total, 50_000)
            self.total -= len(piece)
            self.consumer.write(piece)
        if not self.total:
            self.consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self.is_paused = True

    def stopProducing(self) -> None:
        self.is_paused = True
        self.stops += 1


@implementer(IPullProducer)
@define(eq=False)
class PullProducer:
    """Writes one piece each time it is asked."""

    consumer: Any
    left: int

    def resumeProducing(self) -> None:
        self.consumer.write(b"x" * 10_000)
        self.left -= 1
        if not self.left:
            self.consumer.unregisterProducer()

    def stopProducing(self) -> None:
        pass


@define(eq=False)
class Side:
    """One TLS transport, and what became of its handshake."""

    inner: Any
    tls: TLSTransport = field(init=False)
    secured: int = field(init=False, default=0)
    failures: list[Failure] = field(init=False, factory=list)

    def on_secured(self, transport: TLSTransport) -> None:
        self.secured += 1
        if self.inner is not None:
            transport.attach(self.inner)


def contexts() -> HubContexts:
    ours = certificate_set()
    return HubContexts(hub_names=[HUB_NAME], authorities_pem=ours.ca_pem, hub=ours.hub)


class TransportTestCase(SynchronousTestCase):
    """A client and a server, with handshakes done."""

    def setUp(self) -> None:
        self.clock = Clock()

    def connect(
        self,
        client: Any,
        server: Any,
        *,
        flush: bool = True,
        context: ClientContext | None = None,
    ) -> Link:
        if context is None:
            context = client_context(b"mezite-auth", certificate_set().ca_pem)
        self.client = Side(client)
        self.server = Side(server)
        for side, connection in (
            (self.client, context.connection(None)),
            (self.server, contexts().serverConnectionForTLS(self)),
        ):
            side.tls = TLSTransport(
                connection, self.clock, Handshake(side.on_secured, side.failures.append)
            )
        return link(self.client.tls, self.server.tls, self.clock, flush=flush)


class HandshakeTests(TransportTestCase):
    """What is known once the handshake is done, and what happens when it is not."""

    def test_known(self) -> None:
        """The ALPN name, the server name and the peers' certificates are known by then."""
        self.connect(Speaker(), Speaker())
        self.assertEqual((self.client.secured, self.server.secured), (1, 1))
        self.assertEqual(self.server.tls.negotiatedProtocol, b"mezite-auth")
        self.assertIsNone(self.server.tls.peer_certificate)
        self.assertEqual(self.client.tls.peer_certificate, leaf_of(certificate_set().hub))
        self.assertIsNone(self.server.tls.getPeerCertificate())
        self.assertIsNotNone(self.client.tls.getPeerCertificate())

    def test_interfaces(self) -> None:
        """It is all that Twisted expects of a TLS transport."""
        self.connect(Speaker(), Speaker())
        for interface in (ISSLTransport, IConsumer, IPushProducer, IHalfCloseableProtocol):
            verifyObject(interface, self.server.tls)

    def test_nobody_speaks(self) -> None:
        """A connection to which nobody is attached closes."""
        wire = self.connect(Speaker(), None)
        self.assertTrue(wire.server.is_lost)
        self.assertIsNotNone(self.client.inner.lost)
        self.assertEqual(self.server.failures, [])

    def lone_server(self) -> StringTransport:
        self.server = Side(Speaker())
        self.server.tls = TLSTransport(
            contexts().serverConnectionForTLS(self),
            self.clock,
            Handshake(self.server.on_secured, self.server.failures.append),
        )
        transport = StringTransport()
        self.server.tls.makeConnection(transport)
        return transport

    def test_junk(self) -> None:
        """What is not TLS is dropped at once, and never becomes a connection."""
        for junk in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\0" * 64,
            b"\xff" * 70_000,
            b"\x16\x03\x01\xff\xff" + b"A" * 70_000,
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        ):
            with self.subTest(junk[:8]):
                transport = self.lone_server()
                self.server.tls.dataReceived(junk)
                self.assertTrue(transport.disconnecting)
                self.assertIsInstance(self.server.failures[0].value, HandshakeFailed)
                self.server.tls.dataReceived(junk)
                self.server.tls.connectionLost(Failure(ConnectionDone()))
                self.assertEqual((self.server.secured, len(self.server.failures)), (0, 1))

    def test_slow(self) -> None:
        """A peer that sends a byte now and then is dropped at the deadline."""
        transport = self.lone_server()
        for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc":
            self.clock.advance(1)
            self.server.tls.dataReceived(bytes([octet]))
        self.assertFalse(transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(transport.disconnecting)
        self.assertIsInstance(self.server.failures[0].value, HandshakeTimedOut)
        self.server.tls.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.server.failures), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_chunking(self) -> None:
        """A handshake that arrives byte by byte succeeds all the same."""
        wire = self.connect(Speaker(), Speaker(), flush=False)
        hello = bytes(wire.client.out)
        wire.client.out.clear()
        for octet in hello:
            self.server.tls.dataReceived(bytes([octet]))
        wire.flush()
        self.assertEqual((self.client.secured, self.server.secured), (1, 1))

    def test_certificate_that_nobody_reads(self) -> None:
        """Where nothing is verified, a certificate may be one that only OpenSSL takes for one."""
        theirs = certificate_set("theirs").hub
        octets = leaf_of(theirs).public_bytes(Encoding.DER)
        # Of version 4, which there is none of (RFC 5280, section 4.1.2.1).
        unknown = octets.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"), 1)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, unknown))
        context.use_privatekey(load_pem_private_key(theirs.key_pem, None))
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        client, server = Side(Speaker()), Side(Speaker())
        for side, begun in ((client, outer_context().connection(None)), (server, connection)):
            side.tls = TLSTransport(
                begun, self.clock, Handshake(side.on_secured, side.failures.append)
            )
        wire = link(client.tls, server.tls, self.clock)
        self.assertEqual((client.secured, len(client.failures)), (0, 1))
        self.assertIn("damaged", str(client.failures[0].value))
        self.clock.advance(6)
        wire.flush()
        self.assertTrue(wire.client.is_lost)

    def test_gives_up(self) -> None:
        """A peer that hangs up amid the handshake is a failed handshake, once."""
        self.lone_server()
        self.server.tls.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.server.failures), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lingers_no_longer_than_it_must(self) -> None:
        """A peer that was refused and stays is cut off after a while."""
        wire = self.connect(Speaker(), Speaker(), flush=False)
        wire.client.out[:] = b"junk that is long enough to be told from TLS"
        wire.client.step()
        wire.server.step()
        wire.server.step()
        self.assertFalse(wire.server.is_lost)
        self.clock.advance(6)
        wire.flush()
        self.assertTrue(wire.server.is_lost)


class BytesTests(TransportTestCase):
    """What goes in at one end comes out at the other."""

    def test_both_ways(self) -> None:
        """Bytes written by one side arrive whole at the other, both ways at once."""
        wire = self.connect(Speaker(), Speaker())
        data = bytes(range(256)) * 4096
        self.client.tls.write(data)
        self.server.tls.write(data[::-1])
        wire.flush()
        self.assertEqual(self.server.inner.received, data)
        self.assertEqual(self.client.inner.received, data[::-1])

    def test_one_delivery_each_read(self) -> None:
        """All that one read of the socket holds is delivered at once."""
        wire = self.connect(Speaker(), Speaker())
        self.client.tls.write(b"x" * 200_000)
        sealed = bytes(wire.client.out)
        wire.client.out.clear()
        self.server.tls.dataReceived(sealed)
        self.assertEqual(self.server.inner.deliveries, 1)
        self.assertEqual(len(self.server.inner.received), 200_000)

    def test_turn(self) -> None:
        """The small writes of one turn become one record."""
        wire = self.connect(Speaker(), Speaker())
        before = wire.client.written
        for _ in range(100):
            self.client.tls.write(b"x")
        self.assertEqual(wire.client.written, before)
        wire.flush()
        self.assertEqual(wire.client.written - before, 100 + 22)
        self.assertEqual(self.server.inner.deliveries, 1)

    # The test is inherited, which hypothesis would rather know.
    @settings(
        max_examples=15,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors],
    )
    @given(st.lists(st.binary(max_size=40_000), max_size=8), st.integers(1, 9_000))
    def test_chunking(self, pieces: list[bytes], cut: int) -> None:
        """However they were written and however they arrive, the bytes are the same."""
        self.clock = Clock()
        wire = self.connect(Speaker(), Speaker())
        self.client.tls.writeSequence(pieces)
        self.clock.advance(0)
        sealed = bytes(wire.client.out)
        wire.client.out.clear()
        for start in range(0, len(sealed), cut):
            self.server.tls.dataReceived(sealed[start : start + cut])
        self.assertEqual(self.server.inner.received, b"".join(pieces))

    def test_broken(self) -> None:
        """A record that was tampered with ends the connection with an error, and is not heard."""
        wire = self.connect(Speaker(), Speaker())
        self.client.tls.write(b"transfer 1 to ada")
        self.clock.advance(0)
        wire.client.out[-1] ^= 1
        wire.flush()
        self.assertEqual(self.server.inner.received, b"")
        self.assertIsInstance(self.server.inner.lost.value, TlsBroken)
        self.assertFalse(self.client.inner.lost.check(ConnectionDone))

    def test_garbage(self) -> None:
        """Bytes that are no records end a finished connection too."""
        wire = self.connect(Speaker(), Speaker())
        self.server.tls.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
        wire.flush()
        self.assertIsInstance(self.server.inner.lost.value, TlsBroken)


class ClosingTests(TransportTestCase):
    """Every way in which a connection ends."""

    def test_clean(self) -> None:
        """loseConnection sends what was written, and both sides end cleanly."""
        wire = self.connect(Speaker(), Speaker())
        self.client.tls.write(b"last words")
        self.client.tls.loseConnection()
        self.client.tls.write(b"too late")
        self.assertTrue(self.client.tls.disconnecting)
        wire.flush()
        self.assertEqual(self.server.inner.received, b"last words")
        for side in (self.client, self.server):
            self.assertIsNotNone(side.inner.lost.check(ConnectionDone))
            self.assertIs(side.tls.state, State.LOST)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_half_close(self) -> None:
        """A direction that one side finished leaves the other direction open."""
        wire = self.connect(HalfCloser(), HalfCloser())
        self.client.tls.write(b"question")
        self.client.tls.loseWriteConnection()
        self.client.tls.write(b"too late")
        wire.flush()
        self.assertTrue(self.client.inner.is_write_lost)
        self.assertTrue(self.server.inner.is_read_lost)
        self.assertEqual(self.server.inner.received, b"question")
        self.server.tls.write(b"answer")
        self.server.tls.loseConnection()
        wire.flush()
        self.assertEqual(self.client.inner.received, b"answer")
        self.assertTrue(self.client.inner.is_read_lost)
        for side in (self.client, self.server):
            self.assertIsNotNone(side.inner.lost.check(ConnectionDone))

    def test_half_close_both(self) -> None:
        """When both sides have finished writing, the connection is over."""
        wire = self.connect(HalfCloser(), HalfCloser())
        self.client.tls.loseWriteConnection()
        self.server.tls.loseWriteConnection()
        wire.flush()
        self.assertTrue(wire.client.is_lost)
        self.assertTrue(wire.server.is_lost)
        for side in (self.client, self.server):
            self.assertTrue(side.inner.is_read_lost)
            self.assertIsNotNone(side.inner.lost.check(ConnectionDone))

    def test_not_half_closeable(self) -> None:
        """Who knows no half-close is closed when the peer has finished."""
        wire = self.connect(HalfCloser(), Speaker())
        self.client.tls.loseWriteConnection()
        wire.flush()
        self.assertIsNotNone(self.server.inner.lost.check(ConnectionDone))
        self.assertTrue(self.client.inner.is_read_lost)

    def test_abort(self) -> None:
        """An abort is unclean for both."""
        wire = self.connect(HalfCloser(), HalfCloser())
        self.client.tls.abortConnection()
        wire.flush()
        for side in (self.client, self.server):
            self.assertIsNone(side.inner.lost.check(ConnectionDone))
        self.assertFalse(self.server.inner.is_read_lost)
        self.client.tls.abortConnection()
        self.client.tls.loseConnection()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_truncated(self) -> None:
        """TCP's end without close_notify is no clean end: somebody may have cut it off."""
        for inner in (Speaker(), HalfCloser()):
            wire = self.connect(HalfCloser(), inner)
            self.client.tls.write(b"half a fi")
            self.clock.advance(0)
            wire.client.loseConnection()
            wire.client.producer = None
            wire.flush()
            self.assertEqual(self.server.inner.received, b"half a fi")
            self.assertIsNotNone(self.server.inner.lost.check(ConnectionLost))

    def test_reset(self) -> None:
        """A connection that the network lost is lost uncleanly."""
        wire = self.connect(Speaker(), Speaker())
        wire.server.lose(ConnectionLost())
        self.assertIsNotNone(self.server.inner.lost.check(ConnectionLost))
        self.server.tls.write(b"into the void")
        self.server.tls.loseConnection()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_mute_peer(self) -> None:
        """A peer that never answers close_notify is cut off, and nobody waits for it."""
        wire = self.connect(HalfCloser(), Speaker())
        self.server.tls.loseConnection()
        wire.flush()
        self.assertTrue(self.client.inner.is_read_lost)
        self.assertIsNotNone(self.server.inner.lost.check(ConnectionDone))
        self.assertFalse(wire.server.is_lost)
        self.clock.advance(5)
        wire.flush()
        self.assertTrue(wire.server.is_lost)

    def test_peer_that_goes_on(self) -> None:
        """Who closed hears nothing more, even from a peer that goes on sending."""
        wire = self.connect(HalfCloser(), Speaker())
        self.server.tls.loseConnection()
        self.client.tls.write(b"and another thing" * 10_000)
        wire.flush()
        self.assertEqual(self.server.inner.received, b"")

    def test_close_in_the_midst(self) -> None:
        """An inner protocol may close or abort from within any of its callbacks."""
        for method in ("loseConnection", "abortConnection", "loseWriteConnection"):
            for moment in ("connectionMade", "dataReceived", "readConnectionLost"):
                self.clock = Clock()
                inner = HalfCloser()
                setattr(
                    inner, moment, lambda *_, inner=inner, m=method: getattr(inner.transport, m)()
                )
                with self.subTest(f"{method} in {moment}"):
                    wire = self.connect(HalfCloser(), inner)
                    self.client.tls.write(b"hello")
                    wire.flush()
                    self.client.tls.loseConnection()
                    wire.flush()
                    inner.transport.loseConnection()
                    wire.flush()
                    self.assertIsNotNone(self.client.inner.lost)
                    self.assertIsNotNone(inner.lost)


class FloodTests(TransportTestCase):
    """A peer whose records cost much and carry nothing."""

    def test_key_updates(self) -> None:
        """New keys are made and answered as asked for; little is read at once meanwhile."""
        context = client_context(b"mezite-auth", certificate_set().ca_pem)
        secrets = watch_secrets(context._context)
        wire = self.connect(Speaker(), Speaker(), context=context)
        byhand = HandMadeRecords(secrets["CLIENT_TRAFFIC_SECRET_0"])
        self.server.tls.dataReceived(byhand.seal(APPLICATION_DATA, b"x" * 16_000))
        bulk = b"".join(byhand.seal(APPLICATION_DATA, b"x" * 16_000) for _ in range(4))
        self.server.tls.dataReceived(bulk)
        self.assertFalse(self.server.tls._carrier.is_cautious)
        flood = b"".join(byhand.seal(HANDSHAKE, KEY_UPDATE_REQUESTED) for _ in range(1_300))
        before = wire.server.written
        self.server.tls.dataReceived(flood)
        self.assertTrue(self.server.tls._carrier.is_cautious)
        self.assertLessEqual(wire.server.written - before, len(flood))
        self.server.tls.dataReceived(byhand.seal(APPLICATION_DATA, b"still here"))
        self.assertTrue(self.server.inner.received.endswith(b"still here"))

    def test_unread_answers(self) -> None:
        """A peer that asks for new keys and reads no answer is not read any more."""
        context = client_context(b"mezite-auth", certificate_set().ca_pem)
        secrets = watch_secrets(context._context)
        wire = self.connect(Speaker(), Speaker(), context=context)
        byhand = HandMadeRecords(secrets["CLIENT_TRAFFIC_SECRET_0"])
        wire.client.pauseProducing()
        for _ in range(100):
            if not wire.server.is_reading:
                break
            flood = b"".join(byhand.seal(HANDSHAKE, KEY_UPDATE_REQUESTED) for _ in range(100))
            self.server.tls.dataReceived(flood)
        self.assertFalse(wire.server.is_reading)
        self.assertLess(len(wire.server.out), 128 * 1024)


class StateTests(SynchronousTestCase):
    """The table of states."""

    def test_every_pair(self) -> None:
        """Every state but the last can be lost, and nothing leads out of the last."""
        for state in State:
            self.assertEqual((state, Input.TCP_LOST) in TRANSITIONS, state is not State.LOST)
        self.assertNotIn(State.LOST, {state for state, _ in TRANSITIONS})


class PressureTests(TransportTestCase):
    """Bounds on what waits, in both directions."""

    def test_writer_waits(self) -> None:
        """A producer is paused while the socket is full, and goes on when it is not."""
        wire = self.connect(Speaker(), Speaker())
        wire.client.pauseProducing()
        producer = Producer(self.server.tls, total=4_000_000)
        self.server.tls.registerProducer(producer, True)
        producer.resumeProducing()
        wire.flush()
        self.assertLess(wire.server.most_buffered, 600_000)
        self.assertTrue(producer.is_paused)
        wire.client.resumeProducing()
        wire.flush()
        self.assertEqual(len(self.client.inner.received), 4_000_000)

    def test_pull_producer(self) -> None:
        """A producer that waits to be asked is asked until it has no more."""
        wire = self.connect(Speaker(), Speaker())
        producer = PullProducer(self.server.tls, 30)
        self.server.tls.registerProducer(producer, False)
        wire.flush()
        self.assertEqual(self.client.inner.received, b"x" * 300_000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_waits_for_the_producer(self) -> None:
        """loseConnection lets a registered producer finish."""
        wire = self.connect(Speaker(), Speaker())
        producer = Producer(self.server.tls, total=1_000_000)
        self.server.tls.registerProducer(producer, True)
        self.server.tls.loseConnection()
        wire.flush()
        self.assertIsNone(self.client.inner.lost)
        producer.resumeProducing()
        wire.flush()
        self.assertEqual(len(self.client.inner.received), 1_000_000)
        self.assertIsNotNone(self.client.inner.lost.check(ConnectionDone))

    def test_producer_of_a_lost_connection(self) -> None:
        """A producer is stopped with the connection, and refused after it."""
        wire = self.connect(Speaker(), Speaker())
        producer = Producer(self.server.tls, total=1)
        self.server.tls.registerProducer(producer, True)
        self.assertRaises(RuntimeError, self.server.tls.registerProducer, producer, True)
        self.client.tls.abortConnection()
        wire.flush()
        self.assertEqual(producer.stops, 1)
        self.server.tls.registerProducer(producer, True)
        self.assertEqual(producer.stops, 2)

    def test_reader_waits(self) -> None:
        """While the inner protocol has paused, nothing is delivered and TCP is not read."""
        wire = self.connect(HalfCloser(), HalfCloser())
        self.client.tls.pauseProducing()
        self.assertFalse(wire.client.is_reading)
        self.server.tls.write(b"x" * 10)
        self.server.tls.loseWriteConnection()
        wire.flush()
        self.assertEqual(self.client.inner.received, b"")
        self.assertFalse(self.client.inner.is_read_lost)
        self.client.tls.resumeProducing()
        wire.flush()
        self.assertEqual(self.client.inner.received, b"x" * 10)
        self.assertTrue(self.client.inner.is_read_lost)

    def test_paused_at_once(self) -> None:
        """What came with the end of the handshake waits for who paused at its beginning."""
        inner = Pauser()
        wire = self.connect(Speaker(), inner, flush=False)
        self.client.inner.connectionMade = lambda: self.client.tls.write(b"early")
        wire.flush()
        self.assertEqual(inner.received, b"")
        successor = Speaker()
        self.server.tls.attach(successor)
        self.server.tls.resumeProducing()
        wire.flush()
        self.assertEqual((inner.received, successor.received), (b"", b"early"))

    def test_truncated_while_paused(self) -> None:
        """An end that came while paused is heard after what came before it."""
        wire = self.connect(HalfCloser(), Pauser())
        self.client.tls.write(b"x")
        self.clock.advance(0)
        # A transport that does not care for being paused, as iosim's.
        self.server.tls.dataReceived(bytes(wire.client.out))
        self.server.tls.readConnectionLost()
        self.assertEqual(self.server.inner.received, b"")
        self.server.tls.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.server.inner.received, b"x")
        wire.flush()
        self.assertIsNotNone(self.server.inner.lost.check(ConnectionLost))

    def test_attach_too_late(self) -> None:
        """Who is attached to a connection that is gone hears of it."""
        wire = self.connect(Speaker(), Speaker())
        self.client.tls.abortConnection()
        wire.flush()
        late = Speaker()
        self.server.tls.attach(late)
        self.assertIsNotNone(late.lost)
