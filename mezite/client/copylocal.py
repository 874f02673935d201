"""
The files of this machine, touched in a thread of their own.

One thread does it all, so what is asked for happens in that order: a file is
written from its beginning on, and closed behind its last write.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.client.copysides import (
    MAX_ENTRIES,
    FileDenied,
    FileMissing,
    FileThere,
    FileTrouble,
    IFileSide,
    IReading,
    IWriting,
    Listed,
    readable,
)
from mezite.ssh.sftpfields import Attributes

T = TypeVar("T")
# ``run(function)``: in a thread, one after another, in the order of the calls.
InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]

_MOST: Final = 256 * 1024
_KINDS: Final[dict[int, type[FileTrouble]]] = {
    errno.ENOENT: FileMissing,
    errno.EACCES: FileDenied,
    errno.EPERM: FileDenied,
    errno.EROFS: FileDenied,
    errno.EEXIST: FileThere,
}


def attributes_of(found: os.stat_result) -> Attributes:
    """What is known of a local file, in the words of SFTP."""
    times = (_seconds(found.st_atime), _seconds(found.st_mtime))
    return Attributes(found.st_size, (found.st_uid, found.st_gid), found.st_mode, times)


def _seconds(moment: float) -> int:
    return max(0, min(0xFFFFFFFF, int(moment)))


def trouble(shown: str, error: OSError) -> FileTrouble:
    """The system's words about a file."""
    kind = _KINDS.get(error.errno or 0, FileTrouble)
    return kind(f"{shown}: {(error.strerror or 'failed').lower()}")


@implementer(IFileSide)
class LocalFiles:
    """Files here; relative paths begin at ``directory``, or where the program runs."""

    def __init__(self, run: InThread, directory: str = "") -> None:
        self._run = run
        self.directory = directory

    def at(self, path: str) -> str:
        """The path as the system takes it."""
        return os.path.join(self.directory, path or ".")

    def go_to(self, path: str) -> None:
        """Let relative paths begin there."""
        self.directory = os.path.normpath(self.at(path))

    def shown(self, path: str) -> str:
        return readable(path) or "."

    def _do(self, path: str, act: Callable[[str], T]) -> Deferred[T]:
        return self.run(path, lambda: act(self.at(path)))

    def run(self, path: str, act: Callable[[], T]) -> Deferred[T]:
        """Do this in the thread; what the system complains of is about this path."""

        def in_thread() -> T:
            try:
                return act()
            except OSError as error:
                raise trouble(self.shown(path), error) from error
            except ValueError as error:  # a NUL in a name
                raise FileTrouble(f"{self.shown(path)}: {error}") from error

        return self._run(in_thread)

    async def look(self, path: str, *, follow: bool = True) -> Attributes:
        return await self._do(path, lambda at: attributes_of(os.stat(at, follow_symlinks=follow)))

    async def names(self, path: str) -> Sequence[Listed]:
        return await self._do(path, lambda at: _listed(at, self.shown(path)))

    async def identity(self, path: str) -> object:
        def both(at: str) -> object:
            found = os.stat(at)
            return found.st_dev, found.st_ino

        return await self._do(path, both)

    async def make_directory(self, path: str, permissions: int) -> None:
        await self._do(path, lambda at: os.mkdir(at, permissions))

    async def change(self, path: str, attributes: Attributes) -> None:
        await self._do(path, lambda at: _change(at, attributes))

    async def open_reading(self, path: str) -> IReading:
        # O_NONBLOCK: to open a pipe that nobody writes must not hang.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        return OpenFile(self, path, await self._do(path, lambda at: os.open(at, flags)))

    async def open_writing(self, path: str, permissions: int, *, keep: bool) -> IWriting:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        if not keep:
            flags |= os.O_TRUNC
        # So that it can be written again, should this be tried again.
        permissions |= stat.S_IWUSR
        file = await self._do(path, lambda at: os.open(at, flags, permissions))
        return OpenFile(self, path, file)


@implementer(IReading, IWriting)
class OpenFile:
    """A file of this machine."""

    most = _MOST

    def __init__(self, side: LocalFiles, path: str, file: int) -> None:
        self._side = side
        self._path = path
        self._file = file

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return self._side.run(self._path, lambda: os.pread(self._file, length, offset))

    def write(self, offset: int, data: bytes) -> Deferred[None]:
        return self._side.run(self._path, lambda: _write(self._file, offset, data))

    def change(self, attributes: Attributes) -> Deferred[None]:
        return self._side.run(self._path, lambda: _change(self._file, attributes))

    def close(self) -> Deferred[None]:
        return self._side.run(self._path, lambda: os.close(self._file))


def _write(file: int, offset: int, data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            count = os.pwrite(file, rest, offset)
            offset += count
            rest = rest[count:]
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
        # /dev/null and terminals take bytes, but have no places for them.
        while rest:
            rest = rest[os.write(file, rest) :]


def _change(target: str | int, attributes: Attributes) -> None:
    size, owner, permissions, times = attributes
    if size is not None:
        os.truncate(target, size)
    if owner is not None:
        os.chown(target, *owner)
    if permissions is not None:
        os.chmod(target, permissions & 0o7777)
    if times is not None:
        os.utime(target, times)


def _listed(path: str, shown: str) -> list[Listed]:
    found: list[Listed] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if len(found) >= MAX_ENTRIES:
                raise FileTrouble(f"{shown}: more than {MAX_ENTRIES} names are in it")
            try:
                found.append(Listed(entry.name, attributes_of(entry.stat(follow_symlinks=False))))
            except FileNotFoundError:
                continue  # it went away between the two looks
    found.sort(key=lambda listed: listed.name)
    return found
