"""
Routing at the hub's port, with handshakes in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from h2.connection import H2Connection
from h2.events import ResponseReceived
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface.verify import verifyObject

from mezite.hub.router import Router
from mezite.hub.unfinished import YIELDS_AFTER
from mezite.wire.alpn import Route
from mezite.wire.contexts import HubContexts, client_context
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import HUB_NAME, certificate_set
from tests.doubles.link import Link, link


class Greeter(Protocol):
    """An inner server that speaks first, as SSH servers do."""

    def connectionMade(self) -> None:
        self.transport.write(self.factory.greeting)


@define(eq=False)
class Greeters(Factory):
    """A listener of one route."""

    greeting: bytes
    built: int = field(init=False, default=0)

    def buildProtocol(self, addr: Any) -> Greeter:
        self.built += 1
        protocol = Greeter()
        protocol.factory = self
        return protocol


class Hearer(Protocol):
    """A client that keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.is_lost = True


class RouterTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ours = certificate_set()
        self.listeners = {
            route: Greeters(route.value.encode())
            for route in (Route.WEB, Route.SSH, Route.TUNNEL, Route.AUTH)
        }
        self.router = self.make_router()

    def make_router(self, **options: Any) -> Router:
        contexts = HubContexts(
            hub_names=[HUB_NAME], authorities_pem=self.ours.ca_pem, hub=self.ours.hub
        )
        return Router(self.listeners, contexts=contexts, clock=self.clock, **options)

    def dial(self, protocol: bytes, server_name: str | None = None, *, node: bool = False) -> Link:
        self.hearer = Hearer()
        credentials = self.ours.node if node else None
        context = client_context(
            protocol,
            self.ours.ca_pem,
            credentials and credentials.certificate_pem,
            credentials and credentials.key_pem,
        )
        client = TLSTransport(
            context.connection(server_name),
            self.clock,
            Handshake(lambda transport: transport.attach(self.hearer), lambda failure: None),
        )
        server = self.router.buildProtocol(None)
        assert server is not None
        return link(client, server, self.clock)


class RoutingTests(RouterTestCase):
    """The listener that a connection is given."""

    def test_is_a_factory(self) -> None:
        """The router is what a port of Twisted listens with."""
        verifyObject(IProtocolFactory, self.router)

    def test_speaks_first(self) -> None:
        """A listener is chosen as soon as the handshake is done, before the client has spoken."""
        self.dial(b"mezite-ssh")
        self.assertEqual(self.hearer.heard, b"ssh")
        self.assertEqual(self.router.routed, {Route.SSH: 1})
        self.assertEqual(self.router.handshakes, 0)

    def test_each_route(self) -> None:
        """Each name leads to its own listener."""
        for protocol, server_name, heard in (
            (b"h2", HUB_NAME, b"web"),
            (b"http/1.1", None, b"web"),
            (b"mezite-auth", None, b"auth"),
            (b"h2", f"auth.{HUB_NAME}", b"auth"),
            (b"mezite-tunnel", None, b"tunnel"),
        ):
            self.dial(protocol, server_name, node=True)
            self.assertEqual(self.hearer.heard, heard)

    def test_tunnel_without_certificate(self) -> None:
        """Without a node's certificate no listener is built, and the client is dropped."""
        self.dial(b"mezite-tunnel")
        self.assertEqual(self.listeners[Route.TUNNEL].built, 0)
        self.assertTrue(self.hearer.is_lost)
        self.assertEqual(self.hearer.heard, b"")
        self.assertEqual((self.router.handshakes, self.router.handshakes_failed), (0, 1))

    def test_route_without_listener(self) -> None:
        """A route that nobody listens on is closed after the handshake."""
        del self.listeners[Route.SSH]
        self.router = self.make_router()
        self.dial(b"mezite-ssh")
        self.assertTrue(self.hearer.is_lost)
        self.assertEqual(self.router.handshakes, 0)

    def test_listener_that_declines(self) -> None:
        """A listener that builds no protocol closes the connection."""
        self.listeners[Route.SSH].buildProtocol = lambda addr: None
        self.dial(b"mezite-ssh")
        self.assertTrue(self.hearer.is_lost)

    def test_listener_that_breaks(self) -> None:
        """A listener's bug is logged, and costs the one connection."""

        def bug(addr: Any) -> Any:
            raise RuntimeError("a bug")

        self.listeners[Route.SSH].buildProtocol = bug
        self.dial(b"mezite-ssh")
        self.assertTrue(self.hearer.is_lost)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.dial(b"mezite-auth")
        self.assertEqual(self.hearer.heard, b"auth")

    def test_starts_and_stops_its_listeners(self) -> None:
        """Listeners are started and stopped with the port."""
        calls: list[str] = []
        self.listeners[Route.SSH].doStart = lambda: calls.append("start")
        self.listeners[Route.SSH].doStop = lambda: calls.append("stop")
        self.router.doStart()
        self.router.doStop()
        self.assertEqual(calls, ["start", "stop"])


class WebTests(RouterTestCase):
    """twisted.web, as it is, behind the router."""

    def get(self, protocol: bytes, request: bytes) -> bytes:
        page = Data(b"this is a hub", "text/plain")
        root = Resource()
        root.putChild(b"", page)
        self.listeners[Route.WEB] = Site(root, reactor=self.clock)
        self.router = self.make_router()
        wire = self.dial(protocol, HUB_NAME)
        self.hearer.transport.write(request)
        wire.flush()
        return self.hearer.heard

    def test_http_1_1(self) -> None:
        """A page is served over HTTP/1.1, and the site knows that it is secure."""
        heard = self.get(b"http/1.1", b"GET / HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        self.assertIn(b"200 OK", heard)
        self.assertTrue(heard.endswith(b"this is a hub"))
        self.assertTrue(self.hearer.is_lost)

    def test_h2(self) -> None:
        """A page is served over HTTP/2 to who agreed on it."""
        self.addCleanup(_cancel_bodies)
        client = H2Connection()
        client.initiate_connection()
        client.send_headers(
            1,
            [
                (":method", "GET"),
                (":path", "/"),
                (":scheme", "https"),
                (":authority", HUB_NAME),
            ],
            end_stream=True,
        )
        events = client.receive_data(self.get(b"h2", client.data_to_send()))
        # The body follows by Twisted's global reactor, which does not run here.
        statuses = [
            dict(event.headers)[b":status"]
            for event in events
            if isinstance(event, ResponseReceived)
        ]
        self.assertEqual(statuses, [b"200"])

    def test_junk(self) -> None:
        """What is no TLS never reaches the site."""
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 1000):
            server = self.router.buildProtocol(None)
            assert server is not None
            transport = StringTransport()
            server.makeConnection(transport)
            server.dataReceived(junk)
            self.assertTrue(transport.disconnecting)
            server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.router.handshakes, self.router.handshakes_failed), (0, 3))
        self.assertEqual(self.listeners[Route.WEB].built, 0)
        self.assertEqual(self.flushLoggedErrors(), [])


class BoundTests(RouterTestCase):
    """Bounds on handshakes, in time and in number."""

    def test_deadline(self) -> None:
        """Who does not finish the handshake in 10 seconds is dropped."""
        server = self.router.buildProtocol(None)
        assert server is not None
        transport = StringTransport()
        server.makeConnection(transport)
        self.clock.advance(9.9)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(0.2)
        self.assertTrue(transport.disconnecting)
        self.assertEqual((self.router.handshakes, self.router.handshakes_failed), (0, 1))

    def test_no_deadline_after(self) -> None:
        """A finished handshake may stay silent as long as its listener likes."""
        wire = self.dial(b"mezite-auth")
        self.clock.advance(3600)
        wire.flush()
        self.assertFalse(self.hearer.is_lost)

    def test_too_many(self) -> None:
        """Above the bound a connection is refused, until a handshake has ended."""
        self.router = self.make_router(handshakes_at_once=2)
        first, second = (self.router.buildProtocol(None) for _ in range(2))
        assert first is not None
        assert second is not None
        first.makeConnection(StringTransport())
        self.assertIsNone(self.router.buildProtocol(None))
        self.assertEqual(self.router.handshakes_refused, 1)
        first.connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(self.router.buildProtocol(None))

    def come(self, host: str) -> StringTransport | None:
        """A connection from there that says nothing; None if it was not let in."""
        server = self.router.buildProtocol(IPv4Address("TCP", host, 40000))
        if server is None:
            return None
        transport = StringTransport()
        server.makeConnection(transport)
        return transport

    def test_those_who_hold_most_give_way(self) -> None:
        """Two addresses that finish nothing have all places, and keep nobody else out."""
        self.router = self.make_router(handshakes_at_once=8)
        held = [self.come(f"192.0.2.{number % 2}") for number in range(8)]
        self.assertIsNone(self.come("192.0.2.1"))
        # Who began a moment ago may be slow and no worse.
        self.assertIsNone(self.come("203.0.113.1"))
        self.clock.advance(YIELDS_AFTER)
        self.assertIsNone(self.come("192.0.2.1"))
        self.assertIsNotNone(self.come("203.0.113.1"))
        first = held[0]
        assert first is not None
        self.assertTrue(first.disconnected)
        self.assertEqual((self.router.handshakes, self.router.handshakes_failed), (8, 1))
        self.clock.advance(10)
        self.assertEqual(self.router.handshakes, 0)

    def test_in_upgraded_connections(self) -> None:
        """The same holds for the places of those inside of a WebSocket."""
        self.router = self.make_router(handshakes_at_once=16)
        places = [
            self.router.upgraded(IPv4Address("TCP", f"192.0.2.{number % 2}", 1))
            for number in range(4)
        ]
        for place in places:
            assert place is not None
            place.makeConnection(StringTransport())
        self.clock.advance(YIELDS_AFTER)
        self.assertIsNone(self.router.upgraded(IPv4Address("TCP", "192.0.2.1", 1)))
        self.assertIsNotNone(self.router.upgraded(IPv4Address("TCP", "203.0.113.1", 1)))
        self.assertEqual((self.router.handshakes, self.router.upgraded_handshakes), (4, 4))

    def test_finished_ones_do_not_count(self) -> None:
        """Finished connections do not count against the bound."""
        self.router = self.make_router(handshakes_at_once=1)
        for _ in range(5):
            self.dial(b"mezite-auth")
            self.assertEqual(self.hearer.heard, b"auth")


def _cancel_bodies() -> None:
    """Leave nothing on the global reactor, where a test that runs it would find it."""
    from twisted.internet import reactor

    for call in reactor.getDelayedCalls():  # type: ignore[attr-defined]
        if call.func.__name__ == "_sendPrioritisedData":
            call.cancel()
