"""
A recording cut into chunks: numbered, compressed, each bound to those before it.

A :class:`Packer` makes the bytes of chunks, and a :class:`ChunkReader` reads them
again, in any pieces. The same bytes stand in the node's spool and travel to the
hub (docs/protocols/recording.rst).
"""

from __future__ import annotations

import hashlib
import zlib
from struct import Struct
from typing import Final

from attrs import field, frozen

from mezite.recording.error import BadChunk, LocalRecordingError
from mezite.recording.format import LINE_LIMIT

# What a chunk is filled up to: half a second of output at most, and worth compressing.
CONTENT_GOAL: Final = 256 * 1024
# Lines are whole in a chunk: what is below the goal, and then the header, or the longest
# event: its 64 KiB in base64 and as text, on a line each, which is shorter than a header may be.
CONTENT_LIMIT: Final = CONTENT_GOAL + LINE_LIMIT
_MAGIC: Final = b"MZC1"
# Magic, number, flags, codec, two octets of nothing, length of the payload, of the content, chain.
_HEADER: Final = Struct("!4sIBB2xII32s")
HEADER_LENGTH: Final = _HEADER.size
_CHAIN_OFFSET: Final = HEADER_LENGTH - 32
_LAST: Final = 1
_STORED: Final = 0
_ZLIB: Final = 1
_LARGEST_NUMBER: Final = 2**32 - 1
# What does not become this much smaller in a sample costs more time than it saves space.
_WORTH: Final = 0.7
_WORTH_IN_A_HURRY: Final = 0.15
_SAMPLE: Final = 4096
_STORED_AHEAD: Final = 15


@frozen
class Position:
    """Where a recording stands after so many chunks: the next number, and the chain up to it."""

    number: int
    chain: bytes = field(repr=lambda chain: chain.hex())

    @classmethod
    def start(cls, recording: str) -> Position:
        """Before the first chunk: the chain names the recording."""
        return cls(0, hashlib.sha256(b"mezite recording 1\0" + recording.encode("ascii")).digest())


@frozen
class Chunk:
    """
    One chunk whose place in the chain is right.

    Header and payload, one behind the other, are what is stored and sent;
    ``after`` is the position behind it.
    """

    number: int
    is_last: bool
    length: int
    after: Position
    header: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def data(self) -> bytes:
        return self.header + self.payload

    @property
    def size(self) -> int:
        return len(self.header) + len(self.payload)

    def content(self) -> bytes:
        """
        The lines in it.

        :raises BadChunk: if what was packed is not what the header says.
        """
        if self.header[9] == _STORED:
            return self.payload
        unpacking = zlib.decompressobj()
        try:
            content = unpacking.decompress(self.payload, self.length + 1)
        except zlib.error:
            raise BadChunk(f"chunk {self.number} is damaged") from None
        if len(content) != self.length or not unpacking.eof or unpacking.unused_data:
            raise BadChunk(f"chunk {self.number} is not as long as it says")
        return content


class Packer:
    """Makes the chunks of one recording, and learns what is worth compressing."""

    def __init__(self, position: Position) -> None:
        self._position = position
        # So many large chunks are stored as they are, after one that did not become smaller.
        self._stored_ahead = 0

    def pack(self, content: bytes, *, is_last: bool = False, in_a_hurry: bool = False) -> Chunk:
        """
        The next chunk, of this content.

        :param in_a_hurry: compress only what becomes very much smaller.
        """
        position = self._position
        if len(content) > CONTENT_LIMIT or position.number > _LARGEST_NUMBER:
            raise LocalRecordingError("this is too much for a chunk")
        codec, payload = self._packed(content, _WORTH_IN_A_HURRY if in_a_hurry else _WORTH)
        flags = _LAST if is_last else 0
        fields = (_MAGIC, position.number, flags, codec, len(payload), len(content))
        chain = _link(_HEADER.pack(*fields, position.chain), payload)
        after = self._position = Position(position.number + 1, chain)
        header = _HEADER.pack(*fields, chain)
        return Chunk(position.number, is_last, len(content), after, header, payload)

    def _packed(self, content: bytes, worth: float) -> tuple[int, bytes]:
        if len(content) > _SAMPLE:
            if self._stored_ahead:
                self._stored_ahead -= 1
                return _STORED, content
            if len(zlib.compress(content[:_SAMPLE], 1)) > worth * _SAMPLE:
                self._stored_ahead = _STORED_AHEAD
                return _STORED, content
        packed = zlib.compress(content, 1)
        return (_ZLIB, packed) if len(packed) < len(content) else (_STORED, content)


def _link(header: bytes, payload: bytes) -> bytes:
    """The chain behind a chunk whose header has the chain before it in its place."""
    digest = hashlib.sha256(header)
    digest.update(payload)
    return digest.digest()


@frozen
class _Fields:
    number: int
    flags: int
    codec: int
    size: int
    length: int
    chain: bytes


class ChunkReader:
    """
    The chunks of one recording, from a position on.

    It holds one chunk at most, and nothing follows the last one.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self.is_finished = False
        self._data = bytearray()

    @property
    def held(self) -> int:
        """How many bytes of an incomplete chunk are held."""
        return len(self._data)

    def receive(self, data: bytes) -> list[Chunk]:
        """
        The chunks that these bytes complete.

        :raises BadChunk: from there on nothing can be believed. What came before
            stands in :attr:`position`.
        """
        self.feed(data)
        found = []
        while (chunk := self.next()) is not None:
            found.append(chunk)
        return found

    def feed(self, data: bytes) -> None:
        """Take bytes, for :meth:`next` to look at."""
        self._data += data

    def next(self) -> Chunk | None:
        """
        The next chunk, once it is complete.

        :raises BadChunk:
        """
        if not self._data:
            return None
        if self.is_finished:
            raise BadChunk("more follows the last chunk")
        if len(self._data) < HEADER_LENGTH:
            return None
        fields = self._header()
        end = HEADER_LENGTH + fields.size
        if len(self._data) < end:
            return None
        header = bytes(self._data[:HEADER_LENGTH])
        payload = bytes(memoryview(self._data)[HEADER_LENGTH:end])
        chunk = self._checked(fields, header, payload)
        del self._data[:end]
        self.position = chunk.after
        self.is_finished = chunk.is_last
        return chunk

    def peek(self) -> bytes | None:
        """
        What the next chunk says, once it is complete, without a look at its chain.

        For files of chunks, in which only the content tells whose they are: what
        it says must then be checked.

        :raises BadChunk:
        """
        if len(self._data) < HEADER_LENGTH:
            return None
        fields = self._header()
        end = HEADER_LENGTH + fields.size
        if len(self._data) < end:
            return None
        header, payload = bytes(self._data[:HEADER_LENGTH]), bytes(self._data[HEADER_LENGTH:end])
        is_last = bool(fields.flags & _LAST)
        return Chunk(0, is_last, fields.length, self.position, header, payload).content()

    def _header(self) -> _Fields:
        magic, *rest = _HEADER.unpack_from(self._data)
        fields = _Fields(*rest)
        if magic != _MAGIC or fields.flags & ~_LAST or fields.codec not in (_STORED, _ZLIB):
            raise BadChunk("these bytes are no chunk")
        if self._data[10] or self._data[11]:
            raise BadChunk("these bytes are no chunk")
        if fields.number != self.position.number:
            raise BadChunk(f"chunk {fields.number} comes in the place of {self.position.number}")
        if fields.length > CONTENT_LIMIT or fields.size > fields.length:
            raise BadChunk(f"chunk {fields.number} is larger than a chunk may be")
        if fields.codec == _STORED and fields.size != fields.length:
            raise BadChunk(f"chunk {fields.number} is not as long as it says")
        return fields

    def _checked(self, fields: _Fields, header: bytes, payload: bytes) -> Chunk:
        chain = _link(header[:_CHAIN_OFFSET] + self.position.chain, payload)
        if chain != fields.chain:
            raise BadChunk(f"chunk {fields.number} is damaged, or not of this recording")
        is_last = bool(fields.flags & _LAST)
        after = Position(fields.number + 1, chain)
        return Chunk(fields.number, is_last, fields.length, after, header, payload)


@frozen
class Recovered:
    """
    What is left of a recording's file.

    ``length`` bytes of it are whole chunks, which begin at ``offsets``.
    """

    position: Position
    is_finished: bool
    length: int
    offsets: tuple[int, ...]


class JournalReader:
    """Finds, in a file that may end anywhere, where its last whole chunk ends."""

    def __init__(self, recording: str) -> None:
        self._reader = ChunkReader(Position.start(recording))
        self._is_damaged = False
        self._offsets: list[int] = []
        self._length = 0

    @property
    def wants_more(self) -> bool:
        """Whether what follows in the file can still count."""
        return not self._is_damaged and not self._reader.is_finished

    @property
    def found(self) -> Recovered:
        """What is whole in the bytes until now."""
        reader = self._reader
        return Recovered(reader.position, reader.is_finished, self._length, tuple(self._offsets))

    def receive(self, data: bytes) -> list[Chunk]:
        """The next bytes of the file; the whole chunks that they complete."""
        chunks: list[Chunk] = []
        self._reader.feed(data)
        while self.wants_more:
            try:
                chunk = self._reader.next()
            except BadChunk:
                self._is_damaged = True
                break
            if chunk is None:
                break
            self._offsets.append(self._length)
            self._length += chunk.size
            chunks.append(chunk)
        return chunks
