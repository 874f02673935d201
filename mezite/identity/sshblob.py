"""
The blob of an SSH certificate (OpenSSH's PROTOCOL.certkeys), read with care.

It owns which kinds of certificates and signatures are accepted at all. What a
certificate says, and whether it is believed, is :mod:`mezite.identity.sshcert`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mezite.identity.error import BadPublicKey, CertificateRefused
from mezite.identity.sshfields import BlobFields, string
from mezite.identity.sshkeys import BLOB_LIMIT, KEY_FIELDS, TOKEN_KEY_FIELDS, load_public_blob
from mezite.identity.sshsignatures import is_signed

_SUFFIX: Final = "-cert-v01@openssh.com"
# RFC 8332: an RSA key signs with SHA-2; plain "ssh-rsa" means SHA-1.
_SIGNATURES: Final = {"ssh-rsa": {"rsa-sha2-256", "rsa-sha2-512"}}


class CertificateKind(enum.IntEnum):
    """Whom a certificate is for."""

    USER = 1
    HOST = 2


def certificate_type(key_type: str) -> str:
    """The name of a certificate over such a key."""
    return key_type.removesuffix("@openssh.com") + _SUFFIX


# Certificate type -> the key's, and the number of its fields.
_SUBJECTS: Final = {
    certificate_type(key_type): (key_type, count)
    for key_type, count in (KEY_FIELDS | TOKEN_KEY_FIELDS).items()
}


@frozen
class CertificateFields:
    """What stands in a certificate, as it stands there."""

    public_blob: bytes
    serial: int
    kind: CertificateKind
    key_id: bytes
    principals: tuple[bytes, ...]
    valid_after: int
    valid_before: int
    critical_options: Mapping[bytes, bytes]
    extensions: Mapping[bytes, bytes]

    def encoded(self, nonce: bytes, authority_blob: bytes) -> bytes:
        """What an authority signs; its signature goes behind, as a string."""
        key_type, key = _split(self.public_blob)
        numbers = self.serial.to_bytes(8, "big") + self.kind.to_bytes(4, "big")
        times = self.valid_after.to_bytes(8, "big") + self.valid_before.to_bytes(8, "big")
        return b"".join(
            (
                string(certificate_type(key_type).encode()),
                string(nonce),
                key,
                numbers,
                string(self.key_id),
                string(b"".join(map(string, self.principals))),
                times,
                string(_encoded_options(self.critical_options)),
                string(_encoded_options(self.extensions)),
                string(b""),
                string(authority_blob),
            )
        )


@frozen
class SignedCertificate:
    """A certificate that was read; nothing is trusted yet, not even that it was signed."""

    fields: CertificateFields
    signer_blob: bytes
    _signed: bytes
    _signature: bytes
    _algorithm: bytes

    @property
    def is_signed(self) -> bool:
        """Whether the signer did sign this."""
        return is_signed(self.signer_blob, self._signature, self._signed, algorithm=self._algorithm)


def load_certificate(blob: bytes) -> SignedCertificate:
    """
    Read a certificate.

    :raises CertificateRefused: unreadable, or of a kind that is not accepted.
    """
    if len(blob) > BLOB_LIMIT:
        raise unreadable(f"{len(blob)} octets are more than {BLOB_LIMIT}")
    try:
        return _load(blob)
    except ValueError as error:
        raise unreadable(str(error)) from None
    except BadPublicKey as error:
        raise CertificateRefused(str(error), reason=str(error)) from None


def _load(blob: bytes) -> SignedCertificate:
    fields = BlobFields(blob)
    name = fields.string().decode("ascii", "replace")
    if name not in _SUBJECTS:
        raise CertificateRefused(
            "this is not an SSH certificate of a kind that is accepted here",
            reason=f"of type {name[:80]!r}",
        )
    key_type, count = _SUBJECTS[name]
    fields.string()  # the nonce
    key = b"".join(string(fields.string()) for _ in range(count))
    read = CertificateFields(
        public_blob=string(key_type.encode()) + key,
        serial=fields.number(8),
        kind=CertificateKind(fields.number(4)),
        key_id=fields.string(),
        principals=_strings(fields.string()),
        valid_after=fields.number(8),
        valid_before=fields.number(8),
        critical_options=_options(fields.string()),
        extensions=_options(fields.string()),
    )
    fields.string()  # reserved
    signer_blob = fields.string()
    signed = blob[: fields.position]
    signature = fields.string()
    fields.end()
    signer = BlobFields(signer_blob).string().decode("ascii", "replace")
    algorithm = BlobFields(signature).string().decode("ascii", "replace")
    # Neither SHA-1, nor a certificate that signs another.
    if signer not in KEY_FIELDS or algorithm not in _SIGNATURES.get(signer, {signer}):
        raise CertificateRefused(
            "the certificate is signed in a way that is not accepted here",
            reason=f"key of type {signer[:80]!r}, signature {algorithm[:80]!r}",
        )
    load_public_blob(key_type, read.public_blob)
    load_public_blob(signer, signer_blob)
    return SignedCertificate(read, signer_blob, signed, signature, algorithm.encode())


def unreadable(reason: str) -> CertificateRefused:
    """The refusal of a certificate that is malformed; ``reason`` is for operators."""
    return CertificateRefused("the certificate cannot be read", reason=reason)


def _split(public_blob: bytes) -> tuple[str, bytes]:
    fields = BlobFields(public_blob)
    return fields.string().decode("ascii"), public_blob[fields.position :]


def _strings(encoded: bytes) -> tuple[bytes, ...]:
    fields, found = BlobFields(encoded), []
    while not fields.is_empty:
        found.append(fields.string())
    return tuple(found)


def _options(encoded: bytes) -> dict[bytes, bytes]:
    """Names in order, each once; a value is empty, or a string in a string."""
    fields, found, last = BlobFields(encoded), dict[bytes, bytes](), b""
    while not fields.is_empty:
        name, value = fields.string(), BlobFields(fields.string())
        if found and name <= last:
            raise ValueError("options are out of order")
        found[name] = b"" if value.is_empty else value.string()
        value.end()
        last = name
    return found


def _encoded_options(options: Mapping[bytes, bytes]) -> bytes:
    return b"".join(
        string(name) + string(string(options[name]) if options[name] else b"")
        for name in sorted(options)
    )
