"""Tests of how machines come into the cluster and stay in it."""

from __future__ import annotations

from typing import Any

from cryptography import x509 as certificates
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.auth.error import BadRequest, NodeNameReserved, NodeRemoved
from mezite.auth.joining import HOST_LIFETIME, NODE_TLS_LIFETIME, HostCertificates
from mezite.identity.error import BadPublicKey
from mezite.identity.sshcert import blob_of, check_host
from mezite.identity.x509 import NodeIdentity, identity_of, key_hash, load_public_key
from mezite.names import AgentId, ClusterName, InvalidName, NodeName
from mezite.store.error import NodeNameTaken, TokenRefused
from mezite.store.interfaces import ISerials
from mezite.store.memory import MemoryStore
from mezite.store.records import JoinTokenRecord
from tests.auth.world import CLUSTER, HOST_CA, LOCAL, SSH_LINE, START, TLS_PEM, USER_CA, World

DB1 = NodeName("db1")
TLS_KEY = key_hash(load_public_key(TLS_PEM))


class JoiningTestCase(SynchronousTestCase):
    """A cluster with a join token for one node."""

    def setUp(self) -> None:
        self.world = World()
        self.token = self.new_token()

    def new_token(self, **changes: Any) -> str:
        return self.created(**changes)[1]

    def created(self, **changes: Any) -> tuple[JoinTokenRecord, str]:
        creating = self.world.tokens.create(by=LOCAL, **changes)
        return self.successResultOf(Deferred.fromCoroutine(creating))

    def join(self, token: str | None = None, **changes: Any) -> Deferred[HostCertificates]:
        arguments: dict[str, Any] = {
            "node": DB1,
            "labels": {"env": "dev"},
            "version": "1.0",
            "ssh_public_line": SSH_LINE,
            "address": "192.0.2.9",
            "tls_public_key_pem": TLS_PEM,
        }
        return Deferred.fromCoroutine(
            self.world.joining.join(self.token if token is None else token, **(arguments | changes))
        )

    def joined(self, **changes: Any) -> HostCertificates:
        return self.successResultOf(self.join(**changes))

    def is_valid(self, token: str) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(self.world.joining.validate(token)))

    def identity(self, issued: HostCertificates) -> NodeIdentity:
        read = identity_of(certificates.load_pem_x509_certificate(issued.tls_certificate_pem))
        assert isinstance(read, NodeIdentity)
        return read


class TokenTests(JoiningTestCase):
    def test_record(self) -> None:
        """A token is stored as a hash, and known by the beginning of that."""
        record, text = self.created(ttl=600, uses=3)
        self.assertEqual(record.expires, self.world.now + 600)
        self.assertEqual((record.uses_left, record.max_uses), (3, 3))
        self.assertEqual(record.created_by, "local")
        self.assertTrue(record.secret_hash.hex().startswith(record.token_id))
        self.assertNotIn(text, repr(self.world.store._tables))

    def test_bounds(self) -> None:
        """A token lives for a minute to a month, and admits one machine at least."""
        for changes in (
            {"ttl": 59},
            {"ttl": float("nan")},
            {"ttl": 31 * 86400},
            {"uses": 0},
            {"uses": 10**6},
        ):
            creating = self.world.tokens.create(by=LOCAL, **changes)  # type: ignore[arg-type]
            self.failureResultOf(Deferred.fromCoroutine(creating), BadRequest)

    def test_validate(self) -> None:
        """Asking about a token does not use it up."""
        for _ in range(3):
            self.assertTrue(self.is_valid(self.token))
        for other in ("", "mzt_", self.token + "a", self.token.upper(), "x" * 10**6, "\ud800"):
            self.assertFalse(self.is_valid(other))
        self.world.now += 3600
        self.assertFalse(self.is_valid(self.token))


class JoinTests(JoiningTestCase):
    def test_certificates(self) -> None:
        """A node gets an id, with its host name bound to it in both certificates."""
        issued = self.joined()
        self.assertEqual(self.identity(issued), NodeIdentity(CLUSTER, issued.agent_id, DB1))
        names = {
            f"{name}{below}"
            for name in ("db1", str(issued.agent_id))
            for below in ("", ".hub.example.com", ".mezite")
        }
        for name in names:
            host = check_host(
                blob_of(issued.ssh_certificate),
                trusted=[HOST_CA.public_blob],
                now=self.world.now,
                principals=[name],
            )
            self.assertEqual(host.agent_id, issued.agent_id)
            self.assertEqual(host.principals, names)
        self.assertTrue(issued.user_ca_lines[0].startswith(USER_CA.public_line()))

    def test_lifetimes(self) -> None:
        """The host certificate is renewed daily; the way back in stays open for weeks."""
        issued = self.joined()
        tls = certificates.load_pem_x509_certificate(issued.tls_certificate_pem)
        self.assertEqual(issued.valid_before, START + HOST_LIFETIME)
        self.assertEqual(tls.not_valid_after_utc.timestamp(), START + NODE_TLS_LIFETIME)

    def test_stored(self) -> None:
        """The node is in the store as it was certified."""
        issued = self.joined()
        record = self.successResultOf(self.world.store.nodes.get(issued.agent_id))
        assert record is not None
        self.assertEqual((record.name, record.version), (DB1, "1.0"))
        self.assertEqual(record.labels, {"env": "dev"})
        self.assertEqual(record.joined, self.world.now)

    def test_single_use(self) -> None:
        """A token admits as many machines as it says, and no more."""
        self.joined()
        self.failureResultOf(self.join(node=NodeName("db2")), TokenRefused)
        self.token = self.new_token(uses=2)
        self.joined(node=NodeName("db3"))
        self.joined(node=NodeName("db4"))
        self.failureResultOf(self.join(node=NodeName("db5")), TokenRefused)

    def test_expired(self) -> None:
        """A token that is over admits nobody."""
        self.world.now += 3600
        self.failureResultOf(self.join(), TokenRefused)

    def test_unknown(self) -> None:
        """A stranger learns nothing, costs no serial number, and adds nothing."""
        for token in ("", "mzt_x", "x" * 10**6):
            self.failureResultOf(self.join(token), TokenRefused)
            # What else is wrong is not said to strangers.
            self.failureResultOf(self.join(token, node=NodeName("auth")), TokenRefused)
        self.assertEqual(self.successResultOf(self.world.store.serials.next()), 1)
        self.assertEqual(self.successResultOf(self.world.store.nodes.list()), ())

    def test_name_taken(self) -> None:
        """A second machine with one host name is refused, and told who holds it."""
        holder = self.joined().agent_id
        self.token = self.new_token()
        failure = self.failureResultOf(self.join(), NodeNameTaken)
        self.assertIn("db1", str(failure.value))
        self.assertIn(str(holder), str(failure.value))
        self.assertTrue(self.is_valid(self.token))
        self.joined(node=NodeName("db2"))

    def test_refusals_spend_nothing(self) -> None:
        """A request that is wrong by itself does not cost the token."""
        for kind, changes in (
            (BadPublicKey, {"ssh_public_line": "ssh-rsa AAAA"}),
            (BadPublicKey, {"address": "192.0.2.9", "tls_public_key_pem": b"x"}),
            (InvalidName, {"labels": {"-": "x"}}),
            (InvalidName, {"labels": {f"k{n}": "x" for n in range(65)}}),
            (BadRequest, {"version": "x" * 65}),
            (BadRequest, {"version": "1\n2"}),
            (NodeNameReserved, {"node": NodeName("auth")}),
        ):
            self.failureResultOf(self.join(**changes), kind)
        self.joined()

    def test_reserved_names(self) -> None:
        """No node takes a name that leads elsewhere, or would be another node's."""
        for name in (
            "auth",
            "localhost",
            "hub.example.com",
            "db1.hub.example.com",
            "a.b.hub.example.com",
            "db1.mezite",
            str(AgentId.new()),
        ):
            failure = self.failureResultOf(self.join(node=NodeName.parse(name)), NodeNameReserved)
            self.assertIn(name, str(failure.value))
        failure = self.failureResultOf(
            self.join(node=NodeName("db1.hub.example.com")), NodeNameReserved
        )
        self.assertIn("join with --hostname db1", str(failure.value))

    def test_name_of_the_hubs_machine(self) -> None:
        """The hub's own machine can be a node, though the cluster is called by its name."""
        self.assertEqual(self.joined(node=NodeName("mezite")).node, NodeName("mezite"))


@implementer(ISerials)
class HeldSerials:
    """Serial numbers that come when they are told to, so that joins overlap."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[int]] = []

    def next(self) -> Deferred[int]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def give(self) -> None:
        for number, waiting in enumerate(self.waiting, 1):
            waiting.callback(number)


class OverlapTests(JoiningTestCase):
    def setUp(self) -> None:
        self.serials = HeldSerials()
        verifyObject(ISerials, self.serials)
        store = MemoryStore()
        store.serials = self.serials
        self.world = World(store=store)
        self.token = self.new_token()

    def test_one_token(self) -> None:
        """Of machines that show one token at the same time, one is admitted."""
        joins = [self.join(node=NodeName(f"db{number}")) for number in range(5)]
        self.assertEqual(len(self.serials.waiting), 5)
        self.serials.give()
        self.successResultOf(joins[0])
        for other in joins[1:]:
            self.failureResultOf(other, TokenRefused)
        self.assertEqual(len(self.successResultOf(self.world.store.nodes.list())), 1)

    def test_one_name(self) -> None:
        """Of machines that claim one name at the same time, one gets it."""
        other_token = self.new_token()
        first, second = self.join(), self.join(other_token)
        self.serials.give()
        holder = self.successResultOf(first).agent_id
        failure = self.failureResultOf(second, NodeNameTaken)
        self.assertIn(str(holder), str(failure.value))
        self.assertTrue(self.is_valid(other_token))


class RenewTests(JoiningTestCase):
    def renew(self, identity: NodeIdentity, **changes: Any) -> Deferred[HostCertificates]:
        arguments: dict[str, Any] = {
            "tls_key": TLS_KEY,
            "ssh_public_line": SSH_LINE,
            "tls_public_key_pem": TLS_PEM,
        }
        return Deferred.fromCoroutine(self.world.joining.renew(identity, **(arguments | changes)))

    def test_renewed(self) -> None:
        """New certificates name the same node and end later."""
        first = self.joined()
        self.world.now += 1000
        second = self.successResultOf(self.renew(self.identity(first)))
        self.assertEqual(self.identity(second), self.identity(first))
        self.assertEqual(second.valid_before, first.valid_before + 1000)
        self.assertNotEqual(second.ssh_certificate, first.ssh_certificate)

    def test_stored_name(self) -> None:
        """The name in the store counts, whatever the old certificate says."""
        issued = self.joined()
        claimed = NodeIdentity(CLUSTER, issued.agent_id, NodeName("db2"))
        self.assertEqual(self.successResultOf(self.renew(claimed)).node, DB1)

    def test_removed(self) -> None:
        """A node that was removed, or is from another cluster, is not renewed."""
        issued = self.joined()
        elsewhere = NodeIdentity(ClusterName("other"), issued.agent_id, DB1)
        self.failureResultOf(self.renew(elsewhere), NodeRemoved)
        self.successResultOf(self.world.store.nodes.remove(issued.agent_id))
        failure = self.failureResultOf(self.renew(self.identity(issued)), NodeRemoved)
        self.assertIn("join it again", str(failure.value))

    def test_bad_keys(self) -> None:
        """Keys that get no certificate are refused."""
        identity = self.identity(self.joined())
        self.failureResultOf(self.renew(identity, ssh_public_line="x"), BadPublicKey)
        self.failureResultOf(self.renew(identity, tls_public_key_pem=b""), BadPublicKey)
