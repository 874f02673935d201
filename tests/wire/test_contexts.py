"""
Handshakes of our contexts in memory: versions, certificates and demands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mezite.names import ClusterName
from mezite.wire.alpn import Demand
from mezite.wire.contexts import ClientContext, HubContexts, client_context, refusal_of
from mezite.wire.credentials import Credentials, load_certificates
from mezite.wire.error import BadCredentials, HandshakeFailed
from tests.doubles.certificates import HUB_NAME, certificate_set, hub_credentials, leaf_of

NODE_NAME = f"db1.{HUB_NAME}"
VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "alpn.json").read_text()
)


@define(eq=False)
class Handshake:
    """Two connections that shake hands through memory, until neither can go on."""

    client: SSL.Connection
    server: SSL.Connection
    errors: dict[str, Exception] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        for _ in range(6):
            self._step("client", self.client, self.server)
            self._step("server", self.server, self.client)

    def _step(self, name: str, here: SSL.Connection, there: SSL.Connection) -> None:
        if name not in self.errors:
            try:
                here.do_handshake()
                here.recv(1)
            except SSL.WantReadError:
                pass
            except (SSL.Error, HandshakeFailed) as error:
                self.errors[name] = error
        try:
            there.bio_write(here.bio_read(1 << 20))
        except SSL.WantReadError:
            pass

    @property
    def is_done(self) -> bool:
        return not self.errors

    @property
    def leaf(self) -> x509.Certificate | None:
        """What the server presented."""
        return self.client.get_peer_certificate(as_cryptography=True)


def raw_client(
    offered: list[bytes] | None,
    server_name: str | None = None,
    *,
    credentials: Credentials | None = None,
    version: int = SSL.TLS1_3_VERSION,
    context: SSL.Context | None = None,
) -> SSL.Connection:
    """A client of somebody else's making, that verifies nothing."""
    if context is None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        if credentials is not None:
            context.use_certificate(leaf_of(credentials))
            context.use_privatekey(load_pem_private_key(credentials.key_pem, None))
        if offered:
            context.set_alpn_protos(offered)
    connection = SSL.Connection(context, None)
    if server_name is not None:
        connection.set_tlsext_host_name(server_name.encode())
    connection.set_connect_state()
    return connection


class ContextTestCase(SynchronousTestCase):
    """A hub with a certificate of its own, and perhaps one for browsers."""

    def setUp(self) -> None:
        self.ours = certificate_set()
        self.theirs = certificate_set("theirs")
        self.hub = self.make_hub()

    def make_hub(self, web: Credentials | None = None) -> HubContexts:
        return HubContexts(
            hub_names=VECTORS["hub_names"],
            authorities_pem=self.ours.ca_pem,
            hub=self.ours.hub,
            web=web,
        )

    def shake(self, client: SSL.Connection, hub: HubContexts | None = None) -> Handshake:
        return Handshake(client, (hub or self.hub).serverConnectionForTLS(self))

    def ours_to(
        self,
        protocol: bytes,
        server_name: str | None = None,
        credentials: Credentials | None = None,
        **options: Any,
    ) -> Handshake:
        context = client_context(
            protocol,
            self.ours.ca_pem,
            credentials and credentials.certificate_pem,
            credentials and credentials.key_pem,
        )
        return self.shake(context.connection(server_name), **options)


class OfferTests(ContextTestCase):
    """The vectors, in real handshakes."""

    def test_vectors(self) -> None:
        """Each offer agrees on the specified name, and asks for a certificate as specified."""
        for case in VECTORS["cases"]:
            offered = [name.encode() for name in case["offered"] or ()]
            handshake = self.shake(raw_client(offered or None, case["server_name"]))
            demand = Demand(case["certificate"])
            with self.subTest(case["what"]):
                self.assertEqual(handshake.is_done, demand is not Demand.DEMANDED)
                self.assertEqual(
                    handshake.client.get_alpn_proto_negotiated().decode(), case["chosen"] or ""
                )
                mode = handshake.server.get_verify_mode()
                self.assertEqual(mode != SSL.VERIFY_NONE, demand is not Demand.NOT_ASKED)


class CertificateTests(ContextTestCase):
    """Whose certificate opens what."""

    def test_matrix(self) -> None:
        """Each route admits the certificates of its roles, ours and in time, and no others."""
        ours, theirs = self.ours, self.theirs
        node, ssh = (b"mezite-tunnel", None), (b"mezite-ssh", NODE_NAME)
        auth, clusters = (b"mezite-auth", None), (b"mezite-cluster-tunnel", None)
        stock, web, jump = (b"h2", f"auth.{HUB_NAME}"), (b"h2", HUB_NAME), (b"mezite-ssh", HUB_NAME)
        for what, credentials, opens in (
            ("none", None, [auth, stock, web, jump]),
            ("node", ours.node, [node, auth, stock, web, jump]),
            ("user", ours.user, [ssh, auth, stock, web, jump]),
            ("hub", ours.hub, [web, jump]),
            ("expired", ours.expired_node, [web, jump]),
            ("foreign node", theirs.node, [web, jump]),
            ("foreign user", theirs.user, [web, jump]),
        ):
            for route in (node, ssh, auth, clusters, stock, web, jump):
                protocol, server_name = route
                client = raw_client([protocol], server_name, credentials=credentials)
                with self.subTest(f"{what} at {protocol!r} {server_name}"):
                    self.assertEqual(self.shake(client).is_done, route in opens)

    def test_never_seen(self) -> None:
        """A browser with a certificate of ours is not asked, and stays nobody."""
        client = raw_client([b"h2"], HUB_NAME, credentials=self.ours.user)
        self.assertIsNone(self.shake(client).server.get_peer_certificate())

    def test_says_why(self) -> None:
        """The hub knows in words why it refused a certificate."""
        for credentials, words in (
            (self.ours.user, "user's certificate"),
            (self.ours.expired_node, "expired"),
            (self.theirs.node, "not from an authority"),
        ):
            handshake = self.ours_to(b"mezite-tunnel", None, credentials)
            self.assertIn(words, refusal_of(handshake.server) or "")

    def test_refusals_stay_apart(self) -> None:
        """A refused connection leaves nothing behind on the context for the next one."""
        for _ in range(3):
            self.assertFalse(self.ours_to(b"mezite-tunnel", None, self.ours.user).is_done)
            self.assertFalse(
                self.shake(raw_client([b"mezite-ssh"], version=SSL.TLS1_2_VERSION)).is_done
            )
            self.assertTrue(self.ours_to(b"mezite-tunnel", None, self.ours.node).is_done)
            self.assertTrue(self.shake(raw_client(None)).is_done)


class VersionTests(ContextTestCase):
    """TLS 1.3 for our names, 1.2 for browsers, nothing older."""

    def test_versions(self) -> None:
        """TLS 1.2 reaches the web and nothing else."""
        for protocol, server_name, is_done in (
            (b"h2", HUB_NAME, True),
            (b"unknown", HUB_NAME, True),
            (b"mezite-ssh", HUB_NAME, False),
            (b"mezite-auth", HUB_NAME, False),
            (b"mezite-tunnel", HUB_NAME, False),
            (b"h2", f"auth.{HUB_NAME}", False),
        ):
            client = raw_client([protocol], server_name, version=SSL.TLS1_2_VERSION)
            self.assertEqual(self.shake(client).is_done, is_done, protocol)

    def test_old(self) -> None:
        """TLS 1.1 reaches nothing."""
        client = raw_client(None, version=SSL.TLS1_1_VERSION)
        self.assertFalse(self.shake(client).is_done)


class ResumptionTests(ContextTestCase):
    """A session that was resumed would have skipped the demand of its ALPN name."""

    def resumed(self, version: int) -> bool:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
        context.set_alpn_protos([b"h2"])
        first = self.shake(raw_client(None, HUB_NAME, context=context))
        self.assertTrue(first.is_done)
        session = first.client.get_session()
        assert session is not None
        again = raw_client(None, HUB_NAME, context=context)
        again.set_session(session)
        second = self.shake(again)
        self.assertTrue(second.is_done)
        # pyOpenSSL has no name for this question.
        return bool(SSL._lib.SSL_session_reused(again._ssl))

    def test_nothing_is_resumed(self) -> None:
        """No ticket and no session id is good for a second handshake."""
        self.assertFalse(self.resumed(SSL.TLS1_2_VERSION))
        self.assertFalse(self.resumed(SSL.TLS1_3_VERSION))


class WebCertificateTests(ContextTestCase):
    """A public certificate for browsers, beside the hub's own."""

    def setUp(self) -> None:
        super().setUp()
        self.web = self.theirs.hub
        self.hub = self.make_hub(self.web)

    def test_who_gets_which(self) -> None:
        """Browsers get the public one; our names, and gRPC's, get the cluster's with its CA."""
        for protocol, server_name, credentials, expected in (
            (b"h2", HUB_NAME, None, self.web),
            (b"unknown", HUB_NAME, None, self.web),
            (b"http/1.1", f"auth.{HUB_NAME}", None, self.web),
            (b"h2", f"auth.{HUB_NAME}", None, self.ours.hub),
            (b"mezite-auth", HUB_NAME, None, self.ours.hub),
            (b"mezite-ssh", HUB_NAME, None, self.ours.hub),
            (b"mezite-tunnel", HUB_NAME, self.ours.node, self.ours.hub),
        ):
            handshake = self.shake(raw_client([protocol], server_name, credentials=credentials))
            with self.subTest(protocol):
                self.assertTrue(handshake.is_done)
                self.assertEqual(handshake.leaf, leaf_of(expected))

    def test_old_browser(self) -> None:
        """A browser with TLS 1.2 gets the public certificate too."""
        client = raw_client([b"h2"], HUB_NAME, version=SSL.TLS1_2_VERSION)
        self.assertEqual(self.shake(client).leaf, leaf_of(self.web))

    def test_demands_hold(self) -> None:
        """Switching certificates does not lose the demand for the client's."""
        for credentials in (None, self.ours.user, self.theirs.node):
            client = raw_client([b"mezite-tunnel"], HUB_NAME, credentials=credentials)
            self.assertFalse(self.shake(client).is_done)

    def test_chain(self) -> None:
        """The authority follows the hub's certificate, so that its pin can be checked."""
        handshake = self.shake(raw_client([b"mezite-auth"]))
        self.assertEqual(
            handshake.client.get_peer_cert_chain(as_cryptography=True),
            [leaf_of(self.ours.hub), self.ours.authority.certificate],
        )


class ReplacementTests(ContextTestCase):
    """Certificates that are renewed while connections live."""

    def test_next_handshake(self) -> None:
        """The next handshake gets the new certificate, and an old connection still talks."""
        before = self.ours_to(b"mezite-auth")
        renewed = hub_credentials(self.ours.authority)
        self.hub.replace(hub=renewed)
        after = self.ours_to(b"mezite-auth")
        self.assertEqual(before.leaf, leaf_of(self.ours.hub))
        self.assertEqual(after.leaf, leaf_of(renewed))
        before.client.send(b"still here")
        before.server.bio_write(before.client.bio_read(1 << 16))
        self.assertEqual(before.server.recv(100), b"still here")

    def test_amid_a_handshake(self) -> None:
        """A handshake that has begun ends with the certificates that it began with."""
        server = self.hub.serverConnectionForTLS(self)
        self.hub.replace(hub=hub_credentials(self.ours.authority), web=self.theirs.hub)
        client = raw_client([b"mezite-tunnel"], credentials=self.ours.node)
        handshake = Handshake(client, server)
        self.assertTrue(handshake.is_done)
        self.assertEqual(handshake.leaf, leaf_of(self.ours.hub))

    def test_unusable(self) -> None:
        """What cannot be used is refused with a sentence, and the old certificate stays."""
        theirs = self.theirs.hub
        for bad in (
            Credentials(b"", theirs.key_pem),
            Credentials(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""),
            Credentials(theirs.certificate_pem, b"not a key"),
            Credentials(theirs.certificate_pem, self.ours.hub.key_pem),
        ):
            self.assertRaises(BadCredentials, self.hub.replace, hub=bad)
        self.assertEqual(self.ours_to(b"mezite-auth").leaf, leaf_of(self.ours.hub))


class ClientTests(ContextTestCase):
    """What our clients ask of a hub."""

    def reach(self, hub: Credentials, context: ClientContext | None = None) -> Handshake:
        contexts = HubContexts(hub_names=[HUB_NAME], authorities_pem=self.ours.ca_pem, hub=hub)
        context = context or client_context(b"mezite-auth", self.ours.ca_pem)
        return self.shake(context.connection(NODE_NAME), contexts)

    def test_hub(self) -> None:
        """A hub of the cluster is trusted, whatever server name was asked for."""
        self.assertTrue(self.reach(self.ours.hub).is_done)

    def test_not_a_hub(self) -> None:
        """Neither a node nor a user nor another cluster's hub can pose as the hub."""
        for impostor in (self.ours.node, self.ours.user, self.theirs.hub, self.ours.expired_node):
            handshake = self.reach(impostor)
            self.assertIn("client", handshake.errors)
            self.assertIsNotNone(refusal_of(handshake.client))

    def test_cluster(self) -> None:
        """A client that knows its cluster takes no other, even from the same authority."""
        for name, is_done in (("example.com", True), ("example.org", False)):
            context = client_context(
                b"mezite-auth", self.ours.ca_pem, cluster=ClusterName.parse(name)
            )
            self.assertEqual(self.reach(self.ours.hub, context).is_done, is_done)

    def test_unusable(self) -> None:
        """A certificate without a key, or authorities that are none, are refused."""
        node = self.ours.node
        self.assertRaises(
            BadCredentials, client_context, b"x", self.ours.ca_pem, node.certificate_pem
        )
        self.assertRaises(BadCredentials, client_context, b"x", b"")
        self.assertRaises(BadCredentials, load_certificates, b"nothing")

    def test_secret(self) -> None:
        """The private key is not in what a log might print."""
        self.assertNotIn("PRIVATE", repr(self.ours.hub))
