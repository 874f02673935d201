"""Tests of the hub against those who mean it ill, and against what nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource

from mezite.hub import adminsocket
from mezite.hub.error import TooManySessions
from mezite.hub.router import Router
from mezite.hub.strangers import Strangers
from mezite.hub.tunnels import STREAMS_OF_ONE_USER
from mezite.hub.tunnelserver import AUTH_STREAMS
from mezite.hub.web.site import HubFacts, build_site
from mezite.mux.transport import StreamTransport
from mezite.names import UserName
from mezite.store.error import StoreUnavailable
from mezite.wire.contexts import HubContexts
from tests.doubles.certificates import HUB_NAME, certificate_set
from tests.doubles.hubworld import Heard, HubWorld


class Unforeseen(Exception):
    """A bug, or something that no kind of ours stands for."""


class HostileTests(SynchronousTestCase):
    """A hub with ada and grace, who may be root everywhere, and db1."""

    def setUp(self) -> None:
        self.world = HubWorld()
        self.world.add_user("ada", "root")
        self.world.add_user("grace", "root")
        self.db1 = self.world.add_node("db1")

    def dial(self, node: str = "db1", user: str = "ada") -> Heard:
        heard = Heard()
        self.world.dial(
            heard,
            b"mezite-ssh",
            identity=self.world.user(user),
            server_name=f"{node}.hub.example.com",
        )
        self.world.flush()
        return heard

    def swap(self, owner: object, name: str, replacement: Callable[..., Any]) -> None:
        """Let a method do something else, until the test ends."""
        self.patch(type(owner), name, lambda _, *rest, **named: replacement(*rest, **named))


class UnforeseenTests(HostileTests):
    """What fails in a way that nobody foresaw is dropped, and not left standing."""

    def test_session(self) -> None:
        """A user whose session cannot be opened does not wait for ever."""
        self.world.open_tunnel(self.db1)
        self.world.flush()
        self.swap(self.world.store.nodes, "by_name", lambda name: fail(Unforeseen()))
        heard = self.dial()
        self.world.clock.advance(6)
        self.world.flush()
        self.assertEqual(len(self.flushLoggedErrors(Unforeseen)), 1)
        self.assertIsNotNone(heard.reason)

    def test_tunnel(self) -> None:
        """A tunnel that cannot be admitted is dropped, so that the agent dials again."""
        self.swap(self.world.store.nodes, "get", lambda agent_id: fail(Unforeseen()))
        tunnel = self.world.open_tunnel(self.db1)
        self.world.flush()
        self.assertEqual(len(self.flushLoggedErrors(Unforeseen)), 1)
        self.assertFalse(tunnel.is_up)

    def test_upkeep(self) -> None:
        """Upkeep that failed once is done the next time: certificates must not end of it."""
        hub = self.world.hub
        tried: list[float] = []

        def odd() -> None:
            tried.append(self.world.clock.seconds())
            raise Unforeseen

        self.swap(hub._own, "renew", odd)
        self.patch(adminsocket, "listen", lambda reactor, *rest: reactor.listenTCP(1, None))
        hub.startService()
        self.world.clock.pump([3600.0] * 24 * 90)
        self.assertGreater(len(self.flushLoggedErrors(Unforeseen)), 1)
        self.assertGreater(len(tried), 1)


class StoppingTests(HostileTests):
    def test_store_away(self) -> None:
        """A store that cannot be written to does not keep the hub from stopping."""
        tunnel = self.world.open_tunnel(self.db1)
        self.world.flush()
        closed: list[bool] = []

        def closing() -> Deferred[None]:
            closed.append(True)
            return succeed(None)

        self.swap(self.world.store, "close", closing)
        self.swap(
            self.world.store.nodes,
            "touch",
            lambda agent_id, word, **rest: fail(StoreUnavailable("the disk is full")),
        )
        stopping = self.world.hub.stopService()
        for _ in range(20):
            self.world.clock.advance(0.5)
            self.world.flush()
        self.successResultOf(stopping)
        self.world.flush()
        self.assertEqual(closed, [True])
        self.assertFalse(tunnel.is_up)


class LogTests(HostileTests):
    def test_no_control_characters(self) -> None:
        """What a user types in place of a node cannot write lines of the log, nor colour it."""
        lines: list[str] = []

        def observe(event: Any) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.dial("x\n2026 [mezite] ada became root \x1b[2J")
        self.assertEqual([line for line in lines if not line.isprintable()], [])


class ShareTests(HostileTests):
    """One who is admitted does not use up what is there for all."""

    def test_streams_of_a_node(self) -> None:
        """One user cannot take all streams of a node from everybody else."""
        streams: list[StreamTransport] = []

        def accept(stream: StreamTransport) -> None:
            streams.append(stream)
            stream.attach(Heard())

        self.world.open_tunnel(self.db1, accept)
        self.world.flush()
        (tunnel,) = self.world.hub.registry
        ada, grace = UserName("ada"), UserName("grace")
        theirs = []
        for _ in range(STREAMS_OF_ONE_USER):
            theirs.append(tunnel.open_stream(ada))
            self.world.flush()
        self.assertRaises(TooManySessions, tunnel.open_stream, ada)
        tunnel.open_stream(grace)
        theirs.pop().abortConnection()
        self.world.flush()
        tunnel.open_stream(ada)

    def test_sentence(self) -> None:
        """Who has enough is told so."""
        self.world.open_tunnel(self.db1, lambda stream: stream.attach(Heard()))
        self.world.flush()
        (tunnel,) = self.world.hub.registry
        theirs = []
        for _ in range(STREAMS_OF_ONE_USER):
            theirs.append(tunnel.open_stream(UserName("ada")))
            self.world.flush()
        self.assertIn(b"ada has 256 connections to db1 already", self.dial().data)
        self.assertTrue(theirs)

    def test_streams_for_calls(self) -> None:
        """A node cannot make the hub hold requests on a thousand streams."""
        tunnel = self.world.open_tunnel(self.db1)
        self.world.flush()
        heard = [Heard() for _ in range(100)]
        for each in heard:
            self.world.ask_for("auth", tunnel, each)
        self.assertEqual(sum(each.reason is None for each in heard), AUTH_STREAMS)
        # Whoever leaves makes room.
        heard[0].transport.abortConnection()
        self.world.flush()
        again = Heard()
        self.world.ask_for("auth", tunnel, again)
        self.assertIsNone(again.reason)


class ReadinessTests(SynchronousTestCase):
    """``/readyz``, which anybody may ask for."""

    def setUp(self) -> None:
        self.checks: list[Deferred[None]] = []
        self.clock = MemoryReactorClock()

        async def check() -> None:
            self.checks.append(Deferred())
            await self.checks[-1]

        facts = HubFacts("demo", "hub.example.com", "hub.example.com:443", "sha256:" + "ab" * 32)
        self.site = build_site(
            facts,
            check=check,
            metrics=CollectorRegistry(),
            api=Resource(),
            upgrade=Resource(),
            strangers=Strangers(),
            reactor=self.clock,
        )
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)

    def ask(self) -> tuple[HTTPChannel, StringTransport]:
        channel = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n")
        return channel, transport

    def test_one_check(self) -> None:
        """A thousand who ask at once cost one check; some go before it is done."""
        asking = [self.ask() for _ in range(1000)]
        self.clock.advance(0)
        self.assertEqual(len(self.checks), 1)
        for channel, _ in asking[:500]:
            channel.connectionLost(Failure(ConnectionDone()))
        self.checks[0].callback(None)
        for _, transport in asking[500:]:
            self.assertIn(b"200 OK", transport.value())
        _, transport = self.ask()
        self.assertEqual(len(self.checks), 2)
        self.checks[1].callback(None)
        self.assertIn(b"200 OK", transport.value())

    def test_unforeseen(self) -> None:
        """A check that fails oddly is an answer, too."""
        _, transport = self.ask()
        self.checks[0].errback(Unforeseen())
        self.assertIn(b"503", transport.value())
        self.assertEqual(len(self.flushLoggedErrors(Unforeseen)), 1)


class HandshakeTests(SynchronousTestCase):
    """Connections that never finish their handshake."""

    def setUp(self) -> None:
        self.world = HubWorld()
        ours = certificate_set()
        self.router = Router(
            {},
            contexts=HubContexts(hub_names=[HUB_NAME], authorities_pem=ours.ca_pem, hub=ours.hub),
            clock=self.world.clock,
            handshakes_at_once=100,
        )

    def flood(self, addresses: Callable[[int], IAddress]) -> int:
        """How many of a thousand got in."""
        return sum(
            self.router.buildProtocol(addresses(number)) is not None for number in range(1000)
        )

    def test_one_address(self) -> None:
        """One address cannot take all places."""
        taken = self.flood(lambda number: IPv4Address("TCP", "192.0.2.1", number))
        self.assertLess(taken, 100)
        other = IPv4Address("TCP", "192.0.2.2", 1)
        self.assertIsNotNone(self.router.buildProtocol(other))

    def test_one_network(self) -> None:
        """Nor can one network of IPv6, in which a household has 2**64 addresses."""
        taken = self.flood(lambda number: IPv6Address("TCP", f"2001:db8::{number:x}", number))
        self.assertLess(taken, 100)
