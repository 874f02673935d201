"""Tests of the hub put together: every door of the port, without a socket."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import AlreadyExists, Denied, NotAuthenticated, NotFound
from mezite.identity import sshcert
from mezite.identity.tokens import hash_token
from mezite.identity.x509 import Identity, NodeIdentity
from mezite.mux.transport import StreamTransport
from mezite.names import AgentId, NodeName, UserName
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.client import AuthClient
from mezite.rpc.opening import Opening
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.store.memory import MemoryNodes
from mezite.store.records import AuditQuery, BearerRecord, NodeRecord
from tests.doubles.hubworld import CLUSTER, Heard, HubWorld, ssh_public_line, tls_public_pem


class HubTests(SynchronousTestCase):
    """What all of them begin with: a hub, ada who may be root on env=prod, and db1."""

    def make_world(self) -> HubWorld:
        return HubWorld()

    def setUp(self) -> None:
        self.world = self.make_world()
        self.world.add_user("ada", "root", labels="env=prod")
        self.world.add_user("grace", admin=True)
        self.db1 = self.world.add_node("db1", env="prod")

    def client(self, identity: Identity | None = None, bearer: str | None = None) -> AuthClient:
        channel = GrpcChannel(self.world.clock)
        self.world.dial(channel, b"mezite-auth", identity=identity)
        return AuthClient(channel, bearer)

    def bearer_of(self, user: str) -> str:
        """A bearer whose owner has just proved who they are."""
        now = self.world.clock.seconds()
        record = BearerRecord(hash_token(f"bearer of {user}"), UserName(user), now + 600, now)
        self.world.done(self.world.store.bearers.add(record))
        return f"bearer of {user}"


class ProofTests(HubTests):
    """What proves who is calling; which method needs what is in test_permissions."""

    def call(self, client: AuthClient, name: str) -> None:
        request = getattr(pb, f"{name}Request")()
        answer = getattr(pb, f"{name}Response")
        self.world.done(client._call(request, answer))

    def test_refusals_are_audited(self) -> None:
        """Who is known and asks for too much is on record; strangers are not."""
        self.assertRaises(Denied, self.call, self.client(self.world.user("ada")), "ListUsers")
        self.assertRaises(NotAuthenticated, self.call, self.client(), "ListUsers")
        found = self.world.done(self.world.store.audit.search(AuditQuery(), limit=10))
        (event,) = [record.event for record in found if record.event.type.text == "authz.denied"]
        self.assertEqual(event.actor.name, "ada")
        self.assertEqual(event.details, {"method": "ListUsers"})
        self.assertFalse(event.success)

    def test_removed_user(self) -> None:
        """The certificate of a user who was removed is worth nothing."""
        client = self.client(self.world.user("ada"))
        self.world.done(client.list_nodes())
        self.world.done(self.world.store.users.remove(UserName("ada")))
        self.assertRaises(NotAuthenticated, self.world.done, client.list_nodes())

    def test_one_time_password(self) -> None:
        """Whoever still has a one-time password does nothing with it but change it."""
        self.world.add_user("root", admin=True, must_change=True)
        client = self.client(bearer=self.bearer_of("root"))
        for call in (client.list_nodes(), client.create_token()):
            error = self.assertRaises(Denied, self.world.done, call)
            self.assertIn("password must be changed", str(error))

    def test_certificates_are_not_prolonged(self) -> None:
        """Certificates are issued for a password, not for certificates."""
        client = self.client(self.world.user("ada"))
        self.assertRaises(NotAuthenticated, self.call, client, "IssueUserCerts")

    def test_bad_bearers(self) -> None:
        """An unknown, empty or overlong bearer is nobody's."""
        for bearer in ("x", "x" * 5000):
            client = self.client(bearer=bearer)
            self.assertRaises(NotAuthenticated, self.world.done, client.list_nodes())


class UserTests(HubTests):
    """What users get from the auth service."""

    def test_certificates(self) -> None:
        """A bearer buys both certificates, for the user's own logins."""
        client = self.client(bearer=self.bearer_of("ada"))
        issued = self.world.done(
            client.issue_user_certs(
                ssh_public_key=ssh_public_line(), tls_public_key=tls_public_pem(), ttl_seconds=600
            )
        )
        certificate = sshcert.check_user(
            sshcert.blob_of(issued.ssh_certificate),
            trusted=[self.world.authorities.user_ca.public_blob],
            now=self.world.clock.seconds(),
            login=None,
            source_address=None,
        )
        self.assertEqual(certificate.user, UserName("ada"))
        self.assertEqual(certificate.principals, {"root"})
        self.assertEqual((issued.cluster_name, issued.hub_name), ("example.com", "hub.example.com"))

    def test_nodes_within_reach(self) -> None:
        """A user sees the nodes they may reach, an administrator all of them."""
        self.world.add_node("web1", env="dev")
        seen = self.world.done(self.client(self.world.user("ada")).list_nodes())
        self.assertEqual([node.hostname for node in seen], ["db1"])
        seen = self.world.done(self.client(self.world.user("grace")).list_nodes())
        self.assertEqual([node.hostname for node in seen], ["db1", "web1"])

    def test_pages(self) -> None:
        """A list that is longer than a page comes whole, in order."""
        for number in range(205):
            self.world.add_node(f"n{number:03}", env="prod")
        seen = self.world.done(self.client(self.world.user("ada")).list_nodes())
        self.assertEqual(len(seen), 206)
        self.assertEqual(seen, sorted(seen, key=lambda node: node.hostname))


class AdminTests(HubTests):
    """What administrators do."""

    def setUp(self) -> None:
        super().setUp()
        self.admin = self.client(self.world.user("grace"))

    def test_user_comes_and_goes(self) -> None:
        """A user is made once, with a one-time password, listed, and removed."""
        made = self.world.done(
            self.admin.create_user(
                "eve", logins=["eve"], node_labels=["env=dev"], one_time_password=True
            )
        )
        self.assertTrue(made.one_time_password)
        self.assertFalse(made.HasField("invite"))
        self.assertTrue(made.user.must_change_password)
        self.assertRaises(
            AlreadyExists, self.world.done, self.admin.create_user("eve", logins=["eve"])
        )
        listed = self.world.done(self.admin.list_users())
        self.assertEqual([user.name for user in listed], ["ada", "eve", "grace"])
        self.world.done(self.admin.delete_user("eve"))
        self.assertRaises(NotFound, self.world.done, self.admin.delete_user("eve"))

    def test_token(self) -> None:
        """A token's command line is complete; lists never show its secret."""
        token = self.world.done(self.admin.create_token(uses=2))
        self.assertEqual(
            token.join_command,
            f"twist mezd --hub=hub.example.com:443 --token={token.token}"
            f" --ca-pin={self.world.authorities.cluster_ca.pin}",
        )
        (listed,) = self.world.done(self.admin.list_tokens())
        self.assertEqual((listed.created_by, listed.uses_left), ("grace", 2))
        self.assertNotIn(token.token, str(listed))
        self.world.done(self.admin.delete_token(token.token_id))
        self.assertEqual(self.world.done(self.admin.list_tokens()), [])

    def test_remove_node(self) -> None:
        """A removed node loses its tunnel at once, and cannot open another."""
        tunnel = self.world.open_tunnel(self.db1)
        self.world.flush()
        self.assertEqual(len(self.world.hub.registry), 1)
        self.world.done(self.admin.delete_node("db1"))
        self.world.flush()
        self.assertFalse(tunnel.is_up)
        again = self.world.open_tunnel(self.db1)
        self.world.flush()
        self.assertFalse(again.is_up)
        self.assertEqual(len(self.world.hub.registry), 0)

    def test_status(self) -> None:
        """The status counts what is there."""
        self.world.open_tunnel(self.db1)
        status = self.world.done(self.admin.get_status())
        self.assertEqual(
            (status.nodes_online, status.nodes_known, status.users, status.tunnels), (1, 1, 2, 1)
        )


class JoinTests(HubTests):
    """How nodes come in, and what they may claim."""

    def join(self, token: str, name: str) -> pb.GenerateHostCertsResponse:
        return self.world.done(
            self.client().generate_host_certs(
                token=token,
                hostname=name,
                labels={},
                version="0.1",
                ssh_public_key=ssh_public_line(),
                tls_public_key=tls_public_pem(),
            )
        )

    def token(self) -> str:
        admin = self.client(self.world.user("grace"))
        return self.world.done(admin.create_token()).token

    def test_once(self) -> None:
        """A token joins one node."""
        token = self.token()
        joined = self.join(token, "web1")
        self.assertEqual(joined.hostname, "web1")
        self.assertRaises(Denied, self.join, token, "web2")

    def test_taken_name(self) -> None:
        """A name that another node holds is refused, naming its id; the token stays good."""
        token = self.token()
        error = self.assertRaises(AlreadyExists, self.join, token, "db1")
        self.assertIn(str(self.db1.agent_id), str(error))
        self.join(token, "db2")

    def test_renewal_keeps_the_name(self) -> None:
        """A renewal that asks for another name gets a certificate for the old one."""
        renewed = self.world.done(
            self.client(self.db1).generate_host_certs(
                token="",
                hostname="web1",
                labels={},
                version="0.1",
                ssh_public_key=ssh_public_line(),
                tls_public_key=tls_public_pem(),
            )
        )
        self.assertEqual((renewed.hostname, renewed.agent_id), ("db1", str(self.db1.agent_id)))


class TunnelTests(HubTests):
    """Agents' tunnels."""

    def auth_stream(self, node: NodeIdentity) -> AuthClient:
        return self.world.calls_in(self.world.open_tunnel(node))

    def status_of(self, name: str) -> pb.Node:
        listed = self.world.done(self.client(self.world.user("grace")).list_nodes())
        return next(node for node in listed if node.hostname == name)

    def test_online_and_offline(self) -> None:
        """A node is online while its tunnel is up, and then offline with its last sign of life."""
        online = pb.NodeStatus.NODE_STATUS_ONLINE
        tunnel = self.world.open_tunnel(self.db1)
        self.assertEqual(self.status_of("db1").status, online)
        tunnel.abort()
        self.world.flush()
        node = self.status_of("db1")
        self.assertNotEqual(node.status, online)
        self.assertEqual(node.last_seen, int(self.world.clock.seconds()))

    def test_heartbeat_cannot_rename(self) -> None:
        """Labels come from messages; the name comes from the certificate."""
        web1 = self.world.add_node("web1")
        client = self.auth_stream(web1)
        self.world.done(client.register_agent(labels={"env": "x"}, version="9", hostname="db1"))
        self.assertEqual(dict(self.status_of("web1").labels), {"env": "x"})
        self.assertEqual(dict(self.status_of("db1").labels), {"env": "prod"})
        self.assertIsNone(self.world.hub.registry.find_name(NodeName("db1")))

    def test_speaks_before_it_is_admitted(self) -> None:
        """What an agent says while its node is still looked up counts once that is done."""
        lookup: Deferred[None] = Deferred()
        at_once = MemoryNodes.get

        def slowly(nodes: MemoryNodes, agent_id: AgentId) -> Deferred[NodeRecord | None]:
            patched.restore()
            return lookup.addCallback(lambda _: at_once(nodes, agent_id))

        patched = self.patch(MemoryNodes, "get", slowly)
        client = self.auth_stream(self.db1)
        registering = Deferred.fromCoroutine(
            client.register_agent(labels={"env": "new"}, version="9")
        )
        self.world.flush()
        self.assertNoResult(registering)
        lookup.callback(None)
        self.world.flush()
        self.successResultOf(registering)
        self.assertEqual(dict(self.status_of("db1").labels), {"env": "new"})

    def test_newest_lives(self) -> None:
        """A second tunnel of one agent replaces the first at once."""
        first = self.world.open_tunnel(self.db1)
        second = self.world.open_tunnel(self.db1)
        self.world.flush()
        self.assertEqual((first.is_up, second.is_up), (False, True))
        self.assertEqual(len(self.world.hub.registry), 1)

    def test_forged_identity(self) -> None:
        """A certificate for an id that never joined, or for a joined id with another name."""
        for forged in (
            NodeIdentity(CLUSTER, AgentId.new(), NodeName("db1")),
            NodeIdentity(CLUSTER, self.db1.agent_id, NodeName("web1")),
        ):
            tunnel = self.world.open_tunnel(forged)
            self.world.flush()
            self.assertFalse(tunnel.is_up)
            self.assertEqual(len(self.world.hub.registry), 0)

    def test_unknown_service(self) -> None:
        """A stream for a service that the hub does not have is reset."""
        heard = Heard()
        self.world.ask_for("ssh", self.world.open_tunnel(self.db1), heard)
        self.assertIsNotNone(heard.reason)


class SessionTests(HubTests):
    """The way of a user's bytes to a node."""

    def setUp(self) -> None:
        super().setUp()
        self.headers: list[StreamHeader] = []
        self.node_heard = Heard()

    def accept(self, stream: StreamTransport) -> None:
        def choose(header: StreamHeader) -> Heard:
            self.headers.append(header)
            return self.node_heard

        stream.attach(Opening(self.world.clock, choose))

    def dial(self, node: str, user: str = "ada") -> Heard:
        heard = Heard()
        self.world.dial(
            heard,
            b"mezite-ssh",
            identity=self.world.user(user),
            server_name=f"{node}.hub.example.com",
        )
        self.world.flush()
        return heard

    def test_both_ways(self) -> None:
        """What the user sends reaches the node, and the other way round."""
        self.world.open_tunnel(self.db1, self.accept)
        user = self.dial("db1")
        self.assertEqual(self.headers[0].user, "ada")
        user.transport.write(b"SSH-2.0-there")
        self.node_heard.transport.write(b"SSH-2.0-back")
        self.world.flush()
        self.assertEqual((self.node_heard.data, user.data), (b"SSH-2.0-there", b"SSH-2.0-back"))
        user.transport.loseConnection()
        self.world.flush()
        self.assertIsNotNone(self.node_heard.reason)
        self.assertEqual(next(iter(self.world.hub.registry)).mux.stream_count, 0)

    def test_by_id(self) -> None:
        """An agent id in the place of the name leads to the same node."""
        self.world.open_tunnel(self.db1, self.accept)
        self.dial(str(self.db1.agent_id))
        self.assertEqual(len(self.headers), 1)

    def refused(self, node: str, user: str = "ada") -> bytes:
        heard = self.dial(node, user)
        self.world.clock.advance(6)
        self.world.flush()
        self.assertIsNotNone(heard.reason)
        self.assertEqual(self.headers, [])
        self.assertTrue(heard.data.startswith(b"SSH-2.0-Mezite\r\n"))
        return heard.data

    def test_offline(self) -> None:
        """A node without a tunnel is refused in a sentence, at once."""
        self.assertIn(b"db1 is not connected", self.refused("db1"))

    def test_unknown(self) -> None:
        """So is a node that never was, and a name that cannot be one."""
        self.assertIn(b"there is no node db9", self.refused("db9"))
        self.assertIn(b"there is no node", self.refused("a_b"))

    def test_candidates(self) -> None:
        """A name that is nearly right is answered with what may be meant, within reach only."""
        eu, us = self.world.add_node("db1.eu", env="prod"), self.world.add_node("db1.us", env="dev")
        # The name of db1 is there, so that it is one of three that begin so.
        heard = self.refused("db").decode("ascii", "replace")
        self.assertIn(f"db1 ({self.db1.agent_id}) or db1.eu ({eu.agent_id})?", heard)
        self.assertNotIn(str(us.agent_id), heard)
        for wanted in ("db1.eu.example", str(self.db1.agent_id)[:8]):
            self.assertIn(str(self.db1.agent_id), self.refused(wanted).decode("ascii", "replace"))
        self.assertIn(b"msh ls shows yours", self.refused("nothing"))

    def test_not_allowed(self) -> None:
        """A user whose labels do not match is refused, and the node hears nothing."""
        web1 = self.world.add_node("web1", env="dev")
        self.world.open_tunnel(web1, self.accept)
        # As for a node that is not there: names of others' nodes are not given away.
        self.assertIn(b"there is no node web1", self.refused("web1"))

    def test_removed_user(self) -> None:
        """The certificate of a removed user opens nothing."""
        self.world.open_tunnel(self.db1, self.accept)
        self.world.done(self.world.store.users.remove(UserName("ada")))
        self.refused("db1")

    def test_client_gone_while_opening(self) -> None:
        """A tunnel that goes down ends its sessions, and the users hear of it."""
        tunnel = self.world.open_tunnel(self.db1, self.accept)
        user = self.dial("db1")
        tunnel.abort()
        self.world.flush()
        self.assertIsNotNone(user.reason)
