"""
The blob of an SSH certificate, read with care.

It owns which kinds of certificates and signatures are accepted at all. What a
certificate says, and whether it is believed, is :mod:`mezite.identity.sshcert`.
"""

from __future__ import annotations

import base64
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from mezite.identity.error import CertificateRefused
from mezite.identity.sshkeys import BLOB_LIMIT, KEY_FIELDS

CERTIFICATE_SUFFIX: Final = "-cert-v01@openssh.com"
# RFC 8332: an RSA key signs with SHA-2; plain "ssh-rsa" means SHA-1.
_SIGNATURES: Final = {"ssh-rsa": {"rsa-sha2-256", "rsa-sha2-512"}}


def load_certificate(blob: bytes) -> SSHCertificate:
    """
    Read a certificate; nothing is trusted yet, not even that it was signed.

    :raises CertificateRefused: unreadable, or of a kind that is not accepted.
    """
    if len(blob) > BLOB_LIMIT:
        raise unreadable(f"{len(blob)} octets are more than {BLOB_LIMIT}")
    fields = _Fields(blob)
    name = fields.string().decode("ascii", "replace")
    key_type = name.removesuffix(CERTIFICATE_SUFFIX)
    if name == key_type or key_type not in KEY_FIELDS:
        raise CertificateRefused(
            "this is not an SSH certificate of a kind that is accepted here",
            reason=f"of type {name[:80]!r}",
        )
    # To the two fields that cryptography keeps to itself: who signed, and how.
    # It would let SHA-1 pass, and so would a certificate that signs another.
    for _ in range(1 + KEY_FIELDS[key_type]):
        fields.string()
    fields.take(8 + 4)
    fields.string()
    fields.string()
    fields.take(8 + 8)
    for _ in range(3):
        fields.string()
    signer = _Fields(fields.string()).string().decode("ascii", "replace")
    algorithm = _Fields(fields.string()).string().decode("ascii", "replace")
    if signer not in KEY_FIELDS or algorithm not in _SIGNATURES.get(signer, {signer}):
        raise CertificateRefused(
            "the certificate is signed in a way that is not accepted here",
            reason=f"key of type {signer[:80]!r}, signature {algorithm[:80]!r}",
        )
    try:
        certificate = load_ssh_public_identity(name.encode() + b" " + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise unreadable(str(error)) from None
    assert isinstance(certificate, SSHCertificate)
    return certificate


def unreadable(reason: str) -> CertificateRefused:
    """The refusal of a certificate that is malformed; ``reason`` is for operators."""
    return CertificateRefused("the certificate cannot be read", reason=reason)


class _Fields:
    """The fields of a blob, one after the other."""

    def __init__(self, blob: bytes) -> None:
        self._rest = blob

    def string(self) -> bytes:
        length = int.from_bytes(self.take(4))
        return self.take(length)

    def take(self, length: int) -> bytes:
        if length > len(self._rest):
            raise unreadable("it ends within a field")
        taken, self._rest = self._rest[:length], self._rest[length:]
        return taken
