"""
Which algorithms we speak, best first.

No SHA-1, MD5, CBC, 3DES or DSA; no Diffie-Hellman over a group of others, and
none over NIST's curves, whose seeds nobody can explain; no MAC over the plain
packet. ``ssh-audit`` is run over a node and a hub in the tests and finds
nothing to say against what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mezite.identity.sshsignatures import TOKEN_ECDSA, TOKEN_ED25519
from mezite.ssh.error import KEY_EXCHANGE_FAILED, SshProtocolError

CERTIFICATE: Final = b"-cert-v01@openssh.com"

# The second name is the first's from before RFC 8731; OpenSSH 6.5 to 7.3 know no other.
KEY_EXCHANGES: Final = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
)

# AES-GCM costs a quarter of AES-CTR with a MAC, here as elsewhere, and half of
# ChaCha20; that is for machines whose processors have no instructions for AES.
CHACHA20_POLY1305: Final = b"chacha20-poly1305@openssh.com"
CIPHERS: Final = (
    b"aes256-gcm@openssh.com",
    b"aes128-gcm@openssh.com",
    CHACHA20_POLY1305,
    b"aes256-ctr",
    b"aes192-ctr",
    b"aes128-ctr",
)
AEAD_CIPHERS: Final = frozenset(CIPHERS[:3])
MACS: Final = (
    b"hmac-sha2-256-etm@openssh.com",
    b"hmac-sha2-512-etm@openssh.com",
)
COMPRESSIONS: Final = (b"none",)

# What each kind of signature is made with, and what a host may prove itself by.
SIGNATURES: Final = (
    b"ssh-ed25519",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)

# RFC 8308, section 3.1: what signatures of users we verify.
USER_SIGNATURES: Final = (*SIGNATURES, TOKEN_ED25519, TOKEN_ECDSA)


def choose(what: str, clients: Sequence[bytes], servers: Sequence[bytes]) -> bytes:
    """The first of the client's names that the server knows (RFC 4253, section 7.1)."""
    for name in clients:
        if name in servers:
            return name
    raise SshProtocolError(f"no {what} in common", KEY_EXCHANGE_FAILED)
