"""
The messages of SFTP version 3 as values, and the bytes they travel in.

Knows the framing and the fields (draft-ietf-secsh-filexfer-02, and the
extensions of OpenSSH's PROTOCOL) for both directions, the agent's and the
client's. What a message does to files is left to them.

Standard library only, without even attrs: the SFTP server of a session reads
this anew at the start of every file transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple

from mezite.ssh import sftpfields as fields
from mezite.ssh.sftpfields import Attributes, BadMessage, Entry, FieldReader, SftpWireError

VERSION: Final = 3
# OpenSSH's SFTP_MAX_MSG_LENGTH: nobody sends more, and one that did would make
# the other side hold it.
MAX_PACKET: Final = 256 * 1024
# What is left for data beside the id, handle, offset and lengths: OpenSSH's figure.
MAX_DATA: Final = MAX_PACKET - 1024


class StatusCode(IntEnum):
    """Section 7 of the draft."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


class OpenFlag(IntFlag):
    """Section 6.3 of the draft."""

    READ = 0x01
    WRITE = 0x02
    APPEND = 0x04
    CREATE = 0x08
    TRUNCATE = 0x10
    EXCLUSIVE = 0x20


# --- the messages, in the order of their numbers


class Init(NamedTuple):
    version: int
    extensions: tuple[tuple[bytes, bytes], ...] = ()


class Version(NamedTuple):
    version: int
    extensions: tuple[tuple[bytes, bytes], ...] = ()


class Open(NamedTuple):
    request_id: int
    path: bytes
    flags: int
    attributes: Attributes


class Close(NamedTuple):
    request_id: int
    handle: bytes


class Read(NamedTuple):
    request_id: int
    handle: bytes
    offset: int
    length: int


class Write(NamedTuple):
    request_id: int
    handle: bytes
    offset: int
    data: bytes


class Lstat(NamedTuple):
    request_id: int
    path: bytes


class Fstat(NamedTuple):
    request_id: int
    handle: bytes


class Setstat(NamedTuple):
    request_id: int
    path: bytes
    attributes: Attributes


class Fsetstat(NamedTuple):
    request_id: int
    handle: bytes
    attributes: Attributes


class Opendir(NamedTuple):
    request_id: int
    path: bytes


class Readdir(NamedTuple):
    request_id: int
    handle: bytes


class Remove(NamedTuple):
    request_id: int
    path: bytes


class Mkdir(NamedTuple):
    request_id: int
    path: bytes
    attributes: Attributes


class Rmdir(NamedTuple):
    request_id: int
    path: bytes


class Realpath(NamedTuple):
    request_id: int
    path: bytes


class Stat(NamedTuple):
    request_id: int
    path: bytes


class Rename(NamedTuple):
    request_id: int
    old: bytes
    new: bytes


class Readlink(NamedTuple):
    request_id: int
    path: bytes


class Symlink(NamedTuple):
    """The target stands first, as OpenSSH has it and not as the draft does."""

    request_id: int
    target: bytes
    link: bytes


class Status(NamedTuple):
    request_id: int
    code: int
    message: bytes
    language: bytes = b""


class Handle(NamedTuple):
    request_id: int
    handle: bytes


class Data(NamedTuple):
    request_id: int
    data: bytes


class Name(NamedTuple):
    request_id: int
    entries: tuple[Entry, ...]


class Attrs(NamedTuple):
    request_id: int
    attributes: Attributes


class Extended(NamedTuple):
    request_id: int
    extension: bytes
    body: bytes


class ExtendedReply(NamedTuple):
    request_id: int
    body: bytes


Request = (
    Open | Close | Read | Write | Lstat | Fstat | Setstat | Fsetstat | Opendir | Readdir
    | Remove | Mkdir | Rmdir | Realpath | Stat | Rename | Readlink | Symlink | Extended
)  # fmt: skip
Reply = Status | Handle | Data | Name | Attrs | ExtendedReply
Message = Init | Version | Request | Reply


def _rest(value: bytes) -> bytes:
    return value


class _Kind(NamedTuple):
    read: Callable[[FieldReader], Any]
    write: Callable[[Any], bytes]


_NUMBER: Final = _Kind(FieldReader.u32, fields.u32)
_LONG: Final = _Kind(FieldReader.u64, fields.u64)
_STRING: Final = _Kind(FieldReader.string, fields.string)
_PAIRS: Final = _Kind(FieldReader.pairs, fields.pairs)
_ATTRIBUTES: Final = _Kind(FieldReader.attributes, fields.attributes)
_ENTRIES: Final = _Kind(FieldReader.entries, fields.entries)
_REST: Final = _Kind(FieldReader.rest, _rest)

_LAYOUT: Final[dict[int, tuple[type[Any], tuple[_Kind, ...]]]] = {
    1: (Init, (_NUMBER, _PAIRS)),
    2: (Version, (_NUMBER, _PAIRS)),
    3: (Open, (_NUMBER, _STRING, _NUMBER, _ATTRIBUTES)),
    4: (Close, (_NUMBER, _STRING)),
    5: (Read, (_NUMBER, _STRING, _LONG, _NUMBER)),
    6: (Write, (_NUMBER, _STRING, _LONG, _STRING)),
    7: (Lstat, (_NUMBER, _STRING)),
    8: (Fstat, (_NUMBER, _STRING)),
    9: (Setstat, (_NUMBER, _STRING, _ATTRIBUTES)),
    10: (Fsetstat, (_NUMBER, _STRING, _ATTRIBUTES)),
    11: (Opendir, (_NUMBER, _STRING)),
    12: (Readdir, (_NUMBER, _STRING)),
    13: (Remove, (_NUMBER, _STRING)),
    14: (Mkdir, (_NUMBER, _STRING, _ATTRIBUTES)),
    15: (Rmdir, (_NUMBER, _STRING)),
    16: (Realpath, (_NUMBER, _STRING)),
    17: (Stat, (_NUMBER, _STRING)),
    18: (Rename, (_NUMBER, _STRING, _STRING)),
    19: (Readlink, (_NUMBER, _STRING)),
    20: (Symlink, (_NUMBER, _STRING, _STRING)),
    101: (Status, (_NUMBER, _NUMBER, _STRING, _STRING)),
    102: (Handle, (_NUMBER, _STRING)),
    103: (Data, (_NUMBER, _STRING)),
    104: (Name, (_NUMBER, _ENTRIES)),
    105: (Attrs, (_NUMBER, _ATTRIBUTES)),
    200: (Extended, (_NUMBER, _STRING, _REST)),
    201: (ExtendedReply, (_NUMBER, _REST)),
}
_NUMBERS: Final = {layout[0]: number for number, layout in _LAYOUT.items()}


def decode(packet: bytes) -> Message:
    """
    The message in one packet, without its length.

    :raises BadMessage: with the id of the request where one could be read.
    """
    if not packet:
        raise BadMessage("an empty packet")
    request_id = int.from_bytes(packet[1:5], "big") if len(packet) >= 5 else None
    layout = _LAYOUT.get(packet[0])
    if layout is None:
        raise BadMessage(f"unknown message {packet[0]}", request_id)
    message, kinds = layout
    reader = FieldReader(packet, 1)
    try:
        values = [kind.read(reader) for kind in kinds]
        reader.end()
    except BadMessage as error:
        raise BadMessage(f"{message.__name__.lower()}: {error}", request_id) from None
    decoded: Message = message(*values)
    return decoded


def is_known(packet: bytes) -> bool:
    """Whether the type of this packet is one of the draft's."""
    return bool(packet) and packet[0] in _LAYOUT


def encode(message: Message) -> bytes:
    """The bytes of this message, its length first."""
    number = _NUMBERS[type(message)]
    parts = [kind.write(value) for kind, value in zip(_LAYOUT[number][1], message, strict=True)]
    body = b"".join(parts)
    return fields.u32(len(body) + 1) + bytes((number,)) + body


class PacketReader:
    """
    Packets cut out of a byte stream, however it was chunked.

    Holds less than one packet between calls.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """
        The packets that these bytes complete, without their lengths.

        To be iterated to its end before the next call.

        :raises SftpWireError: for a length that no packet has.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= 4:
                length = int.from_bytes(buffer[at : at + 4], "big")
                if not 0 < length <= MAX_PACKET:
                    raise SftpWireError(
                        f"a packet of {length} bytes; from 1 to {MAX_PACKET} are accepted"
                    )
                if len(buffer) - at - 4 < length:
                    break
                start = at + 4
                at = start + length
                yield bytes(memoryview(buffer)[start:at])
        finally:
            del buffer[:at]

    @property
    def is_idle(self) -> bool:
        """Whether no packet is half read."""
        return not self._buffer
