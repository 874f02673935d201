"""
SSH public keys as text lines and as the blobs of RFC 4253.

It owns which kinds of keys may be given a certificate. Signatures and
certificates are :mod:`mezite.identity.sshcert`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_identity,
)

from mezite.identity.error import BadPublicKey

SshPublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

# A certificate over an RSA key of 8192 bits by a CA like it is 4 KiB; 256
# principals of 32 octets add 9 KiB.
BLOB_LIMIT: Final = 16 * 1024
# That in base64, with the name of the type before and a comment behind.
LINE_LIMIT: Final = BLOB_LIMIT * 4 // 3 + 1024
# Below 2048 bits an RSA key can be broken; above 8192, checking a signature
# costs more than an unauthenticated peer should be able to ask for.
RSA_BITS: Final = range(2048, 8192 + 1)

# The count is of the fields that hold the key, in the blob, after its type.
KEY_FIELDS: Final = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
}
# Keys that never leave a security token; the last field says what they are for.
TOKEN_KEY_FIELDS: Final = {
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


def load_public_line(line: str) -> SshPublicKey:
    """
    Read ``type base64 [comment]``, as in an ``id_ed25519.pub``.

    :raises BadPublicKey: also for a key of a kind that serves no host and no
        authority: DSA, RSA shorter than 2048 bits, keys on tokens, and
        certificates.
    """
    key_type, blob = _split(line)
    if key_type not in KEY_FIELDS:
        raise _no_certificate(key_type)
    return load_public_blob(key_type, blob)


def subject_blob(line: str, *, tokens: bool) -> bytes:
    """
    The blob of the key in such a line, which is to be certified.

    :param tokens: whether keys on security tokens are certified too.
    :raises BadPublicKey: it gets no certificate.
    """
    key_type, blob = _split(line)
    if key_type not in (KEY_FIELDS | TOKEN_KEY_FIELDS if tokens else KEY_FIELDS):
        raise _no_certificate(key_type)
    load_public_blob(key_type, blob)
    return blob


def _split(line: str) -> tuple[str, bytes]:
    words = line.split(maxsplit=2)
    if len(words) < 2 or len(line) > LINE_LIMIT:
        raise BadPublicKey("this is not an SSH public key: it reads TYPE BASE64 COMMENT")
    return words[0], decode_base64(words[1])


def _no_certificate(key_type: str) -> BadPublicKey:
    return BadPublicKey(
        f"SSH keys of type {key_type[:64]!r} get no certificate:"
        " use Ed25519, ECDSA, or RSA of 2048 bits or more"
    )


def load_public_blob(key_type: str, blob: bytes) -> SshPublicKey:
    """Read the blob of a key that says it is of this type."""
    if len(blob) > BLOB_LIMIT:
        raise BadPublicKey("this SSH public key is too long")
    try:
        key = load_ssh_public_identity(key_type.encode() + b" " + base64.b64encode(blob))
    except (ValueError, UnsupportedAlgorithm):
        raise BadPublicKey("this SSH public key cannot be read") from None
    if not isinstance(key, SshPublicKey):
        raise BadPublicKey("this SSH public key is of a kind that gets no certificate")
    check_strength(key)
    return key


def check_strength(key: SshPublicKey) -> None:
    """Refuse RSA keys that are too short to protect or too long to bear."""
    if isinstance(key, RSAPublicKey) and key.key_size not in RSA_BITS:
        raise BadPublicKey(
            f"an RSA key of {key.key_size} bits is refused:"
            f" use {RSA_BITS[0]} to {RSA_BITS[-1]} bits, or Ed25519"
        )


def blob_of_key(key: SshPublicKey) -> bytes:
    """The key as it stands in SSH messages."""
    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])


def decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadPublicKey("this SSH public key is not valid base64") from None
