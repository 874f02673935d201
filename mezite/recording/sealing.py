"""
Recordings encrypted at rest, to the public keys of administrators.

:func:`seal` makes of a recording what only a holder of one of the private keys
can read, with an :class:`Unsealer` (docs/protocols/recording.rst). Keys are
X25519, in PEM, as ``openssl genpkey -algorithm X25519`` makes them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from mezite.error import BadInput
from mezite.recording.error import BadRecording

SEGMENT: Final = 65_536
# An auditor, a deputy, and a key in a safe are three.
RECIPIENTS: Final = 16
MAGIC: Final = b"MZE1"
_HEAD: Final = Struct("!4sB3x32s")
_RECIPIENT: Final = Struct("!8s48s")
_TAG: Final = 16
_KEY: Final = 32
_WRAP: Final = b"mezite sealed recording 1 key"
_BODY: Final = b"mezite sealed recording 1 body\0"
_PEM: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class WrongIdentity(BadInput):
    """The recording is not sealed to this key."""

    def __init__(self) -> None:
        super().__init__("the recording is encrypted to other keys than this one")


def parse_recipients(data: bytes) -> tuple[X25519PublicKey, ...]:
    """
    The public keys in a file: PEM, one behind the other.

    :raises BadInput:
    """
    found = []
    for block in _PEM.findall(data):
        try:
            key = load_pem_public_key(block)
        except ValueError:
            key = None
        if not isinstance(key, X25519PublicKey):
            raise BadInput("a key is not an X25519 public key in PEM (openssl pkey -pubout)")
        found.append(key)
    if not 0 < len(found) <= RECIPIENTS:
        raise BadInput(f"from 1 to {RECIPIENTS} X25519 public keys in PEM are expected")
    return tuple(found)


def parse_identity(data: bytes) -> X25519PrivateKey:
    """
    The private key in a file, PEM without a passphrase.

    :raises BadInput:
    """
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise BadInput("an X25519 private key in PEM, without a passphrase, is expected")
    return key


def seal(
    recording: str,
    pieces: Iterable[bytes],
    recipients: Sequence[X25519PublicKey],
    *,
    ephemeral: X25519PrivateKey | None = None,
    file_key: bytes | None = None,
) -> Iterator[bytes]:
    """
    A recording of this id, sealed.

    :param ephemeral: with ``file_key``, what is to be random; for vectors only.
    """
    ephemeral = ephemeral or X25519PrivateKey.generate()
    file_key = file_key or os.urandom(_KEY)
    public = ephemeral.public_key().public_bytes_raw()
    header = _HEAD.pack(MAGIC, len(recipients), public)
    for recipient in recipients:
        theirs = recipient.public_bytes_raw()
        wrapping = _wrapping_key(ephemeral.exchange(recipient), public, theirs)
        wrapped = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
        header += _RECIPIENT.pack(_key_id(theirs), wrapped)
    yield header
    cipher = ChaCha20Poly1305(_body_key(file_key, header, recording))
    number, held = 0, b""
    for piece in pieces:
        held += piece
        # The last segment may be full, so one is held back until more follows it.
        while len(held) > SEGMENT:
            yield cipher.encrypt(_nonce(number, is_last=False), held[:SEGMENT], None)
            number, held = number + 1, held[SEGMENT:]
    yield cipher.encrypt(_nonce(number, is_last=True), held, None)


class Unsealer:
    """Reads a sealed recording, from bytes in any pieces; it holds one segment at most."""

    def __init__(self, recording: str, identity: X25519PrivateKey) -> None:
        self._recording = recording
        self._identity = identity
        self._cipher: ChaCha20Poly1305 | None = None
        self._number = 0
        self._data = bytearray()

    def receive(self, data: bytes) -> bytes:
        """
        What these bytes complete of the recording.

        :raises WrongIdentity:
        :raises BadRecording: they were changed, or are no sealed recording.
        """
        self._data += data
        if self._cipher is None and not self._open():
            return b""
        found = []
        # One byte more shows that this is not the last one.
        while len(self._data) > SEGMENT + _TAG:
            found.append(self._segment(SEGMENT + _TAG, is_last=False))
        return b"".join(found)

    def finish(self) -> bytes:
        """
        The rest, at the end of the bytes.

        :raises BadRecording: they end too early.
        """
        if self._cipher is None:
            raise BadRecording("the sealed recording ends in its header")
        return self._segment(len(self._data), is_last=True)

    def _segment(self, length: int, *, is_last: bool) -> bytes:
        assert self._cipher is not None
        nonce = _nonce(self._number, is_last=is_last)
        try:
            found = self._cipher.decrypt(nonce, bytes(self._data[:length]), None)
        except InvalidTag:
            raise BadRecording("the sealed recording was changed, or cut off") from None
        del self._data[:length]
        self._number += 1
        return found

    def _open(self) -> bool:
        """Read the header, once it is there."""
        if len(self._data) < _HEAD.size:
            return False
        magic, number, public = _HEAD.unpack_from(self._data)
        if magic != MAGIC or not 0 < number <= RECIPIENTS or any(self._data[5:8]):
            raise BadRecording("this is no sealed recording")
        length = _HEAD.size + number * _RECIPIENT.size
        if len(self._data) < length:
            return False
        header = bytes(self._data[:length])
        file_key = self._file_key(header, public)
        self._cipher = ChaCha20Poly1305(_body_key(file_key, header, self._recording))
        del self._data[:length]
        return True

    def _file_key(self, header: bytes, public: bytes) -> bytes:
        ours = self._identity.public_key().public_bytes_raw()
        try:
            shared = self._identity.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise BadRecording("this is no sealed recording") from None
        wrapping = _wrapping_key(shared, public, ours)
        for key_id, wrapped in _RECIPIENT.iter_unpack(header[_HEAD.size :]):
            if key_id != _key_id(ours):
                continue
            try:
                return ChaCha20Poly1305(wrapping).decrypt(bytes(12), wrapped, None)
            except InvalidTag:
                continue
        raise WrongIdentity()


def _wrapping_key(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return _derived(shared, ephemeral + recipient, _WRAP)


def _body_key(file_key: bytes, header: bytes, recording: str) -> bytes:
    # The header in it: recipients cannot be taken away or added unseen.
    return _derived(file_key, hashlib.sha256(header).digest(), _BODY + recording.encode("ascii"))


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY, salt=salt, info=info).derive(secret)


def _key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:8]


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])
