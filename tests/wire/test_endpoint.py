"""
Dialing a hub, on a reactor in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.names import HostPort
from mezite.wire.contexts import HubContexts, client_context
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.error import (
    AlpnLost,
    HandshakeFailed,
    HandshakeTimedOut,
    HubUnreachable,
    TlsBroken,
    why_unreachable,
)
from mezite.wire.websocket import NoHubBehind
from tests.doubles.certificates import HUB_NAME, certificate_set
from tests.doubles.link import Link, link
from tests.doubles.tlsserver import TlsServerFactory
from tests.wire.test_transport import Speaker, contexts

HUB = HostPort("192.0.2.2", 3080)


class DialTestCase(SynchronousTestCase):
    """A client that dials, and what answers."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.inner = Speaker()
        self.served = Speaker()

    def dial(self, protocol: bytes = b"mezite-auth", factory: Any = None) -> Deferred[IProtocol]:
        context = client_context(protocol, certificate_set().ca_pem)
        endpoint = TlsClientEndpoint(self.reactor, HUB, context, server_name=HUB_NAME)
        dialed = endpoint.connect(factory or Factory.forProtocol(lambda: self.inner))
        self.reactor.advance(0)
        return dialed

    def answer(self, server_contexts: HubContexts | None = None) -> Link:
        """Connect what was dialed to a hub."""
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        factory = TlsServerFactory(
            server_contexts or contexts(),
            Factory.forProtocol(lambda: self.served),
            clock=self.reactor,
        )
        return link(client, factory.buildProtocol(None), self.reactor)

    def hang_up_on_upgrade(self) -> None:
        """Be something that ends TLS, and knows of no upgrade."""
        self.reactor.advance(0)
        self.served = Speaker()
        wire = self.answer()
        self.served.transport.loseConnection()
        wire.flush()


class DialTests(DialTestCase):
    """What becomes of a dial."""

    def test_connects(self) -> None:
        """It fires with the inner protocol once the hub has proved itself."""
        dialed = self.dial()
        self.assertNoResult(dialed)
        wire = self.answer()
        self.assertIs(self.successResultOf(dialed), self.inner)
        self.assertEqual(self.served.transport.server_name, HUB_NAME)
        self.inner.transport.write(b"hello")
        wire.flush()
        self.assertEqual(self.served.received, b"hello")

    def test_refused(self) -> None:
        """A port that is closed is an unreachable hub."""
        dialed = self.dial()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(
            None, Failure(ConnectionRefusedError())
        )
        self.reactor.advance(30)
        error = self.failureResultOf(dialed, HubUnreachable).value
        self.assertEqual(str(error).rpartition(": ")[2], "connection refused")

    def test_why(self) -> None:
        """What the system says is said once, in its own words."""
        for error, sentence in (
            (ConnectionRefusedError(osError=111), "connection refused"),
            (NoRouteError(osError=113), "no route to host"),
            (DNSLookupError("no results for hub.test"), "its name cannot be resolved"),
            (TimeoutError(), "it did not answer in time"),
            (ConnectError(string="something else."), "something else"),
        ):
            self.assertTrue(why_unreachable(error).endswith(sentence), why_unreachable(error))

    def test_impostor(self) -> None:
        """Another cluster's hub fails the dial, with a reason in words."""
        theirs = certificate_set("theirs")
        dialed = self.dial()
        self.answer(
            HubContexts(hub_names=[HUB_NAME], authorities_pem=theirs.ca_pem, hub=theirs.hub)
        )
        self.hang_up_on_upgrade()
        error = self.failureResultOf(dialed, HandshakeFailed).value
        self.assertIn("not from an authority that is trusted", str(error))
        self.assertEqual(self.inner.deliveries, 0)

    def test_alpn_lost(self) -> None:
        """A port that does not agree to our name is no hub, or hides one, and that is said."""
        dialed = self.dial(b"mezite-from-the-future")
        self.answer()
        self.hang_up_on_upgrade()
        error = self.failureResultOf(dialed, AlpnLost).value
        self.assertIn("load balancer", str(error))
        self.assertIn("hung up when asked to upgrade", str(error))

    def test_hub_is_away(self) -> None:
        """A balancer that does not reach the hub is believed that, whatever its certificate."""
        theirs = certificate_set("theirs")
        balancer = HubContexts(hub_names=[HUB_NAME], authorities_pem=theirs.ca_pem, hub=theirs.hub)
        dialed = self.dial()
        self.answer(balancer)
        self.reactor.advance(0)
        self.served = Speaker()
        wire = self.answer(balancer)
        self.served.transport.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        wire.flush()
        error = self.failureResultOf(dialed, NoHubBehind).value
        self.assertIn("does not reach the hub: it says 503", str(error))

    def test_silence(self) -> None:
        """A port that accepts and says nothing is given up after the deadline."""
        dialed = self.dial()
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        wire = link(client, Speaker(), self.reactor)
        self.reactor.advance(10)
        wire.flush()
        self.failureResultOf(dialed, HandshakeTimedOut)

    def test_hangs_up(self) -> None:
        """A port that hangs up amid the handshake fails the dial at once."""
        dialed = self.dial()
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        wire = link(client, Speaker(), self.reactor)
        wire.server.loseConnection()
        wire.flush()
        self.failureResultOf(dialed, HandshakeFailed)

    def test_certificate_refused(self) -> None:
        """A refusal of our certificate comes after the dial, and says what it is."""
        dialed = self.dial(b"mezite-tunnel")
        self.answer()
        self.successResultOf(dialed)
        assert self.inner.lost is not None
        self.assertIsInstance(self.inner.lost.value, TlsBroken)
        self.assertIn("certificate required", str(self.inner.lost.value))
        self.assertEqual(self.served.deliveries, 0)

    def test_cancel(self) -> None:
        """Cancelling gives up, whether TCP or TLS is under way."""
        dialed = self.dial()
        dialed.cancel()
        self.failureResultOf(dialed)
        dialed = self.dial()
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        wire = link(client, Speaker(), self.reactor)
        dialed.cancel()
        self.failureResultOf(dialed, CancelledError)
        wire.flush()
        self.assertTrue(wire.client.is_lost)

    def test_no_protocol(self) -> None:
        """A factory that builds nothing, or breaks, fails the dial and hangs up."""

        def bug() -> Any:
            raise RuntimeError("a bug")

        for build in (bug, lambda: None):
            factory = Factory()
            factory.buildProtocol = lambda addr, build=build: build()
            dialed = self.dial(factory=factory)
            wire = self.answer()
            self.failureResultOf(dialed)
            self.assertTrue(wire.client.is_lost)

    def test_says_goodbye(self) -> None:
        """A clean end by the hub is a clean end for the dialer."""
        dialed = self.dial()
        wire = self.answer()
        self.successResultOf(dialed)
        self.served.transport.loseConnection()
        wire.flush()
        assert self.inner.lost is not None
        self.assertIsNotNone(self.inner.lost.check(ConnectionDone))
