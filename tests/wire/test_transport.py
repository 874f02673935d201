"""
TLS transports, ours at both ends, over a connection in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mezite.wire.contexts import HubContexts, client_context
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import HUB_NAME, certificate_set
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

    def connect(self, client: Any, server: Any, *, flush: bool = True) -> Link:
        ours = certificate_set()
        context = client_context(b"mezite-auth", ours.ca_pem)
        self.client = Side(client)
        self.server = Side(server)
        for side, connection in (
            (self.client, context.connection(None)),
            (self.server, contexts().serverConnectionForTLS(self)),
        ):
            side.tls = TLSTransport(
                connection, self.clock, secured=side.on_secured, failed=side.failures.append
            )
        return link(self.client.tls, self.server.tls, self.clock, flush=flush)


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

    def test_half_close(self) -> None:
        """A direction that one side finished leaves the other direction open."""
        wire = self.connect(HalfCloser(), HalfCloser())
        self.client.tls.write(b"question")
        self.client.tls.loseWriteConnection()
        wire.flush()
        self.assertTrue(self.server.inner.is_read_lost)
        self.server.tls.write(b"answer")
        self.server.tls.loseConnection()
        wire.flush()
        self.assertEqual(self.client.inner.received, b"answer")
        self.assertTrue(self.client.inner.is_read_lost)
        self.client.tls.loseConnection()
        wire.flush()
        self.assertIsNotNone(self.client.inner.lost)
        self.assertIsNotNone(self.server.inner.lost)
