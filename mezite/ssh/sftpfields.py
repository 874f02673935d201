"""
The fields that SFTP messages are made of, and their bytes.

Numbers, strings, attributes of files and entries of directories, as section 5
of draft-ietf-secsh-filexfer-02 has them. Which message has which fields is
:mod:`mezite.ssh.sftpwire`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from mezite.error import RemoteError

# Attributes may carry extensions, which nobody uses; more of them is hostile.
MAX_ATTRIBUTE_EXTENSIONS: Final = 16

_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")


class SftpWireError(RemoteError):
    """Bytes that are not SFTP; framing is lost, so the session ends."""


class BadMessage(SftpWireError):
    """One packet whose fields make no sense; the packets after it may."""

    def __init__(self, sentence: str, request_id: int | None = None) -> None:
        super().__init__(sentence)
        self.request_id = request_id


_SIZE, _UID_GID, _PERMISSIONS, _TIMES, _EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x80000000


class Attributes(NamedTuple):
    """What is said about a file; None is what was not said."""

    size: int | None = None
    owner: tuple[int, int] | None = None
    permissions: int | None = None
    times: tuple[int, int] | None = None
    """Accessed and modified, in POSIX seconds."""


class Entry(NamedTuple):
    """A name in a directory; the long name is a line of ``ls -l``."""

    name: bytes
    long_name: bytes
    attributes: Attributes


class FieldReader:
    """Fields taken one after another from the bytes of one packet."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def _advance(self, count: int) -> int:
        start = self._at
        if count > len(self._data) - start:
            raise BadMessage("a field is longer than its packet")
        self._at = start + count
        return start

    def u32(self) -> int:
        value: int = _U32.unpack_from(self._data, self._advance(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack_from(self._data, self._advance(8))[0]
        return value

    def string(self) -> bytes:
        length = self.u32()
        start = self._advance(length)
        return self._data[start : start + length]

    def rest(self) -> bytes:
        return self._data[self._advance(len(self._data) - self._at) :]

    def pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        found = []
        while self._at < len(self._data):
            found.append((self.string(), self.string()))
        return tuple(found)

    def attributes(self) -> Attributes:
        flags = self.u32()
        size = self.u64() if flags & _SIZE else None
        owner = (self.u32(), self.u32()) if flags & _UID_GID else None
        permissions = self.u32() if flags & _PERMISSIONS else None
        times = (self.u32(), self.u32()) if flags & _TIMES else None
        if flags & _EXTENDED:
            count = self.u32()
            if count > MAX_ATTRIBUTE_EXTENSIONS:
                raise BadMessage("too many extended attributes")
            for _ in range(count):
                self.string()
                self.string()
        return Attributes(size, owner, permissions, times)

    def entries(self) -> tuple[Entry, ...]:
        # Not read ahead by the claimed count: each entry must be there.
        return tuple(
            Entry(self.string(), self.string(), self.attributes()) for _ in range(self.u32())
        )

    def end(self) -> None:
        if self._at != len(self._data):
            raise BadMessage("bytes follow the last field of a packet")


def u32(value: int) -> bytes:
    return _U32.pack(value)


def u64(value: int) -> bytes:
    return _U64.pack(value)


def string(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def pairs(value: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(string(key) + string(text) for key, text in value)


def attributes(value: Attributes) -> bytes:
    flags = 0
    fields = b""
    if value.size is not None:
        flags |= _SIZE
        fields += _U64.pack(value.size)
    if value.owner is not None:
        flags |= _UID_GID
        fields += _U32.pack(value.owner[0]) + _U32.pack(value.owner[1])
    if value.permissions is not None:
        flags |= _PERMISSIONS
        fields += _U32.pack(value.permissions)
    if value.times is not None:
        flags |= _TIMES
        fields += _U32.pack(value.times[0]) + _U32.pack(value.times[1])
    return _U32.pack(flags) + fields


def entries(value: Sequence[Entry]) -> bytes:
    return u32(len(value)) + b"".join(
        string(entry.name) + string(entry.long_name) + attributes(entry.attributes)
        for entry in value
    )
