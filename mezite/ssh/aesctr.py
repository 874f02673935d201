"""
AES in counter mode (RFC 4344) with a MAC beside it (RFC 6668).

The MAC is over the sealed packet, as OpenSSH's PROTOCOL, section 1.7, has it
for the names that end in ``-etm@openssh.com``. The older ones, with a MAC over
the plain packet, have us decrypt what nobody vouched for, and are not offered.
"""

from __future__ import annotations

import hmac
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from zope.interface import implementer

from mezite.ssh.packets import IOpener, ISealer, Parts, checked_length, forged, padded, unpadded

KEY_LENGTHS: Final = {b"aes256-ctr": 32, b"aes192-ctr": 24, b"aes128-ctr": 16}
_BLOCK: Final = 16


@frozen(repr=False)
class Mac:
    """A keyed hash: its name for :mod:`hmac`, and its length."""

    digest: str
    length: int
    key: bytes = b""

    def of(self, sequence: int, *packet: bytes | memoryview) -> bytes:
        return hmac.digest(self.key, b"".join((sequence.to_bytes(4, "big"), *packet)), self.digest)


MACS: Final = {
    b"hmac-sha2-256-etm@openssh.com": Mac("sha256", 32),
    b"hmac-sha2-512-etm@openssh.com": Mac("sha512", 64),
}


@implementer(ISealer)
class CtrSealer:
    def __init__(self, key: bytes, counter: bytes, mac: Mac) -> None:
        self._cipher = Cipher(AES(key), CTR(counter[:_BLOCK])).encryptor()
        self._mac = mac

    def seal(self, sequence: int, payload: Parts) -> Parts:
        packet = padded(payload, _BLOCK, apart=4)
        head, sealed = packet[:4], self._cipher.update(memoryview(packet)[4:])
        return head, sealed, self._mac.of(sequence, head, sealed)


@implementer(IOpener)
class CtrOpener:
    def __init__(self, key: bytes, counter: bytes, mac: Mac) -> None:
        self._cipher = Cipher(AES(key), CTR(counter[:_BLOCK])).decryptor()
        self._mac = mac

    def head_length(self) -> int:
        return 4

    def measure(self, sequence: int, head: bytes) -> int:
        length = checked_length(int.from_bytes(head[:4], "big"), _BLOCK, apart=4)
        return 4 + length + self._mac.length

    def open(self, sequence: int, packet: memoryview) -> memoryview:
        end = len(packet) - self._mac.length
        sealed, tag = packet[:end], packet[end:]
        if not hmac.compare_digest(self._mac.of(sequence, sealed), tag):
            raise forged()
        return unpadded(self._cipher.update(sealed[4:]))
