"""
The three authorities of a cluster: SSH for users, SSH for hosts, and X.509.

An authority owns its private key and knows how it is written down. What it may
sign is decided by :mod:`mezite.identity.sshissuing` and :mod:`mezite.identity.x509`;
where it is kept, by :mod:`mezite.store.keyfiles`.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from cryptography.x509.oid import NameOID

from mezite.identity.error import AuthorityExpired, BadAuthority, BadPin, WrongPassphrase
from mezite.identity.sshkeys import blob_of_key
from mezite.names import ClusterName

# Long enough that nobody meets it by surprise; rotation replaces an authority sooner.
AUTHORITY_LIFETIME: Final = 10 * 365 * 86400.0
_AUTHORITY_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
# How far clocks may differ before a fresh certificate is refused as not yet valid.
CLOCK_SKEW: Final = 60.0
# How far ahead of the right time the clock may have been when the certificate of a
# node or a hub was issued. Of a day that has passed nobody gains anything by a new
# key, and a machine whose clock was put right must not wait to prove itself.
CLOCK_ERROR: Final = 7 * 86400.0
_PIN: Final = re.compile(r"sha256:([0-9a-f]{64})")


@frozen(eq=False)
class SshAuthority:
    """An Ed25519 key that signs SSH certificates."""

    private_key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None) -> Self:
        """
        Read what :meth:`to_pem` wrote.

        :raises WrongPassphrase: it does not open the key, or there is none.
        :raises BadAuthority: this is no Ed25519 key in OpenSSH's format.
        """
        try:
            key = load_ssh_private_key(pem, passphrase or None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable(pem, error, passphrase) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise BadAuthority("the key of an SSH authority is not an Ed25519 key")
        return cls(key)

    def to_pem(self, passphrase: bytes | None) -> bytes:
        return self.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, _encryption(passphrase)
        )

    def public_line(self, comment: str = "") -> str:
        """``ssh-ed25519 AAAA… comment``, without a line's end."""
        line = self.private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return " ".join([line.decode(), *comment.split()])

    @property
    def public_blob(self) -> bytes:
        return blob_of_key(self.private_key.public_key())


@frozen(eq=False)
class X509Authority:
    """A P-256 key that signs X.509 certificates, and its own certificate."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate

    @classmethod
    def generate(
        cls, cluster: ClusterName, now: float, lifetime: float = AUTHORITY_LIFETIME
    ) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        # Nothing reads the subject but people: names that decide stand in URIs.
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster.text[:64]),
                x509.NameAttribute(NameOID.COMMON_NAME, "Mezite cluster CA"),
            ]
        )
        begin = datetime.fromtimestamp(int(now - CLOCK_SKEW), UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(seconds=int(lifetime + CLOCK_SKEW)))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_AUTHORITY_USAGE, critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
            .sign(key, SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def from_pem(cls, key_pem: bytes, certificate_pem: bytes, passphrase: bytes | None) -> Self:
        """
        Read a key and the certificate that belongs to it.

        :raises WrongPassphrase: it does not open the key, or there is none.
        :raises BadAuthority: one cannot be read, or they are not of one authority.
        """
        try:
            key = load_pem_private_key(key_pem, passphrase or None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable(key_pem, error, passphrase) from None
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            public = certificate.public_key()
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            is_authority = constraints.value.ca
        except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
            raise BadAuthority("the cluster CA's certificate cannot be read") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise BadAuthority("the cluster CA's key is not a P-256 key")
        if key.public_key() != public:
            raise BadAuthority("the cluster CA's certificate does not belong to its key")
        if not is_authority:
            raise BadAuthority("the cluster CA's certificate is not one of an authority")
        return cls(key, certificate)

    def key_to_pem(self, passphrase: bytes | None) -> bytes:
        return self.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, _encryption(passphrase)
        )

    def vouch_for(self, other: X509Authority) -> x509.Certificate:
        """
        A certificate that says that another authority is of the same cluster.

        TLS makes nothing of it, since the path below an authority has length 0;
        :mod:`mezite.wire.trust` does. It ends with the first of the two.

        :raises AuthorityExpired: there is no moment at which both are in time.
        """
        ours, theirs = self.certificate, other.certificate
        begins = max(ours.not_valid_before_utc, theirs.not_valid_before_utc)
        ends = min(ours.not_valid_after_utc, theirs.not_valid_after_utc)
        if begins >= ends:
            raise AuthorityExpired()
        issuer = ours.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        subject = theirs.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return (
            x509.CertificateBuilder()
            .subject_name(theirs.subject)
            .issuer_name(ours.subject)
            .public_key(other.private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_AUTHORITY_USAGE, critical=True)
            .add_extension(subject.value, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer.value),
                critical=False,
            )
            .sign(self.private_key, SHA256())
        )

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def pin(self) -> str:
        return pin_of(self.certificate)


def pin_of(certificate: x509.Certificate) -> str:
    """``sha256:`` and the SHA-256, in hex, over the certificate's SubjectPublicKeyInfo."""
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(public).hexdigest()}"


def parse_pin(text: str) -> str:
    """The pin in the form of :func:`pin_of`, from text in either case."""
    pin = text.strip().lower()
    if not _PIN.fullmatch(pin):
        raise BadPin(f"{text[:80]!r} is not a CA pin: it reads sha256: and 64 hex digits")
    return pin


def _encryption(passphrase: bytes | None) -> KeySerializationEncryption:
    return BestAvailableEncryption(passphrase) if passphrase else NoEncryption()


def _unreadable(pem: bytes, error: Exception, passphrase: bytes | None) -> BadAuthority:
    # cryptography raises TypeError when a passphrase is missing or not called
    # for, and ValueError both for a wrong one and for a broken file.
    if isinstance(error, TypeError):
        if passphrase:
            return WrongPassphrase("the CA key is not encrypted, yet a passphrase was given for it")
        return WrongPassphrase("the CA key is encrypted, and no passphrase was given")
    if passphrase and b"PRIVATE KEY-----" in pem:
        return WrongPassphrase("the CA key cannot be decrypted with this passphrase, or is damaged")
    return BadAuthority("the CA key cannot be read")
