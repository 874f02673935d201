"""
The recordings that this machine still holds, on its disk.

A :class:`Spool` owns the directory and its bounds; a :class:`SpoolFile` is one
recording's chunks, one behind the other. Everything here blocks, and is called
in threads. What a crash leaves behind is cut back to the last whole chunk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from mezite.recording.chunks import HEADER_LENGTH, Chunk, JournalReader, Position
from mezite.recording.error import RecordingFailed
from mezite.recording.uploadwire import is_recording_id

_SUFFIX: Final = ".chunks"
# Of a recording that the hub will never take; an administrator's to look at.
_REFUSED: Final = ".refused"
_READ_SIZE: Final = 1024 * 1024
_CHAIN_LENGTH: Final = 32


def free_bytes(path: Path) -> int:
    """What others than root may still write on this disk."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@frozen
class SpoolLimits:
    """How large the spool may become, and how much of the disk it leaves alone, in bytes."""

    quota: int
    min_free: int


@define(eq=False)
class Spool:
    """The directory of all recordings: one directory for each session, one file for each."""

    path: Path
    limits: SpoolLimits
    free: Callable[[Path], int] = free_bytes
    # Whose disk it is, for sentences.
    where: str = "the node"
    used: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def prepare(self) -> list[str]:
        """
        Make the directory if there is none; the ids of what is in it.

        :raises RecordingFailed:
        """
        with _telling(f"the directory of recordings on {self.where} cannot be used"):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = []
            for file in self.path.glob("*/*"):
                self.used += file.stat().st_size
                recording = f"{file.parent.name}.{file.name.removesuffix(_SUFFIX)}"
                if file.suffix == _SUFFIX and is_recording_id(recording):
                    found.append(recording)
            return sorted(found)

    def create(self, recording: str) -> SpoolFile:
        """
        A new recording, without chunks.

        :raises RecordingFailed: also if there is no room for one.
        """
        if not is_recording_id(recording):
            raise RecordingFailed("the session has no id that a recording can be named by")
        path = self._path_of(recording)
        with _telling(f"a recording cannot be begun on {self.where}"):
            self._check_room(HEADER_LENGTH)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            return SpoolFile(self, recording, path, os.open(path, flags, 0o600))

    def recover(self, recording: str) -> SpoolFile | None:
        """
        A recording that was left behind, cut back to its last whole chunk.

        None if there is no whole chunk; then it is gone.

        :raises RecordingFailed: it cannot be read.
        """
        path = self._path_of(recording)
        with _telling("a recording that was left behind cannot be read"):
            found = SpoolFile(self, recording, path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
            try:
                found.recover()
            except OSError:
                found.close()
                raise
        if not found.count:
            found.remove()
            return None
        return found

    def take(self, size: int) -> None:
        """
        Room for so many bytes.

        :raises RecordingFailed: there is none.
        """
        with self._lock:
            self._check_room(size)
            self.used += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self.used -= size

    def _check_room(self, size: int) -> None:
        if self.used + size > self.limits.quota:
            raise RecordingFailed(f"{self.where} has as many recordings as it may keep")
        if self.free(self.path) - size < self.limits.min_free:
            raise RecordingFailed(f"the disk of {self.where} is full")

    def _path_of(self, recording: str) -> Path:
        session, _, number = recording.rpartition(".")
        return self.path / session / f"{number}{_SUFFIX}"


@define(eq=False)
class SpoolFile:
    """
    One recording's chunks. One thread at a time appends, others may read.
    """

    _spool: Spool
    recording: str
    _path: Path
    _descriptor: int
    position: Position = field(init=False)
    is_finished: bool = field(init=False, default=False)
    # Where each chunk ends; a chunk that is in here is whole in the file.
    _ends: list[int] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.position = Position.start(self.recording)

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return len(self._ends)

    @property
    def length(self) -> int:
        return self._ends[-1] if self._ends else 0

    def append(self, chunk: Chunk) -> None:
        """
        Hand a chunk over to the kernel: what kills this process does not undo it.

        :raises RecordingFailed: there is no room, or the disk is broken; the file
            is as it was.
        """
        with _telling(f"the recording cannot be written on {self._spool.where}"):
            self._spool.take(chunk.size)
            try:
                _write(self._descriptor, [chunk.header, chunk.payload], self.length)
            except OSError:
                self._spool.give_back(chunk.size)
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self.length)
                raise
            self._ends.append(self.length + chunk.size)
            self.position = chunk.after
            self.is_finished = chunk.is_last

    def sync(self) -> None:
        """
        Have the disk keep what was appended: no power cut undoes that.

        :raises RecordingFailed:
        """
        with _telling(f"the recording cannot be written on {self._spool.where}"):
            os.fdatasync(self._descriptor)
            if (self._ends and self._ends[0] == self.length) or self.is_finished:
                self._sync_names()

    def _sync_names(self) -> None:
        for directory in (self._path.parent, self._spool.path):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def read(self, number: int) -> bytes:
        """
        A whole chunk.

        :raises RecordingFailed: it cannot be read.
        """
        with _telling(f"a recording on {self._spool.where} cannot be read"):
            begin = self._ends[number - 1] if number else 0
            length = self._ends[number] - begin
            data = os.pread(self._descriptor, length, begin)
            if len(data) != length:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return data

    def position_at(self, number: int) -> Position:
        """
        The position behind so many chunks.

        :raises RecordingFailed: it cannot be read.
        """
        if number == 0:
            return Position.start(self.recording)
        header = self.read(number - 1)[:HEADER_LENGTH]
        return Position(number, header[-_CHAIN_LENGTH:])

    def recover(self) -> None:
        """Find the whole chunks, and cut off what is behind them."""
        journal = JournalReader(self.recording)
        at = 0
        while journal.wants_more and (data := os.pread(self._descriptor, _READ_SIZE, at)):
            at += len(data)
            journal.receive(data)
        found = journal.found
        size = os.fstat(self._descriptor).st_size
        os.ftruncate(self._descriptor, found.length)
        self._spool.give_back(size - found.length)
        self._ends = [*found.offsets[1:], found.length] if found.offsets else []
        self.position = found.position
        self.is_finished = found.is_finished

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def remove(self) -> None:
        """The hub has it, or there is nothing in it."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._spool.give_back(self.length)
        self._ends.clear()
        # Not if the session has others.
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()

    def set_aside(self) -> None:
        """The hub will never take it: keep it where it is not tried again."""
        self.close()
        self._path.rename(self._path.with_suffix(_REFUSED))


def _write(descriptor: int, parts: list[bytes], at: int) -> None:
    written = os.pwritev(descriptor, parts, at)
    rest = memoryview(b"".join(parts))[written:] if written < sum(map(len, parts)) else b""
    while rest:
        at += written
        written = os.pwrite(descriptor, rest, at)
        rest = rest[written:]


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordingFailed(f"{what}: {error.strerror}") from error
