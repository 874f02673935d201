"""
What an agent and a hub say to each other on a stream of the service "recording".

Owns the layout of each message (docs/protocols/recording.rst); who may say what
when is :mod:`mezite.recording.upload`'s.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from struct import Struct, error
from typing import Final

from attrs import field, frozen

from mezite.recording.chunks import CONTENT_LIMIT, HEADER_LENGTH, Position
from mezite.recording.error import LocalRecordingError, RemoteUploadError

VERSION: Final = 1
# A chunk is the largest thing that is sent.
BODY_LIMIT: Final = HEADER_LENGTH + CONTENT_LIMIT
# Of the other messages: a list of ids, each a session's UUID, a dot and a number.
SMALL_LIMIT: Final = 64 * 1024
IDS_IN_A_MESSAGE: Final = 1024
SENTENCE_LENGTH: Final = 1024
_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,39}\.[0-9]{1,9}", re.ASCII)

_FRAME: Final = Struct("!BI")
_POSITION: Final = Struct("!I32s")


class RefusalCode(enum.IntEnum):
    """Why a hub does not take a recording, and so what becomes of it."""

    # It can be tried again, later.
    NOT_NOW = 1
    # It will never be taken, as it is; the node keeps it.
    NEVER = 2


@frozen
class Hello:
    """Agent: this stream is for this recording."""

    recording: str
    version: int = VERSION


@frozen
class ChunkSent:
    """Agent: the next chunk, as it stands in the spool."""

    data: bytes = field(repr=False)


@frozen
class Finish:
    """Agent: the last chunk has been sent, and this is where the recording ends."""

    position: Position


@frozen
class Abandon:
    """Agent: the recording was cut off; there is no more than what the hub has."""

    reason: str


@frozen
class Inventory:
    """
    Agent: what this node still holds.

    ``is_complete`` says that no further message of the list follows.
    """

    recordings: tuple[str, ...]
    is_complete: bool = True


@frozen
class Resume:
    """Hub: what it has, and so which chunk is next."""

    position: Position


@frozen
class Acked:
    """Hub: every chunk below this number is kept, and survives a crash of the hub."""

    number: int


@frozen
class Verified:
    """Hub: the recording is whole, or closed as interrupted; it may be deleted here."""

    position: Position


@frozen
class Refused:
    """Hub: this recording is not taken."""

    code: RefusalCode
    sentence: str


Message = Hello | ChunkSent | Finish | Abandon | Inventory | Resume | Acked | Verified | Refused

_TYPES: Final[dict[type, int]] = {
    Hello: 1,
    ChunkSent: 2,
    Finish: 3,
    Abandon: 4,
    Inventory: 5,
    Resume: 16,
    Acked: 17,
    Verified: 18,
    Refused: 19,
}
FROM_AGENT: Final = frozenset({Hello, ChunkSent, Finish, Abandon, Inventory})
FROM_HUB: Final = frozenset({Resume, Acked, Verified, Refused})


def is_recording_id(text: str) -> bool:
    """Whether this can name a recording: a session's id, a dot, a number."""
    return _ID.fullmatch(text) is not None


def encode(message: Message) -> bytes:
    """The message as it travels."""
    body = _body(message)
    limit = BODY_LIMIT if isinstance(message, ChunkSent) else SMALL_LIMIT
    if len(body) > limit:
        raise LocalRecordingError("this is too much for a message")
    return _FRAME.pack(_TYPES[type(message)], len(body)) + body


def _body(message: Message) -> bytes:
    match message:
        case Hello(recording=recording, version=version):
            return bytes([version]) + _packed_id(recording)
        case ChunkSent(data=data):
            return data
        case Finish(position=position) | Resume(position=position) | Verified(position=position):
            return _POSITION.pack(position.number, position.chain)
        case Abandon(reason=reason):
            return _sentence(reason)
        case Inventory(recordings=recordings, is_complete=is_complete):
            return bytes([is_complete]) + b"".join(map(_packed_id, recordings))
        case Acked(number=number):
            return number.to_bytes(4, "big")
        case Refused(code=code, sentence=sentence):
            return bytes([code]) + _sentence(sentence)


def _packed_id(recording: str) -> bytes:
    if not is_recording_id(recording):
        raise LocalRecordingError(f"{recording[:80]!r} is not the id of a recording")
    return bytes([len(recording)]) + recording.encode("ascii")


def _sentence(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:SENTENCE_LENGTH]


class MessageReader:
    """The messages of one side, from bytes in any pieces; it holds one message at most."""

    def __init__(self, accepted: frozenset[type]) -> None:
        self._accepted = {_TYPES[kind]: kind for kind in accepted}
        self._data = bytearray()

    def receive(self, data: bytes) -> list[Message]:
        """
        The messages that these bytes complete.

        :raises RemoteUploadError:
        """
        self._data += data
        found: list[Message] = []
        at = 0
        while len(self._data) - at >= _FRAME.size:
            number, length = _FRAME.unpack_from(self._data, at)
            kind = self._accepted.get(number)
            if kind is None:
                raise RemoteUploadError(f"message {number} is not for this side")
            if length > (BODY_LIMIT if kind is ChunkSent else SMALL_LIMIT):
                raise RemoteUploadError("a message is longer than a message may be")
            end = at + _FRAME.size + length
            if len(self._data) < end:
                break
            found.append(_decode(kind, bytes(self._data[at + _FRAME.size : end])))
            at = end
        del self._data[:at]
        return found


def _decode(kind: type, body: bytes) -> Message:
    try:
        return _decoded(kind, body)
    except (error, IndexError, ValueError):
        raise RemoteUploadError(f"a {kind.__name__} message is damaged") from None


def _decoded(kind: type, body: bytes) -> Message:
    if kind is Hello:
        [recording] = _ids(body[1:])
        return Hello(recording, body[0])
    if kind is ChunkSent:
        return ChunkSent(body)
    if kind in (Finish, Resume, Verified):
        made: Message = kind(Position(*_POSITION.unpack(body)))
        return made
    if kind is Abandon:
        return Abandon(_text(body))
    if kind is Inventory:
        if body[0] > 1:
            raise ValueError
        return Inventory(tuple(_ids(body[1:])), bool(body[0]))
    if kind is Acked:
        if len(body) != 4:
            raise ValueError
        return Acked(int.from_bytes(body, "big"))
    return Refused(RefusalCode(body[0]), _text(body[1:]))


def _ids(body: bytes) -> Sequence[str]:
    found = []
    at = 0
    while at < len(body):
        end = at + 1 + body[at]
        recording = body[at + 1 : end].decode("ascii")
        if end > len(body) or not is_recording_id(recording):
            raise ValueError
        found.append(recording)
        at = end
    if len(found) > IDS_IN_A_MESSAGE:
        raise ValueError
    return found


def _text(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    if len(body) > SENTENCE_LENGTH:
        raise ValueError
    return "".join(char if char.isprintable() else " " for char in text)
