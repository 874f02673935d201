"""Tests of authorities: how their keys are written down, and their pins."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.authority import SshAuthority, X509Authority, parse_pin, pin_of
from mezite.identity.error import BadAuthority, BadPin, WrongPassphrase
from mezite.identity.x509 import UserIdentity, issue_user
from mezite.names import ClusterName, UserName

NOW = 1_800_000_000.0
CLUSTER = ClusterName("hub.example.com")


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


class SshAuthorityTests(SynchronousTestCase):
    def test_written_and_read(self) -> None:
        """The same authority comes back, with a passphrase and without."""
        authority = SshAuthority.generate()
        for passphrase in (None, b"correct horse"):
            read = SshAuthority.from_pem(authority.to_pem(passphrase), passphrase)
            self.assertEqual(read.public_blob, authority.public_blob)

    def test_passphrases(self) -> None:
        """A passphrase that is wrong, missing or not called for is told apart."""
        authority = SshAuthority.generate()
        plain, sealed = authority.to_pem(None), authority.to_pem(b"right")
        self.assertNotIn(authority.private_key.private_bytes_raw(), sealed)
        for pem, passphrase, words in (
            (sealed, b"wrong", "cannot be decrypted"),
            (sealed, None, "no passphrase was given"),
            (sealed, b"", "no passphrase was given"),
            (plain, b"any", "is not encrypted"),
        ):
            with self.assertRaises(WrongPassphrase) as caught:
                SshAuthority.from_pem(pem, passphrase)
            self.assertIn(words, str(caught.exception))

    def test_broken(self) -> None:
        """A file that is not such a key is refused with a sentence."""
        pem = SshAuthority.generate().to_pem(None)
        p256 = pem_of(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.OpenSSH)
        for broken in (b"", b"x", pem[:100], pem[:-60], p256):
            self.assertRaises(BadAuthority, SshAuthority.from_pem, broken, None)

    def test_public_line(self) -> None:
        """The public line ends with the comment, and nothing breaks the line."""
        authority = SshAuthority(Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
        bare = authority.public_line()
        self.assertEqual(len(bare.split()), 2)
        self.assertEqual(authority.public_line("a\nb "), f"{bare} a b")

    def test_repr(self) -> None:
        """No key shows in a repr."""
        self.assertNotIn("private_key", repr(SshAuthority.generate()))
        self.assertNotIn("private_key", repr(X509Authority.generate(CLUSTER, NOW)))


class X509AuthorityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = X509Authority.generate(CLUSTER, NOW, 1000.0)

    def test_written_and_read(self) -> None:
        """The same authority comes back, with a passphrase and without."""
        for passphrase in (None, b"correct horse"):
            read = X509Authority.from_pem(
                self.authority.key_to_pem(passphrase), self.authority.certificate_pem, passphrase
            )
            self.assertEqual(read.pin, self.authority.pin)

    def test_passphrases(self) -> None:
        """A passphrase that is wrong, missing or not called for is told apart."""
        plain, sealed = self.authority.key_to_pem(None), self.authority.key_to_pem(b"right")
        for pem, passphrase, words in (
            (sealed, b"wrong", "cannot be decrypted"),
            (sealed, None, "no passphrase was given"),
            (plain, b"any", "is not encrypted"),
        ):
            with self.assertRaises(WrongPassphrase) as caught:
                X509Authority.from_pem(pem, self.authority.certificate_pem, passphrase)
            self.assertIn(words, str(caught.exception))

    def test_profile(self) -> None:
        """The certificate is one of an authority that signs leaves only."""
        certificate = self.authority.certificate
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertTrue(constraints.critical)
        self.assertEqual(constraints.value, x509.BasicConstraints(ca=True, path_length=0))
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical)
        self.assertTrue(usage.value.key_cert_sign)
        self.assertFalse(usage.value.digital_signature)
        self.assertEqual(certificate.not_valid_before_utc.timestamp(), NOW - 60)
        self.assertEqual(certificate.not_valid_after_utc.timestamp(), NOW + 1000)
        self.assertEqual(
            extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest,
            extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier,
        )
        certificate.verify_directly_issued_by(certificate)

    def test_long_cluster_name(self) -> None:
        """The longest cluster name fits into the certificate."""
        X509Authority.generate(ClusterName.parse(".".join(["a" * 62] * 3)), NOW)

    def test_mismatches(self) -> None:
        """A key and a certificate that are not of one authority are refused."""
        key = self.authority.key_to_pem(None)
        certificate = self.authority.certificate_pem
        other = X509Authority.generate(CLUSTER, NOW)
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf = issue_user(
            self.authority,
            leaf_key.public_key(),
            UserIdentity(CLUSTER, UserName("ada")),
            now=NOW,
            lifetime=60,
        ).public_bytes(Encoding.PEM)
        for key_pem, certificate_pem in (
            (b"", certificate),
            (key[:80], certificate),
            (key, b""),
            (key, certificate[:200]),
            (key, other.certificate_pem),
            (pem_of(leaf_key, PrivateFormat.PKCS8), leaf),
            (
                pem_of(rsa.generate_private_key(65537, 2048), PrivateFormat.PKCS8),
                certificate,
            ),
        ):
            self.assertRaises(BadAuthority, X509Authority.from_pem, key_pem, certificate_pem, None)


class PinTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """A pin is read in either case, and with space around."""
        pin = pin_of(X509Authority.generate(CLUSTER, NOW).certificate)
        self.assertEqual(parse_pin(pin), pin)
        self.assertEqual(parse_pin(f" {pin.upper()}\n"), pin)

    def test_refused(self) -> None:
        """What is not a SHA-256 in hex is no pin."""
        for text in ("", "sha256:", "sha256:" + "a" * 63, "sha1:" + "a" * 64, "sha256:" + "g" * 64):
            self.assertRaises(BadPin, parse_pin, text)
