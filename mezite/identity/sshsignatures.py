"""
SSH signatures, checked: Ed25519, ECDSA, RSA with SHA-2, and keys on tokens.

Keys and signatures are the blobs of RFC 4253, section 6.6, RFC 5656, RFC 8332
and RFC 8709; those of tokens are OpenSSH's PROTOCOL.u2f. SHA-1 (``ssh-rsa``)
is not among them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_identity

from mezite.identity.sshfields import BlobFields

TOKEN_ED25519: Final = b"sk-ssh-ed25519@openssh.com"
TOKEN_ECDSA: Final = b"sk-ecdsa-sha2-nistp256@openssh.com"
RSA_HASHES: Final[Mapping[bytes, hashes.HashAlgorithm]] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}
# Algorithm -> the curve's name and hash.
_CURVES: Final[Mapping[bytes, tuple[str, hashes.HashAlgorithm]]] = {
    b"ecdsa-sha2-nistp256": ("secp256r1", hashes.SHA256()),
    b"ecdsa-sha2-nistp384": ("secp384r1", hashes.SHA384()),
    b"ecdsa-sha2-nistp521": ("secp521r1", hashes.SHA512()),
}
# Algorithm -> the fields of its key.
_TOKENS: Final[Mapping[bytes, int]] = {TOKEN_ED25519: 2, TOKEN_ECDSA: 3}
# Algorithm -> the type of its key.
_KEYS: Final[Mapping[bytes, bytes]] = {
    **{name: name for name in (b"ssh-ed25519", *_CURVES, *_TOKENS)},
    **dict.fromkeys(RSA_HASHES, b"ssh-rsa"),
}
# NIST SP 800-131A; OpenSSH draws the line here too.
_RSA_BITS: Final = 2048
# An mpint of RFC 4251 for the largest curve, with room.
_INTEGER_LENGTH: Final = 68
# What a token says about the person: they touched it; it has verified them.
_TOUCHED: Final = 0x01
_VERIFIED: Final = 0x04


def is_signed(
    blob: bytes,
    signature: bytes,
    data: bytes,
    *,
    algorithm: bytes,
    touched: bool = True,
    verified: bool = False,
) -> bool:
    """
    Whether the key in ``blob`` signed the data, with just this algorithm.

    Anything that cannot be read is no signature.

    :param touched: whether a token must say that it was touched.
    :param verified: whether it must be a token, and must say that it has
        verified the person, by a PIN or a finger.
    """
    try:
        return _is_signed(blob, signature, data, algorithm, touched, verified)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False


def _is_signed(
    blob: bytes, signature: bytes, data: bytes, algorithm: bytes, touched: bool, verified: bool
) -> bool:
    kind = BlobFields(blob).string()
    fields = BlobFields(signature)
    if fields.string() != algorithm or _KEYS.get(algorithm) != kind:
        return False
    value = fields.string()
    if algorithm in _TOKENS:
        seen = fields.take(1 + 4)
        flags = seen[0]
        if (touched and not flags & _TOUCHED) or (verified and not flags & _VERIFIED):
            return False
        data = _token_data(blob, seen, data)
    elif verified:
        return False
    fields.end()
    _verify(blob, value, data, algorithm)
    return True


def _token_data(blob: bytes, seen: bytes, data: bytes) -> bytes:
    """What a token signs: whom for, its flags and counter, and what was asked of it."""
    fields = BlobFields(blob)
    for _ in range(_TOKENS[fields.string()]):
        application = fields.string()
    return hashlib.sha256(application).digest() + seen + hashlib.sha256(data).digest()


def _verify(blob: bytes, value: bytes, data: bytes, algorithm: bytes) -> None:
    kind = BlobFields(blob).string()
    key = load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(value, data)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        curve, digest = _CURVES[b"ecdsa-sha2-nistp256" if algorithm == TOKEN_ECDSA else algorithm]
        if key.curve.name != curve:
            raise InvalidSignature
        key.verify(_der(value), data, ec.ECDSA(digest))
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
        key.verify(value, data, padding.PKCS1v15(), RSA_HASHES[algorithm])
    else:
        raise InvalidSignature


def _der(value: bytes) -> bytes:
    fields = BlobFields(value)
    first, second = fields.string(), fields.string()
    fields.end()
    if max(len(first), len(second)) > _INTEGER_LENGTH:
        raise ValueError("an integer of a signature is too long")
    return encode_dss_signature(
        int.from_bytes(first, "big", signed=True), int.from_bytes(second, "big", signed=True)
    )
