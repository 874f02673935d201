"""
Recordings in files: those that nodes still bring, and those that are closed.

Everything here blocks, and is for threads. An :class:`IncomingFiles` owns what
grows; an :class:`IRecordingStore` owns what does not, of which
:class:`FileRecordings` is one. What is in a file, chunks as they came, is
:mod:`mezite.recording.chunks`'.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mezite.recording.chunks import Chunk, JournalReader, Position
from mezite.recording.error import BadChunk, BadRecording
from mezite.recording.events import Header
from mezite.recording.format import Decoder
from mezite.store.error import DataUnusable, NoSuchRecording, RecordingsUnavailable
from mezite.store.privatefiles import make_private_directory, sync_directory
from mezite.store.recordings import Extent

_log = Logger()

PIECE: Final = 1024 * 1024
# What is left for the database, which every session needs.
FREE_BYTES: Final = 256 * 1024 * 1024
_SUFFIX: Final = ".mzr"


class DamagedChunk(BadRecording):
    """A chunk whose place in the chain is right and whose content cannot be read."""


@frozen
class Kept:
    """
    What is kept of a recording that grows.

    ``header`` is None before the first chunk.
    """

    extent: Extent
    is_whole: bool = False
    header: Header | None = field(default=None, repr=False)

    @classmethod
    def nothing(cls, recording: str) -> Kept:
        """Before the first chunk."""
        return cls(Extent(Position.start(recording), 0))

    def followed_by(self, chunk: Chunk) -> Kept:
        """
        With one more chunk.

        :raises DamagedChunk:
        """
        try:
            content = chunk.content()
            header = self.header if chunk.number else _header(content)
        except (BadChunk, BadRecording) as error:
            raise DamagedChunk(str(error)) from None
        size = self.extent.size + chunk.size
        seconds = max(self.extent.seconds, _last_time(content))
        return evolve(
            self,
            extent=Extent(chunk.after, size, seconds),
            is_whole=chunk.is_last,
            header=header,
        )


def _header(content: bytes) -> Header:
    end = content.find(b"\n") + 1
    found = Decoder().receive(content[:end])
    if not found or not isinstance(found[0], Header):
        raise BadRecording("a recording begins with its header")
    return found[0]


def _last_time(content: bytes) -> float:
    """When the last event of these lines was; 0 if they have none that can be understood."""
    last = content[content.rfind(b"\n", 0, -1) + 1 :]
    try:
        event = json.loads(last)
    except ValueError:
        return 0.0
    if not isinstance(event, list) or not event or not isinstance(event[0], int | float):
        return 0.0
    return float(event[0])


@define(eq=False)
class IncomingFiles:
    """The recordings that still grow, each in a file of its chunks."""

    directory: Path
    free_bytes: int = FREE_BYTES

    def recover(self, recording: str) -> Kept:
        """
        What is whole of this recording; what follows it in the file is cut off.

        :raises RecordingsUnavailable:
        """
        reader, kept = JournalReader(recording), Kept.nothing(recording)
        try:
            with open(self._path(recording), "r+b") as file:
                while reader.wants_more and (data := file.read(PIECE)):
                    for chunk in reader.receive(data):
                        kept = kept.followed_by(chunk)
                if file.seek(0, os.SEEK_END) > kept.extent.size:
                    file.truncate(kept.extent.size)
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return kept
        except OSError as error:
            raise _unavailable(error) from None
        return kept

    def append(
        self,
        recording: str,
        kept: Kept,
        chunks: Sequence[Chunk],
        check_header: Callable[[Header], None] = lambda header: None,
    ) -> Kept:
        """
        Add chunks behind what is kept; when this returns, they survive a crash.

        :raises DamagedChunk: and nothing was added; also by ``check_header``.
        :raises RecordingsUnavailable: what was added is to be found by :meth:`recover`.
        """
        after = kept
        for chunk in chunks:
            after = after.followed_by(chunk)
        if kept.header is None and after.header is not None:
            check_header(after.header)
        try:
            self.check_room()
            is_new = kept.extent.size == 0
            if is_new:
                self._make_directory()
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path(recording), flags, 0o600)
            try:
                _write_at(descriptor, kept.extent.size, chunks)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                sync_directory(self.directory)
        except OSError as error:
            raise _unavailable(error) from None
        return after

    def check_room(self) -> None:
        """
        Find out whether there is room to take more.

        :raises RecordingsUnavailable:
        """
        place = self.directory
        while not place.exists():
            place = place.parent
        try:
            there = os.statvfs(place)
        except OSError as error:
            raise _unavailable(error) from None
        if there.f_bavail * there.f_frsize < self.free_bytes:
            raise RecordingsUnavailable(f"less than {self.free_bytes} bytes are free at {place}")

    def size(self, recordings: Iterable[str]) -> int:
        """How many bytes of these are here."""
        total = 0
        for recording in recordings:
            try:
                total += self._path(recording).stat().st_size
            except OSError:
                continue
        return total

    def path(self, recording: str) -> Path:
        """Its file, which is there even if nothing came."""
        path = self._path(recording)
        try:
            self._make_directory()
            path.touch(mode=0o600)
        except OSError as error:
            raise _unavailable(error) from None
        return path

    def read(self, recording: str, offset: int, length: int) -> bytes:
        """
        Bytes of it, fewer at the end.

        :raises NoSuchRecording:
        :raises RecordingsUnavailable:
        """
        return _read(self._path(recording), recording, offset, length)

    def remove(self, recording: str) -> None:
        """:raises RecordingsUnavailable:"""
        try:
            self._path(recording).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(error) from None

    def names(self) -> list[str]:
        """The recordings that have a file here."""
        try:
            found = os.listdir(self.directory)
        except OSError:
            return []
        return [name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)]

    def _path(self, recording: str) -> Path:
        return self.directory / f"{recording}{_SUFFIX}"

    def _make_directory(self) -> None:
        _make_directory(self.directory)


@frozen
class Source:
    """A file that a store takes in, sealed on the way if there is a ``seal``."""

    path: Path
    seal: Callable[[Iterator[bytes]], Iterator[bytes]] | None = None

    def pieces(self) -> Iterator[bytes]:
        """What is to be stored."""
        return self._file() if self.seal is None else self.seal(self._file())

    def _file(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            while data := file.read(PIECE):
                yield data


class IRecordingStore(Interface):
    """
    Where recordings are to which nothing is added any more.

    Everything here blocks, and may raise :class:`RecordingsUnavailable`. A key
    is a path of at most three parts, made of letters, digits, ``.`` and ``-``.
    """

    def put(key: str, source: Source) -> int:
        """
        Take a file in, in the place of any other of this key; how many bytes it has here.

        When this returns, they survive a crash; before, what was there is as it was.
        The source stays.
        """

    def read(key: str, offset: int, length: int) -> bytes:
        """
        Bytes from there on, fewer at the end.

        :raises NoSuchRecording: nothing has this key.
        """

    def remove(key: str) -> None:
        """Forget what has this key, if anything has."""


@implementer(IRecordingStore)
@define(eq=False)
class FileRecordings:
    """Closed recordings in a directory, one for each month."""

    directory: Path

    def put(self, key: str, source: Source) -> int:
        path = self.directory / key
        fresh = path.with_name(f".{path.name}.new")
        try:
            _make_directory(path.parent)
            fresh.unlink(missing_ok=True)
            if source.seal is None:
                # It is on the disk already, and need not be there twice.
                os.link(source.path, fresh)
            else:
                _write_new(fresh, source.pieces())
            fresh.replace(path)
            sync_directory(path.parent)
            return path.stat().st_size
        except (OSError, DataUnusable) as error:
            raise _unavailable(error) from None

    def read(self, key: str, offset: int, length: int) -> bytes:
        return _read(self.directory / key, key, offset, length)

    def remove(self, key: str) -> None:
        try:
            (self.directory / key).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(error) from None


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    # Each by itself: what is made on the way would be open to other accounts.
    _make_directory(path.parent)
    try:
        make_private_directory(path)
        sync_directory(path.parent)
    except DataUnusable as error:
        raise RecordingsUnavailable(str(error)) from None


def _write_at(descriptor: int, offset: int, chunks: Sequence[Chunk]) -> None:
    # What a write that failed left behind is no longer than what is written now, or is cut off.
    os.ftruncate(descriptor, offset)
    for chunk in chunks:
        data = memoryview(chunk.data)
        while data:
            written = os.pwrite(descriptor, data, offset)
            offset += written
            data = data[written:]


def _write_new(path: Path, pieces: Iterator[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            for piece in pieces:
                file.write(piece)
        os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _read(path: Path, name: str, offset: int, length: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)
    except FileNotFoundError:
        raise NoSuchRecording(name) from None
    except OSError as error:
        raise _unavailable(error) from None


def _unavailable(error: OSError | DataUnusable) -> RecordingsUnavailable:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "the disk is full"
    else:
        reason = str(error)
    _log.warn("recordings cannot be kept or read: {reason}", reason=reason)
    return RecordingsUnavailable(reason)
