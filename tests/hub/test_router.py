"""
Routing at the hub's port, with handshakes in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.hub.router import Router
from mezite.wire.alpn import Route
from mezite.wire.contexts import HubContexts, client_context
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
            secured=lambda transport: transport.attach(self.hearer),
            failed=lambda failure: None,
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
