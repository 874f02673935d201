"""
A TLS 1.3 client whose records are made by hand, to send what OpenSSL would not.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

APPLICATION_DATA: Final = 23
HANDSHAKE: Final = 22
KEY_UPDATE: Final = b"\x18\0\0\x01\0"
KEY_UPDATE_REQUESTED: Final = b"\x18\0\0\x01\x01"


def watch_secrets(context: SSL.Context) -> dict[str, bytes]:
    """The secrets of the connections that this context makes from now on, by their labels."""
    secrets: dict[str, bytes] = {}

    def note(connection: Any, line: bytes) -> None:
        label, _, secret = line.decode("ascii").split()
        secrets[label] = bytes.fromhex(secret)

    context.set_keylog_callback(note)
    return secrets


class HandMadeRecords:
    """What a client sends after its handshake, sealed with AES-128-GCM and SHA-256."""

    def __init__(self, secret: bytes) -> None:
        self._use(secret)

    def seal(self, content_type: int, plain: bytes) -> bytes:
        """One record; a KeyUpdate is followed by the next keys (RFC 8446, section 7.2)."""
        header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(plain) + 17)
        nonce = (int.from_bytes(self._iv, "big") ^ self._number).to_bytes(12, "big")
        self._number += 1
        sealed = self._key.encrypt(nonce, plain + bytes([content_type]), header)
        if content_type == HANDSHAKE and plain[:1] == KEY_UPDATE[:1]:
            self._use(_expand(self._secret, b"traffic upd", 32))
        return header + sealed

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key = AESGCM(_expand(secret, b"key", 16))
        self._iv = _expand(secret, b"iv", 12)
        self._number = 0


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label without a context."""
    label = b"tls13 " + label
    info = struct.pack("!HB", length, len(label)) + label + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)
