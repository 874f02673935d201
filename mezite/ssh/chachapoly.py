"""
ChaCha20 with Poly1305: chacha20-poly1305@openssh.com.

As draft-ietf-sshm-chacha20-poly1305, which writes down OpenSSH's
PROTOCOL.chacha20poly1305: one key hides the length, another the packet, and
the nonce of both is the number of the packet. No MAC is chosen beside it.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305
from zope.interface import implementer

from mezite.ssh.packets import IOpener, ISealer, Parts, checked_length, forged, padded, unpadded

KEY_LENGTH: Final = 64
_HALF: Final = 32
_BLOCK: Final = 8
_TAG: Final = 16
# A block of the stream; the first of each packet is the one-time key of Poly1305.
_FIRST: Final = bytes(64)


class _Stream:
    """ChaCha20 as its author made it: a counter and a nonce of 8 octets each."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(ChaCha20(key, bytes(16)), None).encryptor()

    def at(self, sequence: int) -> None:
        """Begin the stream of this packet."""
        self._cipher.reset_nonce(bytes(8) + sequence.to_bytes(8, "big"))

    def apply(self, data: bytes | memoryview) -> bytes:
        """Seal or open what follows; the two are the same."""
        return self._cipher.update(data)


class _Keys:
    def __init__(self, key: bytes) -> None:
        self.packet = _Stream(key[:_HALF])
        self.length = _Stream(key[_HALF:KEY_LENGTH])

    def one_time(self, sequence: int) -> bytes:
        """Poly1305's key for this packet; the packet's own stream follows it."""
        self.packet.at(sequence)
        return self.packet.apply(_FIRST)[:_HALF]


@implementer(ISealer)
class ChaChaPolySealer:
    def __init__(self, key: bytes) -> None:
        self._keys = _Keys(key)

    def seal(self, sequence: int, payload: Parts) -> Parts:
        packet = padded(payload, _BLOCK, apart=4)
        one_time = self._keys.one_time(sequence)
        self._keys.length.at(sequence)
        sealed = b"".join(
            (
                self._keys.length.apply(packet[:4]),
                self._keys.packet.apply(memoryview(packet)[4:]),
            )
        )
        return sealed, Poly1305.generate_tag(one_time, sealed)


@implementer(IOpener)
class ChaChaPolyOpener:
    def __init__(self, key: bytes) -> None:
        self._keys = _Keys(key)

    def head_length(self) -> int:
        return 4

    def measure(self, sequence: int, head: bytes) -> int:
        self._keys.length.at(sequence)
        length = int.from_bytes(self._keys.length.apply(head[:4]), "big")
        return 4 + checked_length(length, _BLOCK, apart=4) + _TAG

    def open(self, sequence: int, packet: memoryview) -> memoryview:
        sealed, tag = packet[:-_TAG], packet[-_TAG:]
        one_time = self._keys.one_time(sequence)
        if not hmac.compare_digest(Poly1305.generate_tag(one_time, sealed), tag):
            raise forged()
        return unpadded(self._keys.packet.apply(sealed[4:]))
