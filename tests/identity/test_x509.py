"""Tests of X.509 certificates and the names in them."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.authority import X509Authority
from mezite.identity.error import AuthorityExpired, BadCertificate, BadPublicKey
from mezite.identity.x509 import (
    HubIdentity,
    Identity,
    NodeIdentity,
    UserIdentity,
    hub_dns_names,
    identity_of,
    issue_hub,
    issue_node,
    issue_user,
    load_public_key,
)
from mezite.names import AgentId, ClusterName, NodeName, UserName

NOW = 1_800_000_000.0
DAY = 86400.0
CLUSTER = ClusterName("hub.example.com")
AGENT = AgentId("6f2a1c1e-8a39-4f5e-9f0a-1d3c5b7e9f00")
CA = X509Authority.generate(CLUSTER, NOW, 10**7)
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


def pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(
    names: list[x509.GeneralName] | None,
    usages: list[x509.ObjectIdentifier] | None,
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    """A certificate of our authority that no code of ours would issue."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(CA.certificate.subject)
        .public_key(KEY)
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(NOW, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 60, UTC))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(CA.private_key, SHA256())


class IssueTests(SynchronousTestCase):
    def issued(self, identity: Identity, **changes: Any) -> x509.Certificate:
        times: dict[str, Any] = {"now": NOW, "lifetime": 3600} | changes
        match identity:
            case NodeIdentity():
                return issue_node(CA, KEY, identity, **times)
            case UserIdentity():
                return issue_user(CA, KEY, identity, **times)
            case HubIdentity():
                names = hub_dns_names(["hub.example.com"])
                return issue_hub(
                    CA, KEY, identity, names=names, addresses=["127.0.0.1", "::1"], **times
                )

    def test_identities(self) -> None:
        """The identity that a certificate was issued for is read from it."""
        for identity in (
            NodeIdentity(CLUSTER, AGENT, NodeName("db1")),
            UserIdentity(CLUSTER, UserName("ada+x@example.com")),
            HubIdentity(CLUSTER),
        ):
            self.assertEqual(identity_of(self.issued(identity)), identity)

    @settings(max_examples=50, deadline=None)
    @given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}", fullmatch=True))
    def test_every_user_name(self, name: str) -> None:
        """Every user name survives its spelling in a URI."""
        identity = UserIdentity(CLUSTER, UserName.parse(name))
        self.assertEqual(identity_of(self.issued(identity)), identity)

    def test_clients(self) -> None:
        """Nodes and users hold certificates that verify as clients, in time and not later."""
        for identity in (
            NodeIdentity(CLUSTER, AGENT, NodeName("db1")),
            UserIdentity(CLUSTER, UserName("ada")),
        ):
            leaf = self.issued(identity)
            policy = PolicyBuilder().store(Store([CA.certificate]))
            policy.time(datetime.fromtimestamp(NOW, UTC)).build_client_verifier().verify(leaf, [])
            late = policy.time(datetime.fromtimestamp(NOW + 3601, UTC)).build_client_verifier()
            self.assertRaises(VerificationError, late.verify, leaf, [])

    def test_hub(self) -> None:
        """A hub's certificate verifies as a server's, for all of its names."""
        leaf = self.issued(HubIdentity(CLUSTER))
        policy = PolicyBuilder().store(Store([CA.certificate]))
        policy = policy.time(datetime.fromtimestamp(NOW, UTC))
        for name in ("hub.example.com", "db1.hub.example.com", "auth.hub.example.com", "localhost"):
            policy.build_server_verifier(x509.DNSName(name)).verify(leaf, [])
        address = x509.IPAddress(ipaddress.ip_address("::1"))
        policy.build_server_verifier(address).verify(leaf, [])

    def test_profile(self) -> None:
        """A leaf is no authority, signs nothing but handshakes, and has a long random serial."""
        identity = UserIdentity(CLUSTER, UserName("ada"))
        one, other = self.issued(identity), self.issued(identity)
        self.assertNotEqual(one.serial_number, other.serial_number)
        self.assertGreaterEqual(one.serial_number.bit_length(), 64)
        constraints = one.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertTrue(constraints.critical)
        self.assertFalse(constraints.value.ca)
        usage = one.extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical)
        self.assertTrue(usage.value.digital_signature)
        self.assertFalse(usage.value.key_cert_sign)
        self.assertEqual(one.not_valid_before_utc.timestamp(), NOW - 60)
        self.assertEqual(one.not_valid_after_utc.timestamp(), NOW + 3600)

    def test_clock_put_right(self) -> None:
        """Of nodes and hubs it is good a week ago, or as long as its authority is; of users not."""
        old = X509Authority.generate(CLUSTER, NOW - 100 * DAY, 200 * DAY)
        node = NodeIdentity(CLUSTER, AgentId.new(), NodeName.parse("db1"))
        times: dict[str, Any] = {"now": NOW, "lifetime": 3600}
        for authority, begins in ((old, NOW - 7 * DAY), (CA, NOW - 60)):
            for leaf in (
                issue_node(authority, KEY, node, **times),
                issue_hub(authority, KEY, HubIdentity(CLUSTER), names=["h"], addresses=[], **times),
            ):
                self.assertEqual(leaf.not_valid_before_utc.timestamp(), begins)
        user = issue_user(old, KEY, UserIdentity(CLUSTER, UserName("ada")), **times)
        self.assertEqual(user.not_valid_before_utc.timestamp(), NOW - 60)

    def test_no_longer_than_the_authority(self) -> None:
        """A certificate ends with its authority; after that there are none."""
        identity = UserIdentity(CLUSTER, UserName("ada"))
        leaf = self.issued(identity, lifetime=10**8)
        self.assertEqual(leaf.not_valid_after_utc, CA.certificate.not_valid_after_utc)
        self.assertRaises(AuthorityExpired, self.issued, identity, now=NOW + 10**7)


class PublicKeyTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        """P-256 and Ed25519 keys get certificates."""
        for key in (ec.generate_private_key(ec.SECP256R1()), Ed25519PrivateKey.generate()):
            loaded = load_public_key(pem(key))
            self.assertEqual(loaded, key.public_key())
            leaf = issue_user(
                CA, loaded, UserIdentity(CLUSTER, UserName("ada")), now=NOW, lifetime=60
            )
            self.assertEqual(leaf.public_key(), loaded)

    def test_refused(self) -> None:
        """Keys of other kinds, oversized or broken, are refused with a sentence."""
        good = pem(Ed25519PrivateKey.generate())
        for broken in (
            b"",
            b"x",
            good[:60],
            good + b"\n" * 1024,
            pem(ec.generate_private_key(ec.SECP384R1())),
            pem(ec.generate_private_key(ec.SECP256K1())),
            pem(rsa.generate_private_key(65537, 2048)),
            pem(ed448.Ed448PrivateKey.generate()),
            CA.certificate_pem,
            CA.key_to_pem(None),
        ):
            self.assertRaises(BadPublicKey, load_public_key, broken)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=1100))
    def test_noise(self, noise: bytes) -> None:
        """Whatever arrives, the answer is a refusal."""
        self.assertRaises(BadPublicKey, load_public_key, noise)
        armored = b"-----BEGIN PUBLIC KEY-----\n" + noise + b"\n-----END PUBLIC KEY-----\n"
        self.assertRaises(BadPublicKey, load_public_key, armored)


class IdentityOfTests(SynchronousTestCase):
    """Certificates that our authority might sign by mistake name nobody."""

    def uri(self, text: str) -> x509.GeneralName:
        return x509.UniformResourceIdentifier(text)

    def test_hand_made(self) -> None:
        """The hand-made certificate names somebody as long as nothing is wrong."""
        good = signed([self.uri("mezite://c/user/ada")], [CLIENT])
        self.assertEqual(
            identity_of(good), UserIdentity(ClusterName.parse("c"), UserName.parse("ada"))
        )

    def test_refused(self) -> None:
        """Not exactly one Mezite name, or one for another use, is a refusal."""
        user, hub = self.uri("mezite://c/user/ada"), self.uri("mezite://c/hub")
        node = self.uri(f"mezite://c/node/{AGENT}")
        db1, db2 = x509.DNSName("db1"), x509.DNSName("db2")
        for names, usages in (
            (None, [CLIENT]),
            ([user], None),
            ([db1], [CLIENT]),
            ([self.uri("https://c/user/ada")], [CLIENT]),
            ([user, user], [CLIENT]),
            ([user, hub], [CLIENT]),
            ([user, self.uri("MEZITE://c/hub")], [CLIENT]),
            ([user], [SERVER]),
            ([user], [CLIENT, SERVER]),
            ([hub], [CLIENT]),
            ([node, db1], [SERVER]),
            ([node], [CLIENT]),
            ([node, db1, db2], [CLIENT]),
            ([node, x509.DNSName("*.db")], [CLIENT]),
        ):
            certificate = signed(names, usages)
            self.assertRaises(BadCertificate, identity_of, certificate)
        self.assertRaises(BadCertificate, identity_of, signed([user], [CLIENT], is_authority=True))
        self.assertRaises(BadCertificate, identity_of, CA.certificate)

    @settings(max_examples=100, deadline=None)
    @given(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
        st.sampled_from(["mezite://c/", "mezite://", "mezite://c/user/", "mezite://c/node/"]),
    )
    def test_one_spelling(self, text: str, prefix: str) -> None:
        """A URI is either refused or the one spelling of what it names."""
        certificate = signed([self.uri(prefix + text), x509.DNSName("db1")], [CLIENT])
        try:
            identity = identity_of(certificate)
        except BadCertificate:
            return
        self.assertEqual(identity.uri, prefix + text)
