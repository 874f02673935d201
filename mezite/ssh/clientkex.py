"""
The client's half of a key exchange: what it offers, and the secret it shares.

X25519 as in RFC 8731, and ML-KEM-768 beside it as in
draft-ietf-sshm-mlkem-hybrid-kex, which Conch computes for servers only. The
hybrid keeps what is recorded today closed to the quantum computers of later.
All of them hash with SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mezite.ssh.error import KEY_EXCHANGE_FAILED, SshProtocolError
from mezite.ssh.fields import string

# FIPS 203, table 3, and RFC 7748.
_MLKEM_CIPHERTEXT: Final = 1088
_X25519_PUBLIC: Final = 32


class ClientHalf(Protocol):
    """One key exchange, begun by a client."""

    # What the client sends.
    offer: bytes

    def shared(self, answer: bytes) -> bytes:
        """
        The secret, encoded as it is hashed.

        :raises SshProtocolError: if the server's answer cannot be one.
        """


def begin(name: bytes) -> ClientHalf:
    """Begin the key exchange of this name, one of ``KEY_EXCHANGES``."""
    return _HALVES[name]()


class X25519Half:
    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.offer = self._key.public_key().public_bytes_raw()

    def shared(self, answer: bytes) -> bytes:
        return _integer(self.raw(answer))

    def raw(self, answer: bytes) -> bytes:
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(answer))
        except ValueError:
            raise _impossible() from None


class HybridHalf:
    def __init__(self) -> None:
        self._kem = mlkem.MLKEM768PrivateKey.generate()
        self._curve = X25519Half()
        self.offer = self._kem.public_key().public_bytes_raw() + self._curve.offer

    def shared(self, answer: bytes) -> bytes:
        if len(answer) != _MLKEM_CIPHERTEXT + _X25519_PUBLIC:
            raise _impossible()
        from_kem = self._kem.decapsulate(answer[:_MLKEM_CIPHERTEXT])
        from_curve = self._curve.raw(answer[_MLKEM_CIPHERTEXT:])
        return string(hashlib.sha256(from_kem + from_curve).digest())


def _integer(secret: bytes) -> bytes:
    """An mpint (RFC 4251, section 5) of an unsigned number."""
    digits = secret.lstrip(b"\0")
    return string(b"\0" + digits if digits and digits[0] & 0x80 else digits)


def _impossible() -> SshProtocolError:
    return SshProtocolError("the server's half of the key exchange is none", KEY_EXCHANGE_FAILED)


_HALVES: Final[Mapping[bytes, Callable[[], ClientHalf]]] = {
    b"mlkem768x25519-sha256": HybridHalf,
    b"curve25519-sha256": X25519Half,
    b"curve25519-sha256@libssh.org": X25519Half,
}
