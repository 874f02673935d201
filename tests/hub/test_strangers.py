"""Tests of how many connections those may have who have proved nothing."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.strangers import Strangers
from mezite.names import HostPort
from mezite.wire.alpn import Route
from mezite.wire.contexts import client_context
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.ways import Ways
from tests.doubles.balancer import Balancer
from tests.doubles.hubworld import Heard
from tests.doubles.webclient import WebClient
from tests.hub.test_router import RouterTestCase
from tests.hub.web.test_rest import RestTests


@define(eq=False)
class Connection:
    """A finished connection from this host."""

    host: str = "192.0.2.1"
    is_aborted: bool = field(init=False, default=False)

    def getPeer(self) -> Any:
        kind = IPv6Address if ":" in self.host else IPv4Address
        return kind("TCP", self.host, 40000)

    def abortConnection(self) -> None:
        assert not self.is_aborted
        self.is_aborted = True


class StrangersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.strangers = Strangers(at_once=6, of_one=3)

    def connect(self, host: str = "192.0.2.1", count: int = 1) -> list[Connection]:
        connections = [Connection(host) for _ in range(count)]
        for each in connections:
            self.strangers.admit(each)
        return connections

    def aborted(self, connections: list[Connection]) -> list[bool]:
        return [each.is_aborted for each in connections]

    def test_one_address(self) -> None:
        """The oldest of an address makes room for its newest, and nobody else does."""
        [other] = self.connect("192.0.2.2")
        many = self.connect(count=5)
        self.assertEqual(self.aborted(many), [True, True, False, False, False])
        self.assertFalse(other.is_aborted)
        self.assertEqual((self.strangers.count, self.strangers.dropped), (4, 2))

    def test_activity(self) -> None:
        """A request makes a connection the last to go."""
        first, second, third = self.connect(count=3)
        self.strangers.active(first)
        [fourth] = self.connect()
        self.assertEqual(self.aborted([first, second, third, fourth]), [False, True, False, False])

    def test_network_of_ipv6(self) -> None:
        """A network of IPv6 counts as one address."""
        many = [self.connect(f"2001:db8::{number}")[0] for number in range(4)]
        [other] = self.connect("2001:db8:0:1::1")
        self.assertEqual(self.aborted(many), [True, False, False, False])
        self.assertFalse(other.is_aborted)

    def test_all_together(self) -> None:
        """Above the bound of all, the address with the most makes room."""
        lone = [self.connect(f"192.0.2.{number}")[0] for number in range(10, 14)]
        crowd = self.connect("192.0.2.2", 2)
        self.connect("192.0.2.30")
        self.assertEqual(self.aborted(crowd), [True, False])
        self.assertEqual(self.aborted(lone), [False] * 4)
        self.assertEqual(self.strangers.count, 6)

    def test_recognized(self) -> None:
        """Who is known counts for themselves, and is not dropped by the strangers beside them."""
        known, unknown = self.connect(count=2)
        self.strangers.recognize(known, "ada")
        self.assertEqual(self.strangers.count, 1)
        self.connect(count=20)
        self.assertFalse(known.is_aborted)
        self.assertTrue(unknown.is_aborted)

    def test_one_user(self) -> None:
        """A user has as many as an address, whatever addresses they come from."""
        many = [self.connect(f"192.0.2.{number}")[0] for number in range(4)]
        for each in many[:3]:
            self.strangers.recognize(each, "ada")
        self.strangers.recognize(many[0], "ada")
        self.strangers.recognize(many[3], "ada")
        self.assertEqual(self.aborted(many), [False, True, False, False])

    def test_gone(self) -> None:
        """Of those who have gone nothing is kept; those told of late change nothing."""
        known, unknown = self.connect(count=2)
        self.strangers.recognize(known, "ada")
        for each in (known, unknown, unknown, Connection()):
            self.strangers.release(each)
            self.strangers.active(each)
            self.strangers.recognize(each, "ada")
        self.assertEqual(self.strangers.count, 0)
        self.assertEqual(self.strangers._group_of, {})
        self.assertEqual((self.strangers._networks, self.strangers._users), ({}, {}))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["admit", "active", "recognize", "release"]),
                st.integers(0, 3),
                st.integers(0, 30),
            ),
            max_size=60,
        )
    )
    def test_bounds(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever happens, no bound is passed, and the count is of those who are there."""
        strangers = Strangers(at_once=6, of_one=3)
        all_of_them: list[Connection] = []
        for what, who, which in steps:
            if what == "admit":
                all_of_them.append(Connection(f"192.0.2.{who}"))
                strangers.admit(all_of_them[-1])
            elif all_of_them:
                each = all_of_them[which % len(all_of_them)]
                if what == "recognize":
                    strangers.recognize(each, f"user{who}")
                else:
                    getattr(strangers, what)(each)
            groups = [*strangers._networks.values(), *strangers._users.values()]
            self.assertTrue(all(0 < len(group.idle) <= 3 for group in groups))
            unknown = sum(len(group.idle) for group in strangers._networks.values())
            self.assertEqual(strangers.count, unknown)
            self.assertLessEqual(unknown, 6)
            self.assertEqual(
                set(strangers._group_of), {each for group in groups for each in group.idle}
            )
            self.assertFalse(any(each.is_aborted for each in strangers._group_of))


class StrangersAtThePortTests(RouterTestCase):
    """Whom the router tells of."""

    def setUp(self) -> None:
        super().setUp()
        self.strangers = Strangers(of_one=2)
        self.router = self.make_router(strangers=self.strangers)

    def test_counted(self) -> None:
        """Who shows no certificate is counted until they go."""
        wire = self.dial(b"http/1.1")
        self.assertEqual(self.strangers.count, 1)
        wire.client.abortConnection()
        wire.flush()
        self.assertEqual(self.strangers.count, 0)

    def test_certificate(self) -> None:
        """Who shows one is not."""
        self.dial(b"mezite-auth", node=True)
        self.dial(b"mezite-tunnel", node=True)
        self.assertEqual(self.strangers.count, 0)

    def test_dropped(self) -> None:
        """The oldest connection of an address that has too many is cut off."""
        first = self.dial(b"http/1.1")
        oldest = self.hearer
        for _ in range(2):
            self.dial(b"mezite-auth")
        first.flush()
        self.assertTrue(oldest.is_lost)
        self.assertFalse(self.hearer.is_lost)
        self.assertEqual((self.strangers.count, self.strangers.dropped), (2, 1))

    def test_route_without_listener(self) -> None:
        """A connection that nobody listens to leaves nothing behind."""
        del self.listeners[Route.SSH]
        self.router = self.make_router(strangers=self.strangers)
        self.dial(b"mezite-ssh")
        self.assertTrue(self.hearer.is_lost)
        self.assertEqual(self.strangers.count, 0)


class BelievedTests(RestTests):
    """Who counts among strangers no more, at a whole hub's port."""

    def setUp(self) -> None:
        super().setUp()
        self.strangers = self.world.hub.router.strangers

    def test_bearer(self) -> None:
        """A request with a good bearer is its user's connection from then on."""
        before = self.strangers.count
        client = WebClient(self.world, {"Authorization": "Bearer mzb_x"})
        client.ask("GET", "/nodes")
        self.assertEqual(self.strangers.count, before + 1)
        client.headers = self.admin.headers
        self.assertEqual(client.ask("GET", "/nodes").status, 200)
        self.assertEqual(self.strangers.count, before)
        self.assertEqual(list(self.strangers._users), ["grace"])

    def test_pauses(self) -> None:
        """An anonymous request makes its connection the last to go."""
        clients = [WebClient(self.world) for _ in range(3)]
        for client in clients:
            client.ask("GET", "/ping")
        clients[0].ask("GET", "/ping")
        (group,) = self.strangers._networks.values()
        inner = list(group.idle)[-3:]
        clients[1].ask("GET", "/ping")
        self.assertEqual(list(group.idle)[-3:], [inner[1], inner[2], inner[0]])

    def test_upgraded(self) -> None:
        """A connection that is taken over counts for what is inside."""
        before = self.strangers.count
        balancer = Balancer(self.world)
        endpoint = TlsClientEndpoint(
            self.world.clock,
            HostPort("192.0.2.9", 443),
            client_context(b"mezite-auth", self.world.authorities.tls_pem),
            ways=Ways(),
        )
        dialed = endpoint.connect(Factory.forProtocol(Heard))
        self.world.clock.advance(0)
        balancer.answer()
        balancer.answer()
        self.successResultOf(dialed)
        self.world.flush()
        # One for both: the balancer's connection before it was upgraded is over.
        self.assertEqual(self.strangers.count, before + 1)
