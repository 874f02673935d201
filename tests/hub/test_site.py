"""Tests of what browsers, probes and scripts get."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import Unavailable
from mezite.hub.strangers import Strangers
from mezite.hub.web.connectionupgrade import ConnectionUpgrade
from mezite.hub.web.rest import RestApi
from mezite.hub.web.site import BODY_LENGTH, HubFacts, build_site

FACTS = HubFacts("prod<1>", "hub.example.com", "hub.example.com:443", "sha256:" + "ab" * 32)


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.problem: Unavailable | None = None
        registry = CollectorRegistry()
        Gauge("mezite_tunnels", "Live tunnels.", registry=registry).set(2)

        async def check() -> None:
            if self.problem is not None:
                raise self.problem

        clock = Clock()
        api = RestApi({}, clock=clock, wall_clock=clock.seconds)
        self.site = build_site(
            FACTS,
            check=check,
            metrics=registry,
            api=api,
            upgrade=ConnectionUpgrade(lambda client: None, clock=clock),
            strangers=Strangers(),
            reactor=clock,
        )
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """The status, head and body of the answer to these bytes."""
        channel = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(request)
        answer = transport.value()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1]) if head else 0
        return status, head.lower(), body

    def get(self, path: bytes) -> tuple[int, bytes, bytes]:
        return self.ask(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

    def test_page(self) -> None:
        """The page says what this is, whose, and how to log in; names are escaped."""
        status, head, body = self.get(b"/")
        self.assertEqual(status, 200)
        self.assertIn(b"content-security-policy: default-src 'none'", head)
        self.assertIn(b"prod&lt;1&gt;", body)
        self.assertIn(b"msh login --proxy hub.example.com:443", body)
        self.assertIn(FACTS.ca_pin.encode(), body)

    def test_health(self) -> None:
        """A live process is healthy, whatever else."""
        self.problem = Unavailable("the database is locked")
        self.assertEqual(self.get(b"/healthz")[0], 200)

    def test_readiness(self) -> None:
        """A hub that can work is ready; one that cannot says why, with 503."""
        self.assertEqual(self.get(b"/readyz")[0], 200)
        self.problem = Unavailable("the database is locked")
        status, _, body = self.get(b"/readyz")
        self.assertEqual(status, 503)
        self.assertIn(b"the database is locked", body)

    def test_metrics(self) -> None:
        """The metrics are in Prometheus' form."""
        status, _, body = self.get(b"/metrics")
        self.assertEqual(status, 200)
        self.assertIn(b"mezite_tunnels 2.0", body)

    def test_nothing_there(self) -> None:
        """Unknown paths, and paths below a page, are 404 in plain text, without echo."""
        for path in (b"/x", b"/v1", b"/v1/", b"/v1/x", b"/healthz/x", b"/style.css/<b>"):
            status, head, body = self.get(path)
            self.assertEqual(status, 404, path)
            self.assertIn(b"text/plain", head)
            self.assertNotIn(b"<", body)

    def test_other_methods(self) -> None:
        """A page is read and not posted to."""
        status, _, _ = self.ask(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab")
        self.assertEqual(status, 405)

    def test_declared_too_long(self) -> None:
        """A body that is declared too long is refused."""
        size = b"%d" % (BODY_LENGTH + 1)
        status, _, _ = self.ask(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "
            + size
            + b"\r\n\r\n"
            + b"x" * int(size)
        )
        self.assertEqual(status, 413)

    def test_chunked_too_long(self) -> None:
        """A body that says nothing of its length is cut at the same limit."""
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        status, _, _ = self.ask(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunk * 5
            + b"0\r\n\r\n"
        )
        self.assertEqual(status, 413)
