"""Tests of what makes a node one that has joined."""

from __future__ import annotations

import base64
from collections.abc import Callable

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.error import BadIssue
from mezite.agent.membership import Membership, NodeKeys
from tests.doubles.agenthub import HUB, OTHER_ID, AgentHub

_EC_KEY = bytes.fromhex("06072a8648ce3d0201")


class MembershipTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.keys = NodeKeys.generate()

    def test_first_to_end(self) -> None:
        """The certificate that ends first says when to renew."""
        membership = self.hub.membership(self.keys)
        self.assertEqual(membership.expires, self.hub.began + self.hub.ssh_lifetime)
        self.assertEqual(membership.tls_expires, self.hub.began + self.hub.tls_lifetime)

    def test_other_keys(self) -> None:
        """Certificates for other keys are not taken."""
        with self.assertRaises(BadIssue):
            Membership.of(HUB, NodeKeys.generate(), self.hub.issue(self.keys))

    def test_other_authority(self) -> None:
        """A certificate that the authority did not sign is not taken."""
        issued = self.hub.issue(self.keys)
        forged = evolve(issued, cluster_ca_pem=AgentHub().cluster_ca.certificate_pem)
        with self.assertRaises(BadIssue):
            Membership.of(HUB, self.keys, forged)

    def test_nothing_for_users(self) -> None:
        """Without an authority for users nobody could come in, or anybody."""
        with self.assertRaises(BadIssue):
            Membership.of(HUB, self.keys, evolve(self.hub.issue(self.keys), user_ca=()))

    @settings(max_examples=50, deadline=None)
    @given(place=st.integers(0, 10_000), octet=st.integers(0, 255), is_authority=st.booleans())
    def test_damaged(self, place: int, octet: int, is_authority: bool) -> None:
        """However a certificate is damaged, it is taken, or refused in a sentence."""
        name = "cluster_ca_pem" if is_authority else "tls_certificate_pem"
        self.damage(name, lambda octets: place % len(octets), octet)

    def test_damaged_key(self) -> None:
        """A key of a kind that is not known here, and one that is no point, are damage."""
        for name in ("cluster_ca_pem", "tls_certificate_pem"):
            # What stands behind id-ecPublicKey of RFC 5480 is the curve's name, and the point.
            for distance, octet in ((2, 0), (22, 0), (25, 0xFF)):
                self.damage(name, lambda octets, d=distance: octets.index(_EC_KEY) + d, octet)

    def damage(self, name: str, place: Callable[[bytes], int], octet: int) -> None:
        issued = self.hub.issue(self.keys)
        certificate = x509.load_pem_x509_certificate(getattr(issued, name))
        octets = bytearray(certificate.public_bytes(Encoding.DER))
        octets[place(bytes(octets))] = octet
        pem = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % (
            base64.encodebytes(octets)
        )
        try:
            Membership.of(HUB, self.keys, evolve(issued, **{name: pem}))
        except BadIssue:
            pass

    def test_renewed_for_another(self) -> None:
        """A renewal keeps the agent id."""
        membership = self.hub.membership(self.keys)
        self.hub.agent_id = OTHER_ID
        with self.assertRaises(BadIssue):
            membership.renewed(self.hub.issue(self.keys))

    def test_secrets_stay_out_of_logs(self) -> None:
        """A membership that is printed shows no key."""
        self.assertNotIn("PRIVATE", repr(self.hub.membership(self.keys)))
        self.assertNotIn("Ed25519PrivateKey object", repr(self.keys))
