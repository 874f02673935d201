"""Tests of from where a user's X.509 certificate is good, when it was made by nobody of ours."""

from __future__ import annotations

import time
from typing import Any

from cryptography import x509 as certificates
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity import x509
from mezite.identity.authority import X509Authority
from mezite.identity.error import CertificateRefused
from mezite.identity.networks import parse_network
from mezite.names import ClusterName, UserName

CLUSTER = ClusterName("mezite")
KEY = ec.generate_private_key(ec.SECP256R1())
NOW = time.time()
CA = X509Authority.generate(CLUSTER, NOW)


class Written:
    """As much of a certificate as is looked at, with any bytes in the extension."""

    def __init__(self, value: bytes) -> None:
        self.extensions = certificates.Extensions(
            [
                certificates.Extension(
                    x509.SOURCE_ADDRESS,
                    False,
                    certificates.UnrecognizedExtension(x509.SOURCE_ADDRESS, value),
                )
            ]
        )


class SourceTests(SynchronousTestCase):
    def issue(self, *networks: str) -> certificates.Certificate:
        return x509.issue_user(
            CA,
            KEY.public_key(),
            x509.UserIdentity(CLUSTER, UserName("ada")),
            now=NOW,
            lifetime=3600.0,
            sources=tuple(map(parse_network, networks)),
        )

    def test_good(self) -> None:
        """It is good from its networks only, and from no unknown place."""
        for number in (1, 10, 200):
            issued = self.issue(*(f"10.0.{each}.0/24" for each in range(number)))
            x509.check_source(issued, "10.0.0.9")
            for address in ("10.1.0.9", "2001:db8::1", None, "?", ""):
                self.assertRaises(CertificateRefused, x509.check_source, issued, address)
            self.assertEqual(x509.identity_of(issued).uri, "mezite://mezite/user/ada")

    def test_issued(self) -> None:
        """When it was issued is known, although it is good from a little before."""
        self.assertEqual(x509.issued_at(self.issue("10.0.0.0/8")), int(NOW))

    def test_hostile(self) -> None:
        """What cannot be read is good from nowhere."""
        for value in (
            b"",
            b"\x04",
            b"10.0.0.0/8",
            b"\x04\x0a10.0.0.0/8x",
            b"\x04\x81\x0a10.0.0.0/8",
            b"\x04\x0b10.0.0.0/8",
            b"\x0c\x0a10.0.0.0/8",
            b"\x04\x09\xff0.0.0.0/",
            b"\x04\x0010.0.0.0/8",
            b"\x04\x00",
            b"\x04\x80",
            b"\x04\xff" + b"\xff" * 127,
        ):
            certificate: Any = Written(value)
            self.assertRaises(CertificateRefused, x509.check_source, certificate, "10.0.0.1")
        good: Any = Written(b"\x04\x0a10.0.0.0/8")
        x509.check_source(good, "10.0.0.1")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=80))
    def test_anything(self, value: bytes) -> None:
        """Any bytes are refused from an address that nobody wrote."""
        certificate: Any = Written(value)
        self.assertRaises(CertificateRefused, x509.check_source, certificate, "203.0.113.99")
