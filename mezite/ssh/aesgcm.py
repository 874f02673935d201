"""
AES in Galois/Counter Mode: aes128-gcm@openssh.com and aes256-gcm@openssh.com.

As RFC 5647, with the names and the negotiation of OpenSSH's PROTOCOL, section
1.6: no MAC is chosen when one of these is.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from zope.interface import implementer

from mezite.ssh.packets import IOpener, ISealer, Parts, checked_length, forged, padded, unpadded

KEY_LENGTHS: Final = {b"aes256-gcm@openssh.com": 32, b"aes128-gcm@openssh.com": 16}
_BLOCK: Final = 16
_TAG: Final = 16
_COUNTERS: Final = 1 << 64


class _Invocations:
    """The nonces of RFC 5647, section 7.1: 4 fixed bytes and a counter of 8."""

    def __init__(self, first: bytes) -> None:
        self._fixed = first[:4]
        self._counter = int.from_bytes(first[4:12], "big")

    def next(self) -> bytes:
        nonce = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = (self._counter + 1) % _COUNTERS
        return nonce


@implementer(ISealer)
class GcmSealer:
    def __init__(self, key: bytes, first_nonce: bytes) -> None:
        self._cipher = AESGCM(key)
        self._nonces = _Invocations(first_nonce)

    def seal(self, sequence: int, payload: Parts) -> Parts:
        packet = padded(payload, _BLOCK, apart=4)
        head = packet[:4]
        return head, self._cipher.encrypt(self._nonces.next(), memoryview(packet)[4:], head)


@implementer(IOpener)
class GcmOpener:
    def __init__(self, key: bytes, first_nonce: bytes) -> None:
        self._cipher = AESGCM(key)
        self._nonces = _Invocations(first_nonce)

    def head_length(self) -> int:
        return 4

    def measure(self, sequence: int, head: bytes) -> int:
        return 4 + checked_length(int.from_bytes(head[:4], "big"), _BLOCK, apart=4) + _TAG

    def open(self, sequence: int, packet: memoryview) -> memoryview:
        try:
            plain = self._cipher.decrypt(self._nonces.next(), packet[4:], packet[:4])
        except InvalidTag:
            raise forged() from None
        return unpadded(plain)
