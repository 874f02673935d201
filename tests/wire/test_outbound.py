"""
Tests of connections through a proxy, without a network.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.names import HostPort
from mezite.wire.forwardproxy import ProxyBroken, ProxyRefused, parse_proxy
from mezite.wire.outbound import ThroughProxy, way_to
from tests.doubles.hubworld import Heard

HUB = HostPort("hub.example.com", 443)
PROXY = parse_proxy("http://proxy:3128", "HTTPS_PROXY")
OPEN = b"HTTP/1.1 200 OK\r\n\r\n"


@implementer(IStreamClientEndpoint)
@define(eq=False)
class ProxyEndpoint:
    """A proxy that answers by hand."""

    refusal: Exception | None = None
    transport: StringTransport = field(
        init=False, factory=lambda: StringTransport(IPv4Address("TCP", "10.0.0.1", 3128))
    )
    protocol: Any = field(init=False, default=None)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        if self.refusal is not None:
            return fail(self.refusal)
        self.protocol = protocolFactory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.protocol  # type: ignore[attr-defined]
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)

    def answer(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)  # type: ignore[attr-defined]


class ThroughProxyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.proxy = ProxyEndpoint()
        self.heard = Heard()
        self.connecting = self.connect()

    def connect(self) -> Deferred[IProtocol]:
        way = ThroughProxy(self.proxy, PROXY, HUB, self.clock, 8.0)
        verifyObject(IStreamClientEndpoint, way)
        return way.connect(Factory.forProtocol(lambda: self.heard))

    def test_connected(self) -> None:
        """The inner protocol begins when the proxy has connected, and gets what came with it."""
        self.assertIn(b"CONNECT hub.example.com:443 ", self.proxy.transport.value())
        self.proxy.answer(OPEN[:9])
        self.assertNoResult(self.connecting)
        self.proxy.answer(OPEN[9:] + b"first")
        self.assertIs(self.successResultOf(self.connecting), self.heard)
        self.proxy.answer(b" and more")
        self.assertEqual(self.heard.data, b"first and more")
        self.assertIs(self.heard.transport, self.proxy.transport)

    def test_refused(self) -> None:
        """A proxy that says no is quoted, and its connection dropped."""
        self.proxy.answer(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        self.failureResultOf(self.connecting, ProxyRefused)
        self.assertTrue(self.proxy.transport.disconnected)

    def test_no_proxy(self) -> None:
        """What is no proxy is dropped."""
        self.proxy.answer(b"220 mail.example.com ESMTP\r\n")
        self.failureResultOf(self.connecting, ProxyBroken)
        self.assertTrue(self.proxy.transport.disconnected)

    def test_hangs_up(self) -> None:
        """A proxy that hangs up has refused."""
        self.proxy.protocol.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.connecting, ProxyRefused)

    def test_cancelled(self) -> None:
        """Nobody who gave up leaves a connection behind."""
        self.connecting.cancel()
        self.failureResultOf(self.connecting)
        self.assertTrue(self.proxy.transport.disconnected)
        self.proxy.protocol.connectionLost(Failure(ConnectionDone()))

    def test_silent(self) -> None:
        """A proxy that takes the connection and says nothing is given up, and named."""
        self.clock.advance(7.9)
        self.assertNoResult(self.connecting)
        self.clock.advance(0.1)
        error = self.failureResultOf(self.connecting, ProxyRefused).value
        self.assertEqual(
            str(error),
            "the proxy http://proxy:3128 has not connected to hub.example.com:443 within 8 s",
        )
        self.assertTrue(self.proxy.transport.disconnected)
        self.proxy.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_deadline_after(self) -> None:
        """A proxy that has connected has no deadline any more."""
        self.proxy.answer(OPEN)
        self.successResultOf(self.connecting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_there(self) -> None:
        """A proxy that is not there is named."""
        self.proxy.refusal = ConnectionRefusedError()
        failure = self.failureResultOf(self.connect(), ProxyRefused)
        self.assertEqual(
            str(failure.value), "the proxy http://proxy:3128 cannot be reached: connection refused"
        )

    def test_way(self) -> None:
        """The environment decides which way is taken."""
        reactor = MemoryReactorClock()
        direct = way_to(reactor, HUB, timeout=1, environ={})
        self.assertIsInstance(direct, HostnameEndpoint)
        environ = {"HTTPS_PROXY": "socks5://proxy"}
        self.assertIsInstance(way_to(reactor, HUB, timeout=1, environ=environ), ThroughProxy)
