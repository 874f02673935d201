"""Tests of nodes that join, and join once more, with the hub put together."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mezite.error import AlreadyExists, BadInput, Denied, NotFound
from mezite.mux.protocol import MuxProtocol
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.records import AuditQuery
from tests.doubles.hubworld import ssh_public_line
from tests.hub.test_service import HubTests


class Agent:
    """A machine with a key, and the certificate that it got."""

    def __init__(self, test: HubTests) -> None:
        self.test = test
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.answer = pb.GenerateHostCertsResponse()

    @property
    def public_pem(self) -> str:
        public = self.key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def credentials(self) -> tuple[bytes, bytes]:
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.answer.tls_certificate.encode(), key

    def join(self, token: str, name: str = "web1", **labels: str) -> Agent:
        self.answer = self.test.world.done(
            self.test.client().generate_host_certs(
                token=token,
                hostname=name,
                labels=labels,
                version="0.1",
                ssh_public_key=ssh_public_line(),
                tls_public_key=self.public_pem,
            )
        )
        return self

    def renew(self) -> pb.GenerateHostCertsResponse:
        channel = GrpcChannel(self.test.world.clock)
        self.test.world.dial(channel, b"mezite-auth", credentials=self.credentials)
        return self.test.world.done(
            AuthClient(channel).generate_host_certs(
                version="0.1", ssh_public_key=ssh_public_line(), tls_public_key=self.public_pem
            )
        )

    def tunnel(self) -> MuxProtocol:
        tunnel = self.test.world.open_tunnel(credentials=self.credentials)
        self.test.world.flush()
        return tunnel

    def in_tunnel(self) -> AuthClient:
        return self.test.world.calls_in(self.tunnel())


class NodeTestCase(HubTests):
    """The world of the hub's tests, with an administrator at hand."""

    def setUp(self) -> None:
        super().setUp()
        self.admin = self.client(self.world.user("grace"))

    def token(self, **options: Any) -> str:
        return self.world.done(self.admin.create_token(**options)).token

    def allow(self, node: str) -> str:
        return self.world.done(self.admin.allow_rejoin(node)).token

    def node(self, name: str = "web1") -> pb.Node:
        return self.world.done(self.admin.get_node(name))

    def types(self) -> list[str]:
        found = self.world.done(self.world.store.audit.search(AuditQuery(), limit=50))
        types = [record.event.type.text for record in found]
        return [each for each in types if each.startswith(("node", "token"))]


class RejoinTests(NodeTestCase):
    def test_once_more(self) -> None:
        """A node that lost its key joins once more under its id; the old key is refused."""
        old = Agent(self).join(self.token(labels={"env": "prod"}))
        tunnel = old.tunnel()
        self.assertTrue(tunnel.is_up)
        tunnel.abort()
        self.world.flush()
        token = self.allow("web1")
        new = Agent(self).join(token)
        self.assertEqual(new.answer.agent_id, old.answer.agent_id)
        for attempt in (old.renew, lambda: self.world.done(self.register(old))):
            error = self.assertRaises(Denied, attempt)
            self.assertIn("joined again with another key", str(error))
        self.assertTrue(new.tunnel().is_up)
        self.assertFalse(old.tunnel().is_up)
        self.assertEqual(self.node().status, pb.NODE_STATUS_ONLINE)
        self.assertEqual(new.renew().agent_id, old.answer.agent_id)
        self.assertRaises(Denied, Agent(self).join, token)
        self.assertEqual(dict(self.node().labels), {"env": "prod"})
        self.assertGreater(self.node().rejoined, 0)

    async def register(self, agent: Agent) -> None:
        channel = GrpcChannel(self.world.clock)
        self.world.dial(channel, b"mezite-auth", credentials=agent.credentials)
        await AuthClient(channel).register_agent(labels={}, version="0.1")

    def test_copy_that_is_connected(self) -> None:
        """The tunnel of who still has the old key ends when the node joins once more."""
        old = Agent(self).join(self.token())
        token = self.allow("web1")
        tunnel = old.tunnel()
        self.assertTrue(tunnel.is_up)
        Agent(self).join(token)
        self.world.flush()
        self.assertFalse(tunnel.is_up)

    def test_while_online(self) -> None:
        """A node that is connected is given no token."""
        old = Agent(self).join(self.token())
        old.tunnel()
        error = self.assertRaises(AlreadyExists, self.allow, "web1")
        self.assertIn("web1 is connected", str(error))

    def test_wrong_node(self) -> None:
        """The token is for its node alone, and is not spent by another."""
        Agent(self).join(self.token())
        token = self.allow("web1")
        error = self.assertRaises(Denied, Agent(self).join, token, "web2")
        self.assertIn("--hostname=web1", str(error))
        Agent(self).join(token)

    def test_unknown(self) -> None:
        """For a node that is not there no token is made; the sentence says which there are."""
        error = self.assertRaises(NotFound, self.allow, "db")
        self.assertIn(f"did you mean db1 ({self.db1.agent_id})?", str(error))
        self.assertRaises(NotFound, self.allow, "")
        self.assertRaises(BadInput, self.world.done, self.admin.allow_rejoin("db1", ttl_seconds=1))

    def test_another_key_by_renewal(self) -> None:
        """A node may renew with another key, which then takes the place of the one before."""
        agent = Agent(self).join(self.token())
        before = agent.credentials
        key = ec.generate_private_key(ec.SECP256R1())
        channel = GrpcChannel(self.world.clock)
        self.world.dial(channel, b"mezite-auth", credentials=before)
        agent.key = key
        renewed = self.world.done(
            AuthClient(channel).generate_host_certs(
                version="0.1", ssh_public_key=ssh_public_line(), tls_public_key=agent.public_pem
            )
        )
        tunnel = self.world.open_tunnel(credentials=before)
        self.world.flush()
        self.assertFalse(tunnel.is_up)
        agent.answer = renewed
        self.assertTrue(agent.tunnel().is_up)

    def test_audit(self) -> None:
        """Each step is on record, in its order."""
        token = self.token(hostnames=["web1"])
        self.assertRaises(Denied, Agent(self).join, token, "db7")
        self.assertRaises(Denied, Agent(self).join, token, "db7")
        agent = Agent(self).join(token)
        self.assertRaises(AlreadyExists, Agent(self).join, self.token(), "web1")
        agent.join(self.allow("web1")).tunnel()
        self.world.done(self.admin.delete_node("web1"))
        self.assertEqual(
            self.types(),
            [
                "token.created",
                "node.join.refused",
                "node.joined",
                "token.created",
                "node.join.refused",
                "node.rejoin.allowed",
                "node.rejoined",
                "node.connected",
                "node.removed",
            ],
        )


class TokenTests(NodeTestCase):
    """What a token lets a machine be."""

    def test_labels(self) -> None:
        """A token's labels win over the agent's, at the join and in each heartbeat."""
        token = self.token(labels={"env": "prod", "team": "db"})
        agent = Agent(self).join(token, env="dev", rack="7")
        self.assertEqual(dict(self.node().labels), {"env": "prod", "team": "db", "rack": "7"})
        client = agent.in_tunnel()
        facts = pb.NodeFacts(addresses=["192.0.2.1"], os="Debian", arch="x86_64")
        self.world.done(
            client.register_agent(
                labels={"env": "dev", "kernel": "6"},
                version="1",
                command_labels=["kernel", "env"],
                facts=facts,
            )
        )
        self.world.done(client.agent_heartbeat(labels={"kernel": "6"}, version="1"))
        node = self.node()
        self.assertEqual(dict(node.labels), {"env": "prod", "team": "db", "kernel": "6"})
        self.assertEqual(list(node.hub_labels), ["env", "team"])
        self.assertEqual(node.facts, facts)
        self.world.clock.advance(10)
        self.world.done(
            client.agent_heartbeat(labels={"kernel": "7"}, version="1", command_labels=["kernel"])
        )
        self.assertEqual(list(self.node().command_labels), ["kernel"])
        self.assertEqual(self.node().facts, facts)

    def test_too_many_labels(self) -> None:
        """With the token's, a node has no more labels than any other."""
        token = self.token(labels={"env": "prod"})
        many = {f"k{number}": "" for number in range(64)}
        self.assertRaises(BadInput, Agent(self).join, token, **many)
        client = Agent(self).join(token).in_tunnel()
        registering = client.register_agent(labels=many, version="1")
        self.assertRaises(BadInput, self.world.done, registering)

    def test_hostnames(self) -> None:
        """Only names that fit may be claimed, and a refusal costs nothing."""
        token = self.token(hostnames=["db9", "web-*"], uses=2)
        error = self.assertRaises(Denied, Agent(self).join, token, "web1")
        self.assertIn("for db9, web-*, and not for the host name web1", str(error))
        Agent(self).join(token, "web-1")
        Agent(self).join(token, "db9")

    def test_shown(self) -> None:
        """A token is listed with what it gives, and what it is for."""
        self.token(labels={"env": "prod"}, hostnames=["WEB-*"], description="rack 7")
        self.allow("db1")
        shown = {token.rejoins: token for token in self.world.done(self.admin.list_tokens())}
        ordinary, for_db1 = shown[""], shown[str(self.db1.agent_id)]
        self.assertEqual(dict(ordinary.labels), {"env": "prod"})
        self.assertEqual((list(ordinary.hostnames), ordinary.description), (["web-*"], "rack 7"))
        self.assertEqual((ordinary.created_by, for_db1.uses_left), ("grace", 1))

    def test_refused(self) -> None:
        """What cannot be a label, a name or a description is refused."""
        for options in (
            {"labels": {"a b": "x"}},
            {"labels": {"env": "x" * 300}},
            {"hostnames": ["a b"]},
            {"hostnames": [f"db{number}" for number in range(65)]},
            {"description": "x" * 256},
            {"description": "a\nb"},
        ):
            self.assertRaises(BadInput, self.token, **options)


class WordTests(NodeTestCase):
    """What a hostile agent says of itself."""

    def test_facts(self) -> None:
        """What is no address is left out, what is too much is cut, and all of it is printable."""
        client = Agent(self).join(self.token()).in_tunnel()
        facts = pb.NodeFacts(
            addresses=["x", "fe80::1%\x1b[2J", "192.0.2.1", "192.0.2.1", *["10.0.0.1"] * 1000],
            os="\x1b[2J" + "x" * 10_000,
            arch="y" * 10_000,
        )
        self.world.done(
            client.register_agent(
                labels={"a": "b"}, version="1\x00", command_labels=["c"] * 1000, facts=facts
            )
        )
        node = self.node()
        self.assertEqual(list(node.facts.addresses), ["192.0.2.1", "10.0.0.1"])
        self.assertLessEqual(len(node.facts.os), 80)
        self.assertTrue(node.facts.os.isprintable())
        self.assertLessEqual(len(node.facts.arch), 32)
        self.assertEqual((list(node.command_labels), node.version), ([], "1"))

    def test_who_sees_what(self) -> None:
        """Where a machine stands is for administrators and auditors."""
        agent = Agent(self).join(self.token(labels={"env": "prod"}))
        self.world.done(
            agent.in_tunnel().register_agent(
                labels={}, version="1", facts=pb.NodeFacts(addresses=["192.0.2.1"])
            )
        )
        for user, is_shown in (("ada", False), ("grace", True)):
            listed = self.world.done(self.client(self.world.user(user)).list_nodes())
            (node,) = [node for node in listed if node.hostname == "web1"]
            self.assertEqual(bool(node.facts.addresses), is_shown)
            self.assertEqual(bool(node.address), is_shown)
            self.assertGreater(node.online_since, 0)


class UpkeepTests(NodeTestCase):
    """What the hub forgets by itself."""

    def upkeep(self, later: float = 0.0, **changes: Any) -> None:
        """Upkeep by a clock that is ahead, so that no tunnel's time runs out meanwhile."""
        clock = self.world.clock
        parts = self.world.hub._parts
        ahead = evolve(parts.upkeep, wall_clock=lambda: clock.seconds() + later, **changes)
        self.world.done(ahead.run())

    def names(self) -> list[str]:
        return [record.name.text for record in self.world.done(self.world.store.nodes.list())]

    def test_away(self) -> None:
        """Nodes that stay away are removed; those that are online or seen lately stay."""
        Agent(self).join(self.token(), "here").tunnel()
        month = 30 * 86400.0
        self.upkeep(month)
        self.assertEqual(self.names(), ["db1", "here"])
        self.world.clock.rightNow += 1
        self.world.add_node("new")
        self.upkeep(month)
        self.assertEqual(self.names(), ["here", "new"])
        self.assertEqual(self.types()[-1], "node.removed")

    def test_for_ever(self) -> None:
        """Where it is so wanted, no node is removed."""
        self.upkeep(1000 * 86400.0, keep_offline=None)
        self.assertEqual(self.names(), ["db1"])

    def test_tokens(self) -> None:
        """Tokens that have expired are forgotten."""
        self.token(ttl_seconds=60)
        self.upkeep(61)
        self.assertEqual(self.world.done(self.world.store.join_tokens.list()), ())
