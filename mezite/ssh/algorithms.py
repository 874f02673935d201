"""
Which algorithms we speak, best first.

No SHA-1, MD5, CBC, 3DES or DSA, and no Diffie-Hellman over a group of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mezite.ssh.error import KEY_EXCHANGE_FAILED, SshProtocolError

ED25519_CERTIFICATE: Final = b"ssh-ed25519-cert-v01@openssh.com"
ED25519: Final = b"ssh-ed25519"

KEY_EXCHANGES: Final = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
)

# AES-GCM costs a quarter of AES-CTR with a MAC, here as elsewhere.
CIPHERS: Final = (
    b"aes256-gcm@openssh.com",
    b"aes128-gcm@openssh.com",
    b"aes256-ctr",
    b"aes192-ctr",
    b"aes128-ctr",
)
AEAD_CIPHERS: Final = frozenset(CIPHERS[:2])
MACS: Final = (
    b"hmac-sha2-256-etm@openssh.com",
    b"hmac-sha2-512-etm@openssh.com",
    b"hmac-sha2-256",
    b"hmac-sha2-512",
)
COMPRESSIONS: Final = (b"none",)

# RFC 8308, section 3.1: what signatures of users we verify.
USER_SIGNATURES: Final = (
    b"ssh-ed25519",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)


def choose(what: str, clients: Sequence[bytes], servers: Sequence[bytes]) -> bytes:
    """The first of the client's names that the server knows (RFC 4253, section 7.1)."""
    for name in clients:
        if name in servers:
            return name
    raise SshProtocolError(f"no {what} in common", KEY_EXCHANGE_FAILED)
