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
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen

from mezite.error import BadInput, NotFound
from mezite.recording.chunks import Chunk, ChunkReader, Position
from mezite.recording.error import BadChunk, BadRecording
from mezite.recording.events import Header
from mezite.recording.format import Decoder
from mezite.recording.uploadwire import is_recording_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from mezite.recording.sealing import Unsealer

_MAGIC: Final = b"MZC1"
_SEALED: Final = b"MZE1"
_READ: Final = 1024 * 1024
# A key in PEM has 119 bytes.
_KEY_FILE_LENGTH: Final = 64 * 1024


class RecordingState(enum.Enum):
    """How far a recording has come; the values are those of lists."""

    LIVE = "live"
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"


class RecordingSealed(BadInput):
    """The recording is encrypted, and no key was given."""

    def __init__(self, recording: str) -> None:
        super().__init__(
            f"recording {recording} is encrypted: give the file of a key that opens it as"
            " --identity, or export it with --format=chunks and open it where the key is"
        )


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

    :param identity: the key that opens it, if it is encrypted.
    """

    def __init__(
        self, recording: str, source: IRecordingBytes, identity: X25519PrivateKey | None = None
    ) -> None:
        self.recording = recording
        self._identity = identity
        self._unsealer: Unsealer | None = None
        self._is_unsealed = False
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
        :raises WrongIdentity:
        """
        while True:
            piece = await self._source.read(self.received)
            data = self._opened(piece)
            self.received += len(piece.data)
            found = self._chunks.receive(data)
            if found:
                return found
            if not piece.data:
                # Before that there may be more, whatever has become of the session.
                self.state = piece.state
                self._check_end()
                return []

    def _opened(self, piece: Piece) -> bytes:
        """What the piece completes of the recording in the clear."""
        if piece.is_sealed and self._unsealer is None:
            self._unsealer = self._begin_to_open()
        if self._unsealer is None:
            return piece.data
        if not piece.is_sealed:
            raise BadRecording("the recording was put away in another way meanwhile: begin again")
        if piece.data:
            return self._unsealer.receive(piece.data)
        if self._is_unsealed:
            return b""
        self._is_unsealed = True
        return self._unsealer.finish()

    def _begin_to_open(self) -> Unsealer:
        from mezite.recording.sealing import Unsealer

        if self._identity is None:
            raise RecordingSealed(self.recording)
        if self.received:
            # Half a minute after its end: whoever reads so slowly reads it anew.
            raise BadRecording("the recording was encrypted while it was read: begin again")
        return Unsealer(self.recording, self._identity)

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
    """A file of chunks, as an export or a node's spool has them, or of such that are sealed."""

    def __init__(self, file: IO[bytes], *, is_sealed: bool = False) -> None:
        self._file = file
        self._is_sealed = is_sealed

    async def read(self, offset: int) -> Piece:
        self._file.seek(offset)
        # A file does not say how its recording ended; its last chunk does.
        return Piece(self._file.read(_READ), RecordingState.INTERRUPTED, self._is_sealed)

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


def read_identity(path: Path) -> X25519PrivateKey:
    """
    The key in this file, which opens recordings.

    :raises NotFound:
    :raises BadInput:
    """
    from mezite.recording.sealing import parse_identity

    try:
        with path.open("rb") as file:
            data = file.read(_KEY_FILE_LENGTH)
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}") from None
    return parse_identity(data)


async def open_file(path: Path, identity: X25519PrivateKey | None = None) -> IO[bytes]:
    """
    A recording in a file, as an asciicast that can be sought in.

    :param identity: for one that is encrypted; the file is then named by its id.
    :raises BadInput: if it is none, or damaged.
    """
    try:
        file: IO[bytes] = path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror}") from None
    try:
        return await _as_cast(file, path, identity)
    except BaseException:
        file.close()
        raise


async def _as_cast(file: IO[bytes], path: Path, identity: X25519PrivateKey | None) -> IO[bytes]:
    if not file.seekable():
        copied = _unnamed()
        while data := file.read(_READ):
            copied.write(data)
        file.close()
        file = copied
        file.seek(0)
    magic = file.read(len(_MAGIC))
    if magic not in (_MAGIC, _SEALED):
        file.seek(0)
        return file
    chunks = ChunkFile(file, is_sealed=magic == _SEALED)
    recording = chunks.recording() if magic == _MAGIC else _named(path)
    made = await spooled(RecordingReader(recording, chunks, identity))
    file.close()
    return made


def _named(path: Path) -> str:
    """Whose a sealed file is, which does not say so itself."""
    if not is_recording_id(path.stem):
        raise BadInput("the file of an encrypted recording is named by its id, as in ID.mze")
    return path.stem


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
