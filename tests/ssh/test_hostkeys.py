from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.identity.error import CertificateRefused
from mezite.ssh.hostkeys import HostKey, HostKeys, ReplaceableHostKey
from tests.ssh.pair import Pair, host_certificate, host_key, public_line

KEYS: list[Any] = [
    Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
]
CERTIFICATE = b"-cert-v01@openssh.com"


class HostKeyTests(SynchronousTestCase):
    """Keys that a server proves itself by."""

    def test_each_kind(self) -> None:
        """A client knows a node by a certificate over any kind of key, in each algorithm."""
        for key in KEYS:
            host = HostKey.of(key, host_certificate(key))
            for algorithm in host.algorithms:
                pair = Pair(host=ReplaceableHostKey(host))
                if not algorithm.endswith(CERTIFICATE):
                    self.assertNotIn(algorithm, pair.client.supportedPublicKeys)
                    continue
                pair.client.supportedPublicKeys = [algorithm]
                pair.connect()
                self.successResultOf(pair.client.authenticated())
                self.assertEqual(pair.client.keyAlg, algorithm)

    def test_several(self) -> None:
        """Of several keys the client chooses the kind; certificates come first."""
        certified = [HostKey.of(key, host_certificate(key)) for key in KEYS]
        host = HostKeys((HostKey(KEYS[0]), *certified[1:]))
        names = host.algorithms
        self.assertEqual(
            [name.endswith(CERTIFICATE) for name in names],
            sorted((name.endswith(CERTIFICATE) for name in names), reverse=True),
        )
        self.assertEqual(len(names), 11)
        pair = Pair(host=ReplaceableHostKey(host)).connect()
        self.successResultOf(pair.client.authenticated())
        self.assertEqual(pair.client.keyAlg, b"ecdsa-sha2-nistp256" + CERTIFICATE)

    def test_another_algorithm(self) -> None:
        """A host that signs with another algorithm than was chosen is not believed."""
        key = KEYS[-1]
        host = HostKey.of(key, host_certificate(key))
        pair = Pair(host=ReplaceableHostKey(host))
        pair.server._getHostKeys = lambda _: (  # type: ignore[method-assign]
            host.presented_as(b"rsa-sha2-512" + CERTIFICATE),
            host.presented_as(b"rsa-sha2-256" + CERTIFICATE),
        )
        waiting = pair.connect().client.authenticated()
        self.assertIn("signature", str(self.failureResultOf(waiting).value))

    def test_for_another_key(self) -> None:
        """A certificate over another key, or over another kind of key, is refused."""
        for key in KEYS:
            for other in KEYS:
                if other is not key:
                    self.assertRaises(BadInput, HostKey.of, key, host_certificate(other))
        another = Ed25519PrivateKey.generate()
        self.assertRaises(BadInput, HostKey.of, another, host_certificate(KEYS[0]))

    def test_no_certificate(self) -> None:
        """A line without a certificate is refused."""
        self.assertRaises(CertificateRefused, HostKey.of, KEYS[0], "nothing")
        self.assertRaises(BadInput, HostKey.of, KEYS[0], public_line(KEYS[0]))

    def test_secret(self) -> None:
        """No key is shown in a log."""
        self.assertNotIn("PrivateKey", repr(host_key()) + repr(HostKeys((host_key(),))))
