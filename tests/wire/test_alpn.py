"""
The vectors of ``docs/protocols/alpn.rst``, and the names that it leaves out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.alpn import (
    Demand,
    Role,
    Route,
    admitted_roles,
    certificate_demand,
    choose,
    node_part,
    parse_server_name,
    route_of,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "alpn.json").read_text()
)
HUB_NAMES = frozenset({"hub.example.com", "example.com"})
_NAMES = st.sampled_from(
    ["h2", "http/1.1", "mezite-ssh", "mezite-tunnel", "mezite-cluster-tunnel", "mezite-auth"]
)


class VectorTests(SynchronousTestCase):
    """What each offer leads to."""

    def test_vectors(self) -> None:
        """Every case of the specification gets the route and the demand that it says."""
        hub_names = frozenset(VECTORS["hub_names"])
        self.assertGreater(len(VECTORS["cases"]), 30)
        for case in VECTORS["cases"]:
            offered = [name.encode() for name in case["offered"] or ()]
            name = case["server_name"]
            server_name = parse_server_name(name.encode() if name is not None else None)
            chosen = choose(offered)
            with self.subTest(case["what"]):
                self.assertEqual(chosen, case["chosen"] and case["chosen"].encode())
                self.assertIs(route_of(chosen, server_name, hub_names), Route(case["route"]))
                self.assertIs(
                    certificate_demand(chosen, server_name, hub_names),
                    Demand(case["certificate"]),
                )

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.one_of(_NAMES.map(str.encode), st.binary(max_size=255))))
    def test_order(self, offered: list[bytes]) -> None:
        """The first known name wins, whatever stands around it."""
        chosen = choose(offered)
        known = [name for name in offered if choose([name]) is not None]
        self.assertEqual(chosen, known[0] if known else None)


class ServerNameTests(SynchronousTestCase):
    """Server names, which anybody may send."""

    def test_not_names(self) -> None:
        """Nothing, too much, and what is not ASCII are no names."""
        for octets in (None, b"", b".", b"a" * 256, b"db1\xff.hub.example.com", "ü".encode()):
            self.assertIsNone(parse_server_name(octets))

    def test_node_part(self) -> None:
        """What stands before the hub's name is a node's, the longest hub name first."""
        for server_name, node in (
            ("db1.hub.example.com", "db1"),
            ("db1.example.com", "db1"),
            ("hub.example.com", None),
            ("example.com", None),
            ("auth.example.com", None),
            ("auth.hub.example.com", None),
            (".hub.example.com", None),
            ("xhub.example.com", "xhub"),
            ("xexample.com", None),
            ("com", None),
            (None, None),
        ):
            self.assertEqual(node_part(server_name, HUB_NAMES), node, server_name)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300))
    def test_hostile(self, octets: bytes) -> None:
        """No server name breaks the decision, and none is a node's that is not below the hub's."""
        name = parse_server_name(octets)
        demand = certificate_demand(b"mezite-ssh", name, HUB_NAMES)
        is_below = name is not None and name.endswith(".example.com")
        self.assertTrue(is_below or demand is Demand.NOT_ASKED)


class RoleTests(SynchronousTestCase):
    """Whose certificate opens which route."""

    def test_roles(self) -> None:
        """A tunnel is a node's, SSH a person's, and the web asks nobody."""
        self.assertEqual(admitted_roles(Route.TUNNEL), {Role.NODE})
        self.assertEqual(admitted_roles(Route.SSH), {Role.USER})
        self.assertEqual(admitted_roles(Route.CLUSTER_TUNNEL), {Role.HUB})
        self.assertEqual(admitted_roles(Route.AUTH), {Role.USER, Role.NODE})
        self.assertEqual(admitted_roles(Route.WEB), frozenset())
