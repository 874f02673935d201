"""Tests of what becomes of those who send what is no TLS."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.offenders import _KNOWN, BURST, PER_SECOND, Offenders
from mezite.wire.contexts import client_context
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport
from tests.doubles.link import link
from tests.hub.test_router import Hearer, RouterTestCase


class OffendersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.offenders = Offenders()

    def blame(self, network: str, count: int, now: float = 0.0) -> None:
        for _ in range(count):
            self.offenders.blame(network, now)

    def test_burst(self) -> None:
        """A few are nothing, too many are too many, and only their own address pays."""
        self.blame("192.0.2.1", BURST - 1)
        self.assertFalse(self.offenders.are_too_many("192.0.2.1", 0.0))
        self.blame("192.0.2.1", 1)
        self.assertTrue(self.offenders.are_too_many("192.0.2.1", 0.0))
        self.assertFalse(self.offenders.are_too_many("192.0.2.2", 0.0))

    def test_forgotten(self) -> None:
        """However many there were, it is good again after a second or two, and then forgotten."""
        self.blame("192.0.2.1", 100 * BURST)
        self.assertTrue(self.offenders.are_too_many("192.0.2.1", 0.9))
        self.assertFalse(self.offenders.are_too_many("192.0.2.1", 1.1))
        self.assertFalse(self.offenders.are_too_many("192.0.2.1", 2 + BURST / PER_SECOND))
        self.assertEqual(self.offenders._levels, {})

    def test_table(self) -> None:
        """The table has its bound: who was heard of last stays."""
        for number in range(_KNOWN + 10):
            self.blame(f"192.0.2.{number}", 1)
        self.assertEqual(len(self.offenders._levels), _KNOWN)
        self.assertNotIn("192.0.2.0", self.offenders._levels)


class OffendersAtThePortTests(RouterTestCase):
    """Whom the router blames."""

    ADDRESS = IPv4Address("TCP", "203.0.113.1", 40000)

    def send(self, data: bytes, count: int = 1) -> int:
        """How many of so many connections that send this are let in."""
        for number in range(count):
            server = self.router.buildProtocol(self.ADDRESS)
            if server is None:
                return number
            transport = StringTransport()
            server.makeConnection(transport)
            server.dataReceived(data)
        return count

    def test_junk(self) -> None:
        """Who sends junk again and again is closed at once, until it has stopped for a while."""
        self.assertEqual(self.send(b"GET / HTTP/1.1\r\n\r\n", 2 * BURST), BURST)
        self.assertEqual(self.router.handshakes, 0)
        self.assertEqual(self.router.handshakes_refused, 1)
        self.clock.advance(BURST / PER_SECOND)
        self.assertEqual(self.send(b"", 1), 1)

    def test_large_hello(self) -> None:
        """A ClientHello that is larger than any is junk."""
        head = b"\x16\x03\x01\x00\x04" + b"\x01\xff\xff\xff"
        self.assertEqual(self.send(head, 2 * BURST), BURST)

    def test_refused_is_no_junk(self) -> None:
        """An agent that is refused has sent a handshake: nobody beside it pays for that."""
        client = TLSTransport(
            client_context(b"mezite-tunnel", self.ours.ca_pem).connection(None),
            self.clock,
            Handshake(lambda transport: transport.attach(Hearer()), lambda failure: None),
        )
        server = self.router.buildProtocol(self.ADDRESS)
        assert server is not None
        link(client, server, self.clock)
        self.assertEqual(self.router.handshakes_failed, 1)
        self.assertEqual(self.router._offenders._levels, {})
