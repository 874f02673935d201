"""Tests of clients that take their time over an HTTP request."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from prometheus_client import CollectorRegistry
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.strangers import Strangers
from mezite.hub.web.connectionupgrade import ConnectionUpgrade
from mezite.hub.web.rest import RestApi
from mezite.hub.web.site import BODY_SECONDS, HEADER_SECONDS, IDLE_SECONDS, build_site
from tests.hub.test_site import FACTS

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


class Wire(StringTransport):
    """A transport of a connection with this ALPN name, which tells its protocol of an abort."""

    negotiatedProtocol: bytes | None = b"http/1.1"
    is_aborted = False
    protocol: Any = None

    def abortConnection(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            self.protocol.connectionLost(Failure(ConnectionAborted()))


class SlowRequestTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

        async def check() -> None:
            pass

        self.site = build_site(
            FACTS,
            check=check,
            metrics=CollectorRegistry(),
            api=RestApi({}, clock=self.clock, wall_clock=self.clock.seconds),
            upgrade=ConnectionUpgrade(lambda client: None, clock=self.clock),
            strangers=Strangers(),
            reactor=self.clock,
        )
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)

    def connect(self, protocol: bytes = b"http/1.1") -> tuple[Any, Wire]:
        channel, wire = self.site.buildProtocol(None), Wire()
        assert channel is not None
        wire.negotiatedProtocol, wire.protocol = protocol, channel
        channel.makeConnection(wire)
        return channel, wire

    def trickle(self, channel: Any, wire: Wire, piece: bytes, most: float) -> float:
        """How long a connection lives that gets a piece every second."""
        for second in range(int(most)):
            if wire.is_aborted or wire.disconnecting:
                return second
            channel.dataReceived(piece)
            self.clock.advance(1)
        return most

    def test_idle(self) -> None:
        """A connection on which no request begins is closed soon."""
        _, wire = self.connect()
        self.clock.advance(IDLE_SECONDS + 0.1)
        self.assertTrue(wire.disconnecting)

    def test_slow_headers(self) -> None:
        """Headers that come line by line, without an end, end."""
        channel, wire = self.connect()
        channel.dataReceived(b"GET / HTTP/1.1\r\n")
        self.assertEqual(self.trickle(channel, wire, b"X-A: b\r\n", 60), HEADER_SECONDS)

    def test_slow_first_line(self) -> None:
        """So does a first line that comes byte by byte."""
        channel, wire = self.connect()
        self.assertEqual(self.trickle(channel, wire, b"G", 60), HEADER_SECONDS)

    def test_slow_body(self) -> None:
        """A body that was announced and comes byte by byte ends too."""
        channel, wire = self.connect()
        channel.dataReceived(b"POST /v1/webapi/login HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        self.assertEqual(self.trickle(channel, wire, b"x", 60), BODY_SECONDS)

    def test_slow_stream(self) -> None:
        """In HTTP/2 the stream is reset."""
        channel, wire = self.connect(b"h2")
        client = H2Connection(H2Configuration(client_side=True))
        client.initiate_connection()
        client.send_headers(
            1,
            [
                (":method", "POST"),
                (":path", "/v1/webapi/login"),
                (":scheme", "https"),
                (":authority", "h"),
                ("content-length", "1000"),
            ],
        )
        channel.dataReceived(client.data_to_send())
        self.clock.advance(0)
        wire.clear()
        for _ in range(BODY_SECONDS):
            client.send_data(1, b"x")
            channel.dataReceived(client.data_to_send())
            self.clock.advance(1)
        events = client.receive_data(wire.value())
        self.assertIn("StreamReset", [type(event).__name__ for event in events])

    def test_next_request(self) -> None:
        """Each request of a connection has its own time, and none is left over."""
        channel, wire = self.connect()
        for _ in range(5):
            channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: h\r\n")
            self.clock.advance(HEADER_SECONDS - 1)
            channel.dataReceived(b"\r\n")
        self.assertFalse(wire.is_aborted or wire.disconnecting)
        self.assertEqual(wire.value().count(b"200 OK"), 5)
        wire.abortConnection()
        self.clock.advance(0)
        # The site's own clock of the Date header.
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_pipelined(self) -> None:
        """Requests that come in one read are answered over several turns, and all of them are."""
        channel, wire = self.connect()
        channel.dataReceived(REQUEST * 100)
        self.assertLess(wire.value().count(b"200 OK"), 20)
        self.clock.advance(0)
        self.assertEqual(wire.value().count(b"200 OK"), 100)

    def test_beside_pipelined(self) -> None:
        """Another connection is answered before all of them are."""
        channel, wire = self.connect()
        channel.dataReceived(REQUEST * 1000)
        other, heard = self.connect()
        other.dataReceived(REQUEST)
        for _ in range(2):
            for call in self.clock.getDelayedCalls():
                if call.getTime() <= self.clock.seconds():
                    self.clock.calls.remove(call)
                    call.func()
        self.assertIn(b"200 OK", heard.value())
        self.assertLess(wire.value().count(b"200 OK"), 50)

    def test_gone(self) -> None:
        """A client that has gone while it waited is not answered."""
        channel, wire = self.connect()
        channel.dataReceived(REQUEST * 100)
        wire.abortConnection()
        before = wire.value()
        self.clock.advance(0)
        self.assertEqual(wire.value(), before)
