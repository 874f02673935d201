"""
SSH signatures, made and checked: Ed25519, ECDSA and RSA with SHA-2.

Keys and signatures are the blobs of RFC 4253, section 6.6, RFC 5656, RFC 8332
and RFC 8709. SHA-1 (``ssh-rsa``) is not among them.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from mezite.ssh.error import MalformedMessage
from mezite.ssh.fields import FieldReader, string

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_RSA_HASHES: Final[Mapping[bytes, hashes.HashAlgorithm]] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}
_CURVE_HASHES: Final[Mapping[str, tuple[bytes, hashes.HashAlgorithm]]] = {
    "secp256r1": (b"ecdsa-sha2-nistp256", hashes.SHA256()),
    "secp384r1": (b"ecdsa-sha2-nistp384", hashes.SHA384()),
    "secp521r1": (b"ecdsa-sha2-nistp521", hashes.SHA512()),
}
# NIST SP 800-131A; OpenSSH draws the line here too.
_RSA_BITS: Final = 2048
# An mpint of RFC 4251 for the largest curve, with room.
_INTEGER_LENGTH: Final = 68


def _mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")


def public_blob(key: PrivateKey) -> bytes:
    """The public half as it stands on the wire."""
    line = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return binascii.a2b_base64(line.split()[1])


def sign(key: PrivateKey, data: bytes, *, algorithm: bytes | None = None) -> bytes:
    """
    A signature blob.

    :param algorithm: for RSA, which of the two; the stronger if none is given.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return string(b"ssh-ed25519") + string(key.sign(data))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        name, digest = _CURVE_HASHES[key.curve.name]
        first, second = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return string(name) + string(_mpint(first) + _mpint(second))
    name = algorithm or b"rsa-sha2-512"
    return string(name) + string(key.sign(data, padding.PKCS1v15(), _RSA_HASHES[name]))


def algorithms_of(key: PrivateKey) -> tuple[bytes, ...]:
    """What :func:`sign` can sign with; the first when it is not told which."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return (b"ssh-ed25519",)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return (_CURVE_HASHES[key.curve.name][0],)
    return (b"rsa-sha2-512", b"rsa-sha2-256")


def is_signed(blob: bytes, signature: bytes, data: bytes, *, algorithm: bytes) -> bool:
    """
    Whether the key in ``blob`` signed the data, with just this algorithm.

    Anything that cannot be read is no signature.
    """
    try:
        return _is_signed(blob, signature, data, algorithm)
    except (MalformedMessage, InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False


def _is_signed(blob: bytes, signature: bytes, data: bytes, algorithm: bytes) -> bool:
    reader = FieldReader(signature)
    if reader.string() != algorithm:
        return False
    value = reader.string()
    reader.end()
    kind = FieldReader(blob).string()
    line = kind + b" " + binascii.b2a_base64(blob, newline=False)
    key = serialization.load_ssh_public_key(line)
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == b"ssh-ed25519":
        key.verify(value, data)
        return True
    if isinstance(key, ec.EllipticCurvePublicKey):
        name, digest = _CURVE_HASHES[key.curve.name]
        if name != algorithm:
            return False
        key.verify(_der(value), data, ec.ECDSA(digest))
        return True
    if isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA_HASHES:
        if key.key_size < _RSA_BITS:
            return False
        key.verify(value, data, padding.PKCS1v15(), _RSA_HASHES[algorithm])
        return True
    return False


def _der(value: bytes) -> bytes:
    reader = FieldReader(value)
    first, second = reader.string(), reader.string()
    reader.end()
    if max(len(first), len(second)) > _INTEGER_LENGTH:
        raise MalformedMessage("an integer of a signature is too long")
    return encode_dss_signature(
        int.from_bytes(first, "big", signed=True), int.from_bytes(second, "big", signed=True)
    )
