"""
The way through what ends TLS, from an endpoint that dials to the hub's own listeners.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.router import Router
from mezite.hub.web.connectionupgrade import HubFrames
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.names import HostPort
from mezite.wire.alpn import Route
from mezite.wire.contexts import client_context
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.error import AlpnLost, HandshakeFailed
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport
from mezite.wire.trust import fetch_authority
from mezite.wire.upgraded import UpgradedConnection
from mezite.wire.ways import Ways
from mezite.wire.websocket import BINARY, PATH, BrokenFrames, ClientFrames, Opening, UpgradeRefused
from tests.doubles.balancer import Balancer
from tests.doubles.certificates import certificate_set
from tests.doubles.hubworld import Heard, HubWorld
from tests.doubles.link import link
from tests.hub.test_router import RouterTestCase

LB = HostPort("192.0.2.9", 443)
VECTORS = json.loads(
    (Path(__file__).parent.parent.parent / "vectors" / "websocket.json").read_text()
)
REQUEST = (
    f"GET {PATH} HTTP/1.1\r\nHost: hub.example.com\r\n"
    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: mezite-tls\r\n\r\n"
)


class ThroughBalancerTests(SynchronousTestCase):
    """Clients that find out by themselves."""

    def setUp(self) -> None:
        self.world = HubWorld()
        self.balancer = Balancer(self.world)
        self.ways = Ways()
        self.heard = Heard()

    def dial(
        self, protocol: bytes = b"mezite-ssh", inner: Any = None, **options: Any
    ) -> Deferred[Any]:
        context = client_context(protocol, self.world.authorities.tls_pem, **options)
        endpoint = TlsClientEndpoint(self.world.clock, LB, context, ways=self.ways)
        dialed = endpoint.connect(Factory.forProtocol(lambda: inner or self.heard))
        self.world.clock.advance(0)
        return dialed

    @property
    def dialed(self) -> int:
        return len(self.world.clock.tcpClients)

    def test_finds_out(self) -> None:
        """A foreign certificate is followed by an upgrade, and the hub's listener answers."""
        dialed = self.dial()
        self.balancer.answer()
        self.assertNoResult(dialed)
        self.balancer.answer()
        self.assertIs(self.successResultOf(dialed), self.heard)
        self.world.flush()
        self.assertTrue(self.heard.data.startswith(b"SSH-2.0-"))

    def test_remembers(self) -> None:
        """The next dial begins with the upgrade, and once in a while with the direct way."""
        self.test_finds_out()
        for seconds, ways in ((0, 1), (3600, 2), (0, 1)):
            self.world.clock.advance(seconds)
            before = self.dialed
            dialed = self.dial()
            for _ in range(ways):
                self.balancer.answer()
            self.successResultOf(dialed)
            self.assertEqual(self.dialed - before, ways)

    def test_balancer_is_gone(self) -> None:
        """What was behind a balancer and is reached directly now is found, and remembered."""
        self.test_finds_out()
        dialed = self.dial()
        # The hub's own port has the upgrade too: let it fail as if it had not.
        upgrade = self.world.clock.tcpClients[-1][2].buildProtocol(None)
        upgrade.makeConnection(StringTransport())
        upgrade.connectionLost(Failure(ConnectionDone()))
        self.world.flush()
        client = self.world.clock.tcpClients[-1][2].buildProtocol(None)
        hub = self.world.hub.router.buildProtocol(None)
        self.world.links.append(link(client, hub, self.world.clock))
        self.world.flush()
        self.successResultOf(dialed)
        self.assertFalse(self.ways.begins_with_upgrade(LB, self.world.clock.seconds()))

    def test_tunnel(self) -> None:
        """A tunnel comes up with its certificate inside, and the node is known by it."""
        node = self.world.add_node("db1")
        certificate, key = self.world._credentials(node, self.world.authorities, None)
        mux = MuxProtocol(
            role=Role.CLIENT, clock=self.world.clock, accept=lambda stream: stream.abortConnection()
        )
        dialed = self.dial(b"mezite-tunnel", mux, certificate_pem=certificate, key_pem=key)
        self.balancer.answer()
        self.balancer.answer()
        self.assertIs(self.successResultOf(dialed), mux)
        self.world.flush()
        self.assertIsNotNone(self.world.hub.registry.find(node.agent_id))
        self.assertNotIn(certificate[30:60], self.balancer.passed)

    def test_first_trust(self) -> None:
        """The authority is learned through it, by its pin."""
        pin = self.world.authorities.cluster_ca.pin
        found = Deferred.fromCoroutine(fetch_authority(self.world.clock, LB, pin=pin))
        self.world.clock.advance(0)
        self.balancer.answer()
        self.balancer.answer()
        self.assertEqual(
            self.successResultOf(found), self.world.authorities.cluster_ca.certificate_pem
        )

    def test_impostor(self) -> None:
        """Who ends TLS and has no hub behind it gets nothing, and the first error is told."""
        context = client_context(b"mezite-ssh", certificate_set("third").ca_pem)
        endpoint = TlsClientEndpoint(self.world.clock, LB, context, ways=self.ways)
        dialed = endpoint.connect(Factory.forProtocol(lambda: self.heard))
        self.world.clock.advance(0)
        self.balancer.answer()
        self.balancer.answer()
        error = self.failureResultOf(dialed, HandshakeFailed).value
        self.assertIn("not from an authority", str(error))
        self.assertFalse(self.ways.begins_with_upgrade(LB, self.world.clock.seconds()))

    def test_no_hub_behind(self) -> None:
        """Where the upgrade worked before, what the balancer says now is told."""
        self.test_finds_out()
        dialed = self.dial()
        self.world.hub.router.upgraded = lambda client: None  # type: ignore[method-assign]
        self.balancer.answer()
        self.balancer.answer()
        error = self.failureResultOf(dialed, UpgradeRefused).value
        self.assertIn("429", str(error))

    def test_no_alpn_and_no_upgrade(self) -> None:
        """A web server of another is named with both of its answers."""
        error = AlpnLost(b"mezite-ssh", upgrade="it says 404 Not Found")
        self.assertIn("404", str(error))

    def test_cancel(self) -> None:
        """Cancelling gives up, wherever it is."""
        for answers in range(3):
            dialed = self.dial()
            for _ in range(min(answers, 1)):
                self.balancer.answer()
            if answers == 2:
                self.world.clock.tcpClients[-1][2].buildProtocol(None)
            dialed.cancel()
            self.failureResultOf(dialed)
            self.world.flush()


class RequestTests(SynchronousTestCase):
    """Requests that are not the one."""

    def setUp(self) -> None:
        self.world = HubWorld()

    def ask(self, request: str) -> Heard:
        heard = Heard()
        transport = self.world.dial(heard, b"http/1.1")
        transport.write(request.encode("latin-1"))
        self.world.flush()
        return heard

    def status(self, request: str) -> int:
        return int(self.ask(request).data.split(b" ")[1])

    def test_right(self) -> None:
        """The right one gets the answer of the specification, and then frames."""
        heard = self.ask(REQUEST)
        opening = Opening("hub.example.com", b"the sample nonce")
        opening.receive(heard.data)
        self.assertTrue(opening.is_open)
        self.assertEqual(self.world.hub.router.upgraded_handshakes, 1)

    def test_wrong(self) -> None:
        """Each thing that must be in it is missed."""
        for old, new, status in (
            ("Upgrade: websocket\r\n", "", 426),
            ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n", 426),
            ("Connection: keep-alive, Upgrade\r\n", "", 400),
            ("Version: 13", "Version: 8", 426),
            ("Version: 13", "Version: 13, 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "\xff", 400),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Keys", 400),
            ("mezite-tls", "chat", 400),
            ("HTTP/1.1\r\n", "HTTP/1.0\r\n", 426),
            ("GET", "POST", 405),
            ("GET", "HEAD", 405),
            (PATH, f"{PATH}/x", 404),
            ("Upgrade: websocket\r\n", "Upgrade: websocket\r\nOrigin: https://evil.test\r\n", 403),
            ("Upgrade: websocket\r\n", "Upgrade: websocket\r\nOrigin: null\r\n", 403),
            (
                "Upgrade: websocket\r\n",
                "Upgrade: websocket\r\nSec-Fetch-Site: cross-site\r\n",
                403,
            ),
        ):
            request = REQUEST.replace(old, new, 1)
            self.assertEqual(self.status(request), status, (old, new))
        self.assertEqual(self.world.hub.router.upgraded_handshakes, 0)

    def test_own_origin(self) -> None:
        """The hub's own page could ask."""
        request = REQUEST.replace(
            "\r\nUpgrade", "\r\nOrigin: https://hub.example.com\r\nUpgrade", 1
        )
        self.assertEqual(self.status(request), 101)

    def test_slow(self) -> None:
        """Who does not finish the request is dropped with the site's idle connections."""
        heard = self.ask(REQUEST[:100])
        self.world.clock.advance(60)
        self.world.flush()
        self.assertIsNotNone(heard.reason)

    def test_slow_inside(self) -> None:
        """Who is upgraded and then does not shake hands is dropped after ten seconds."""
        heard = self.ask(REQUEST)
        self.world.clock.advance(10)
        self.world.flush()
        self.world.clock.advance(5)
        self.world.flush()
        self.assertIsNotNone(heard.reason)
        self.assertEqual(self.world.hub.router.upgraded_handshakes, 0)

    def test_junk_inside(self) -> None:
        """What is no TLS inside ends it."""
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 1000):
            heard = Heard()
            transport = self.world.dial(heard, b"http/1.1")
            transport.write(REQUEST.encode())
            self.world.flush()
            transport.write(ClientFrames().frame(BINARY, junk))
            self.world.flush()
            self.world.clock.advance(5)
            self.world.flush()
            self.assertIsNotNone(heard.reason, junk)
        self.assertEqual(self.world.hub.router.upgraded_handshakes, 0)

    def test_not_again_inside(self) -> None:
        """HTTPS is not spoken inside, or it could be upgraded again and again."""
        world = self.world
        outer, inner = Heard(), Heard()
        transport = world.dial(outer, b"http/1.1")
        transport.write(REQUEST.encode())
        world.flush()
        tls = TLSTransport(
            client_context(b"http/1.1", world.authorities.tls_pem).connection(None),
            world.clock,
            Handshake(
                lambda transport: transport.attach(inner),
                lambda failure: inner.connectionLost(failure),
            ),
        )
        transport.attach(UpgradedConnection(ClientFrames(), tls, world.clock))
        world.flush()
        self.assertIsNotNone(inner.reason)
        self.assertEqual(world.hub.router.routed[Route.WEB], 2)

    def test_thousand(self) -> None:
        """A thousand half-open ones of one address are bounded, and others come in meanwhile."""
        world = self.world
        router = world.hub.router
        address = IPv4Address("TCP", "192.0.2.66", 1)
        admitted = [each for _ in range(1000) if (each := router.upgraded(address)) is not None]
        self.assertEqual(len(admitted), 256)
        other = router.upgraded(IPv4Address("TCP", "192.0.2.67", 1))
        self.assertIsNotNone(other)
        heard = Heard()
        world.dial(heard, b"mezite-ssh")
        world.flush()
        self.assertTrue(heard.data.startswith(b"SSH-2.0-"))
        for each in admitted:
            each.makeConnection(StringTransport())
            each.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(router.upgraded_handshakes, 1)


class FrameTests(SynchronousTestCase):
    """The hub's frames, by wsproto."""

    def frames(self) -> HubFrames:
        frames = HubFrames()
        frames.accept("dGhlIHNhbXBsZSBub25jZQ==")
        return frames

    def test_vectors(self) -> None:
        """What clients send is read, in any place where it is cut."""
        for vector in VECTORS["to_hub"]:
            octets = bytes.fromhex(vector["octets"])
            for cut in range(len(octets)):
                frames = self.frames()
                frames.receive(octets[:cut])
                first = frames.next_frame() if cut else None
                frames.receive(octets[cut:])
                found = [first, frames.next_frame()]
                payload = b"".join(each[1] for each in found if each is not None)
                opcodes = {each[0] for each in found if each is not None}
                self.assertEqual(opcodes, {vector["opcode"]})
                if vector["opcode"] != 10:
                    self.assertEqual(payload.hex(), vector["payload"], vector["name"])

    def test_malformed(self) -> None:
        """What breaks the rules is refused with its code."""
        for vector in VECTORS["to_hub_bad"]:
            frames = self.frames()
            frames.receive(bytes.fromhex(vector["octets"]))
            with self.assertRaises(BrokenFrames, msg=vector["name"]) as caught:
                frames.next_frame()
            self.assertEqual(caught.exception.code, vector["code"], vector["name"])

    def test_endless_message(self) -> None:
        """A message that does not end is refused, and not collected."""
        frames = self.frames()
        frames.receive(bytes.fromhex("82ff000001000000000000000000"))
        with self.assertRaises(BrokenFrames) as caught:
            for _ in range(100):
                frames.receive(bytes(64 * 1024))
                while frames.next_frame() is not None:
                    pass
        self.assertEqual(caught.exception.code, 1009)


class RouterBoundTests(RouterTestCase):
    """The bound on what is upgraded, beside that on the port."""

    def test_counts_as_handshakes(self) -> None:
        """It is one of the port's unfinished handshakes, until it ends."""
        self.router: Router = self.make_router(handshakes_at_once=8)
        address = IPv4Address("TCP", "192.0.2.1", 1)
        first = self.router.upgraded(address)
        assert first is not None
        self.assertEqual((self.router.handshakes, self.router.upgraded_handshakes), (1, 1))
        self.assertIsNone(self.router.upgraded(address))
        first.makeConnection(StringTransport())
        first.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.router.handshakes, self.router.upgraded_handshakes), (0, 0))
        self.assertIsNotNone(self.router.upgraded(address))
