"""
SSH certificates with any field wrong, signed by whoever has a key.

Written from OpenSSH's PROTOCOL.certkeys alone, so that it shares no mistake
with what reads them.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

from attrs import frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@frozen
class Token:
    """A security token, as far as a signature shows it (OpenSSH's PROTOCOL.u2f)."""

    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    application: bytes = b"ssh:"
    flags: int = 1
    counter: int = 7

    @property
    def algorithm(self) -> bytes:
        if isinstance(self.key, Ed25519PrivateKey):
            return b"sk-ssh-ed25519@openssh.com"
        return b"sk-ecdsa-sha2-nistp256@openssh.com"


PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | RSAPrivateKey


def string(value: bytes) -> bytes:
    return struct.pack(">L", len(value)) + value


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1))


def public_blob(key: PrivateKey | Token) -> bytes:
    if isinstance(key, Token):
        plain = public_blob(key.key)
        length = struct.unpack(">L", plain[:4])[0]
        return string(key.algorithm) + plain[4 + length :] + string(key.application)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])


def public_line(key: PrivateKey | Token) -> str:
    if isinstance(key, Token):
        return f"{key.algorithm.decode()} {base64.b64encode(public_blob(key)).decode()}"
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def signature(key: PrivateKey | Token, data: bytes, algorithm: str | None = None) -> bytes:
    """Signed by this key, in this algorithm where it has a choice."""
    if isinstance(key, Token):
        seen = struct.pack(">BL", key.flags, key.counter)
        asked = hashlib.sha256(key.application).digest() + seen + hashlib.sha256(data).digest()
        plain = signature(key.key, asked)
        length = struct.unpack(">L", plain[:4])[0]
        return string(key.algorithm) + plain[4 + length :] + seen
    if isinstance(key, Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.sign(data))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        digest: hashes.HashAlgorithm = {
            256: hashes.SHA256(),
            384: hashes.SHA384(),
            521: hashes.SHA512(),
        }[key.curve.key_size]
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        name = f"ecdsa-sha2-nistp{key.curve.key_size}".encode()
        return string(name) + string(mpint(r) + mpint(s))
    name, digest = {
        None: (b"rsa-sha2-512", hashes.SHA512()),
        "rsa-sha2-256": (b"rsa-sha2-256", hashes.SHA256()),
        "ssh-rsa": (b"ssh-rsa", hashes.SHA1()),
    }[algorithm]
    return string(name) + string(key.sign(data, padding.PKCS1v15(), digest))


def certificate(
    signer: PrivateKey,
    subject: PrivateKey | Token,
    *,
    kind: int = 1,
    serial: int = 1,
    key_id: bytes = b"ada",
    principals: Sequence[bytes] = (b"root",),
    valid_after: int = 0,
    valid_before: int = 2**64 - 1,
    options: Sequence[tuple[bytes, bytes]] = (),
    extensions: Sequence[tuple[bytes, bytes]] = (),
    type_name: bytes | None = None,
    signer_blob: bytes | None = None,
    algorithm: str | None = None,
    trailing: bytes = b"",
) -> bytes:
    """The blob of a certificate; option values are wrapped as OpenSSH wraps them."""
    subject_blob = public_blob(subject)
    length = struct.unpack(">L", subject_blob[:4])[0]
    subject_type, subject_fields = subject_blob[4 : 4 + length], subject_blob[4 + length :]

    def wrapped(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
        return b"".join(
            string(name) + string(string(value) if value else b"") for name, value in pairs
        )

    signed = (
        string(type_name or subject_type.removesuffix(b"@openssh.com") + b"-cert-v01@openssh.com")
        + string(b"n" * 32)
        + subject_fields
        + struct.pack(">QL", serial, kind)
        + string(key_id)
        + string(b"".join(string(principal) for principal in principals))
        + struct.pack(">QQ", valid_after, valid_before)
        + string(wrapped(options))
        + string(wrapped(extensions))
        + string(b"")
        + string(signer_blob or public_blob(signer))
    )
    return signed + string(signature(signer, signed, algorithm)) + trailing
