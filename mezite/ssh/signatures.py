"""
SSH signatures, made: Ed25519, ECDSA and RSA with SHA-2.

:mod:`mezite.identity.sshsignatures` checks them.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mezite.identity.sshsignatures import RSA_HASHES
from mezite.ssh.fields import string

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CURVE_HASHES: Final[Mapping[str, tuple[bytes, hashes.HashAlgorithm]]] = {
    "secp256r1": (b"ecdsa-sha2-nistp256", hashes.SHA256()),
    "secp384r1": (b"ecdsa-sha2-nistp384", hashes.SHA384()),
    "secp521r1": (b"ecdsa-sha2-nistp521", hashes.SHA512()),
}


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
    return string(name) + string(key.sign(data, padding.PKCS1v15(), RSA_HASHES[name]))


def algorithms_of(key: PrivateKey) -> tuple[bytes, ...]:
    """What :func:`sign` can sign with; the first when it is not told which."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return (b"ssh-ed25519",)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return (_CURVE_HASHES[key.curve.name][0],)
    return (b"rsa-sha2-512", b"rsa-sha2-256")
