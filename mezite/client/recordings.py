"""
Recordings on their way to a person: from the hub, or from a file, and believed only if whole.

An :class:`IRecordingBytes` gives bytes as they are kept; a :class:`RecordingReader`
makes chunks of them whose chain is right. Where from is no concern of whoever
plays, searches or exports.
"""

from __future__ import annotations

import enum
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any, Final, Protocol

from attrs import frozen

from mezite.error import BadInput, NotFound
from mezite.recording.chunks import Chunk, ChunkReader, Position
from mezite.recording.error import BadChunk, BadRecording
from mezite.recording.events import Header
from mezite.recording.format import Decoder

_MAGIC: Final = b"MZC1"
_READ: Final = 1024 * 1024


class RecordingState(enum.Enum):
    """How far a recording has come; the values are those of lists."""

    LIVE = "live"
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"


class RecordingSealed(BadInput):
    """The recording is encrypted, and the key is an administrator's."""


@frozen
class Piece:
    """Some bytes of a recording; none at its end, or where more is still to come."""

    data: bytes
    state: RecordingState
    is_sealed: bool = False


class IRecordingBytes(Protocol):
    """Where a recording comes from."""

    async def read(self, offset: int) -> Piece:
        """What is there from this byte on, as much as is convenient."""


class RecordingReader:
    """
    The chunks of one recording, checked, in order.

    ``state`` is what the source said last.
    """

    def __init__(self, recording: str, source: IRecordingBytes) -> None:
        self.recording = recording
        self.state = RecordingState.LIVE
        self.received = 0
        self._source = source
        self._chunks = ChunkReader(Position.start(recording))

    @property
    def is_over(self) -> bool:
        """Whether there is no more, and never will be."""
        return self.state is not RecordingState.LIVE

    async def more(self) -> list[Chunk]:
        """
        What there is beyond what was read; nothing at the end, or until a live one goes on.

        :raises BadChunk: if it is damaged, or not the recording that was asked for.
        :raises RecordingSealed:
        """
        while True:
            piece = await self._source.read(self.received)
            if piece.is_sealed:
                raise RecordingSealed(
                    f"recording {self.recording} is encrypted to an administrator's key:"
                    " export it with --format=chunks, and open it where the key is"
                )
            self.received += len(piece.data)
            found = self._chunks.receive(piece.data)
            if found:
                return found
            if not piece.data:
                # Before that there may be more, whatever has become of the session.
                self.state = piece.state
                self._check_end()
                return []

    def _check_end(self) -> None:
        whole = self._chunks.is_finished or self.state is not RecordingState.COMPLETE
        if not whole or (self._chunks.held and self.is_over):
            raise BadChunk("the recording stops before its end: it is damaged")


async def all_content(reader: RecordingReader) -> AsyncIterator[bytes]:
    """The lines of a recording, a chunk at a time, as far as it is there now."""
    while chunks := await reader.more():
        for chunk in chunks:
            yield chunk.content()


class ChunkFile:
    """A file of chunks, as an export or a node's spool has them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def read(self, offset: int) -> Piece:
        self._file.seek(offset)
        # A file does not say how its recording ended; its last chunk does.
        return Piece(self._file.read(_READ), RecordingState.INTERRUPTED)

    def recording(self) -> str:
        """
        Whose it is, as it says itself.

        :raises BadInput: if it is no recording.
        """
        self._file.seek(0)
        reader = ChunkReader(Position(0, b""))
        while (content := reader.peek()) is None:
            data = self._file.read(_READ)
            if not data:
                raise BadChunk("the file ends within its first chunk")
            reader.feed(data)
        line, _, _ = content.partition(b"\n")
        found = Decoder().receive(line + b"\n")
        if not found or not isinstance(found[0], Header):
            raise BadRecording("this is no recording")
        return f"{found[0].session}.{found[0].number}"


async def open_file(path: Path) -> IO[bytes]:
    """
    A recording in a file, as an asciicast that can be sought in.

    :raises BadInput: if it is none, or damaged.
    """
    try:
        file: IO[bytes] = path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}") from None
    try:
        return await _as_cast(file)
    except BaseException:
        file.close()
        raise


async def _as_cast(file: IO[bytes]) -> IO[bytes]:
    if not file.seekable():
        copied = _unnamed()
        while data := file.read(_READ):
            copied.write(data)
        file.close()
        file = copied
        file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        file.seek(0)
        return file
    chunks = ChunkFile(file)
    made = await spooled(RecordingReader(chunks.recording(), chunks))
    file.close()
    return made


async def spooled(reader: RecordingReader, on_bytes: Any = None) -> IO[bytes]:
    """
    All that is there of a recording, in a file without a name, which goes when it is closed.

    :param on_bytes: told how many bytes were read, each time.
    """
    file = _unnamed()
    try:
        before = 0
        async for content in all_content(reader):
            file.write(content)
            if on_bytes is not None:
                on_bytes(reader.received - before)
                before = reader.received
        file.seek(0)
        return file
    except BaseException:
        file.close()
        raise


def _unnamed() -> IO[bytes]:
    # Its life is longer than a with statement of ours.
    return tempfile.TemporaryFile(prefix="msh-")
