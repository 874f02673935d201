"""
Connections through load balancers, with handshakes in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mezite.hub.proxied import ProxiedConnection
from mezite.identity.networks import parse_network
from mezite.wire.alpn import Route
from mezite.wire.contexts import client_context
from mezite.wire.handshake import HANDSHAKE_TIMEOUT, Handshake
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import HUB_NAME
from tests.doubles.link import link
from tests.hub.test_router import Greeters, Hearer, RouterTestCase

BALANCER = IPv4Address("TCP", "10.0.0.9", 40000)
CLIENT = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"


class AddressedGreeters(Greeters):
    """Keeps where its connections came from."""

    address: IAddress | None = None

    def buildProtocol(self, addr: Any) -> Any:
        self.address = addr
        return super().buildProtocol(addr)


class BehindBalancer(Protocol):
    """A client whose bytes a balancer begins with its header."""

    def __init__(self, client: TLSTransport, header: bytes) -> None:
        self.client = client
        self.header = header

    def connectionMade(self) -> None:
        self.transport.write(self.header)
        self.transport.protocol = self.client
        self.client.makeConnection(self.transport)


class ProxiedTests(RouterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.greeters = AddressedGreeters(b"ssh")
        self.listeners[Route.SSH] = self.greeters
        self.router = self.make_router(balancers=(parse_network("10.0.0.0/8"),))

    def connect(self, header: bytes, address: IAddress = BALANCER) -> None:
        self.hearer = Hearer()
        client = TLSTransport(
            client_context(b"mezite-ssh", self.ours.ca_pem).connection(HUB_NAME),
            self.clock,
            Handshake(lambda transport: transport.attach(self.hearer), lambda failure: None),
        )
        server = self.router.buildProtocol(address)
        assert server is not None
        link(BehindBalancer(client, header), server, self.clock)  # type: ignore[arg-type]

    def test_client_address(self) -> None:
        """The listener and the transport see the client that the balancer named."""
        self.connect(CLIENT)
        self.assertEqual(self.hearer.heard, b"ssh")
        self.assertEqual(self.greeters.address, IPv4Address("TCP", "192.0.2.7", 56324))
        self.assertEqual((self.router.headers_awaited, self.router.handshakes), (0, 0))

    def test_for_itself(self) -> None:
        """A balancer that checks our health is itself."""
        self.connect(b"PROXY UNKNOWN\r\n")
        self.assertEqual(self.hearer.heard, b"ssh")
        self.assertEqual(self.greeters.address, BALANCER)

    def test_stranger(self) -> None:
        """From others a header is no TLS, and is believed by nobody."""
        self.connect(CLIENT, IPv4Address("TCP", "203.0.113.1", 40000))
        self.assertEqual(self.hearer.heard, b"")
        self.assertEqual(self.greeters.built, 0)
        self.assertEqual(self.router.handshakes_failed, 1)

    def test_no_header(self) -> None:
        """A balancer without a header is dropped."""
        self.connect(b"")
        self.assertEqual(self.greeters.built, 0)
        self.assertEqual(self.router.headers_awaited, 0)

    def raw(self) -> tuple[ProxiedConnection, StringTransport]:
        server = self.router.buildProtocol(BALANCER)
        assert isinstance(server, ProxiedConnection)
        transport = StringTransport()
        server.makeConnection(transport)
        return server, transport

    def test_slow(self) -> None:
        """A header that does not come is waited for as long as a handshake."""
        server, transport = self.raw()
        server.dataReceived(CLIENT[:20])
        self.clock.advance(HANDSHAKE_TIMEOUT)
        self.assertTrue(transport.disconnected)
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.router.headers_awaited, 0)

    def test_hangs_up(self) -> None:
        """A balancer that hangs up in its header leaves nothing behind."""
        server, _ = self.raw()
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.router.headers_awaited, self.clock.getDelayedCalls()), (0, []))

    def test_too_many(self) -> None:
        """Headers that are awaited are bounded, and so are handshakes of each client."""
        self.router = self.make_router(
            balancers=(parse_network("10.0.0.0/8"),), handshakes_at_once=2
        )
        (first, transport), second = self.raw(), self.raw()
        self.assertIsNone(self.router.buildProtocol(BALANCER))
        first.dataReceived(CLIENT)
        self.assertFalse(transport.disconnected)
        second[0].dataReceived(CLIENT)
        self.assertTrue(second[1].disconnected)
