"""
What an SSH server proves itself with: a key, and a certificate over it.

A connection keeps the host key it began with, also when it exchanges keys
again, since clients refuse a server that changes under their hands.
:class:`ReplaceableHostKey` is where a renewed one reaches new connections.
"""

from __future__ import annotations

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mezite.error import BadInput
from mezite.identity import sshcert
from mezite.ssh import algorithms, signatures
from mezite.ssh.fields import FieldReader


@frozen
class HostKey:
    """An Ed25519 host key, with its certificate if there is one."""

    key: Ed25519PrivateKey = field(repr=False)
    certificate: bytes | None = field(repr=False, default=None)

    @classmethod
    def of(cls, key: Ed25519PrivateKey, certificate_line: str | None = None) -> HostKey:
        """
        :param certificate_line: as in ``ssh_host_ed25519_key-cert.pub``.
        :raises BadInput: if the certificate is not one for this key.
        :raises CertificateRefused: if the line has none.
        """
        if certificate_line is None:
            return cls(key)
        certificate = sshcert.blob_of(certificate_line.strip())
        reader = FieldReader(certificate)
        if reader.string() != algorithms.ED25519_CERTIFICATE:
            raise BadInput("the host certificate is not one for an Ed25519 key")
        reader.string()  # the nonce
        if reader.string() != key.public_key().public_bytes_raw():
            raise BadInput("the host certificate is for another key than the host key")
        return cls(key, certificate)

    @property
    def algorithms(self) -> tuple[bytes, ...]:
        """What we can prove ourselves by, best first."""
        if self.certificate is None:
            return (algorithms.ED25519,)
        return (algorithms.ED25519_CERTIFICATE, algorithms.ED25519)

    def presented_as(self, algorithm: bytes) -> PresentedKey:
        """What is shown when this algorithm was chosen."""
        if algorithm == algorithms.ED25519_CERTIFICATE and self.certificate is not None:
            return PresentedKey(self.key, self.certificate)
        return PresentedKey(self.key, signatures.public_blob(self.key))


@frozen(repr=False)
class PresentedKey:
    """A host key in the form that Conch asks for; its two names are Conch's."""

    key: Ed25519PrivateKey
    shown: bytes

    def blob(self) -> bytes:
        return self.shown

    def sign(self, data: bytes, signatureType: bytes | None = None) -> bytes:
        return signatures.sign(self.key, data)


@define(eq=False)
class ReplaceableHostKey:
    """The host key that new connections get."""

    current: HostKey

    def replace(self, host_key: HostKey) -> None:
        """New connections prove themselves with this one."""
        self.current = host_key
