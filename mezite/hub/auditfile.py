"""
The copy of the audit in a file: JSON lines, rotated by size.

The file itself says how far it has come: its last line is read before it is
written, and a line that was not finished is cut off. Everything here blocks,
and is called in a thread, one call at a time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field
from twisted.logger import Logger
from zope.interface import implementer

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import LINE_LENGTH, CopyPoint, copy_or_note, point_of
from mezite.audit.error import BadAuditLine
from mezite.hub.auditcopying import ICopyTarget
from mezite.hub.error import CopyUnusable

# Whoever collects logs reads it with the group that the directory gives it.
_MODE: Final = 0o640
_BEGINNING: Final = b'{"hash":"'
_PLACES: Final = 1000


@implementer(ICopyTarget)
@define(eq=False)
class AuditFile:
    """The file at ``path``; of those that were full ``keep`` are kept, the newest as ``.1``."""

    path: Path
    max_size: int
    keep: int
    name: str = "file"
    # As it was left; None before it was looked at.
    _size: int | None = field(init=False, default=None)

    _log = Logger()

    @property
    def where(self) -> str:
        return str(self.path)

    def last(self) -> CopyPoint | None:
        self._size = None
        for path in (self.path, self._rotated(1)):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                point, size = _repair(path, descriptor)
            finally:
                os.close(descriptor)
            if path == self.path:
                self._size = size
            if point is not None:
                return point
        return None

    def write(self, lines: Sequence[ChainedLine]) -> None:
        for data in self._portions(lines):
            if self._size and self._size + len(data) > self.max_size:
                self._rotate()
            self._append(data)

    def put_aside(self) -> None:
        for number in range(1, _PLACES):
            aside = Path(f"{self.path}.aside-{number}")
            if not os.path.lexists(aside):
                break
        for number in range(self.keep, 0, -1):
            rotated = self._rotated(number)
            if rotated.exists():
                rotated.replace(f"{aside}.{number}")
        if self.path.exists():
            self.path.replace(aside)
        self._size = None
        self._log.warn("{path} was put aside as {aside}", path=self.where, aside=str(aside))

    def close(self) -> None:
        """Nothing is held open between two calls."""

    def _portions(self, lines: Sequence[ChainedLine]) -> Iterator[bytes]:
        """The lines as bytes, none of them more than fits into a file, if it is several lines."""
        portion = b""
        for each in lines:
            line = copy_or_note(each).encode() + b"\n"
            room = self.max_size - (self._size or 0)
            if portion and len(portion) + len(line) > room:
                yield portion
                portion = b""
            portion += line
        yield portion

    def _append(self, data: bytes) -> None:
        descriptor = self._open()
        try:
            size = os.fstat(descriptor).st_size
            if size != (self._size or 0):
                raise CopyUnusable(f"{self.path} was changed by somebody else")
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                # A full disk takes half a line; it is not left there.
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        self._size = size + len(data)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(self.path, flags)
        except FileNotFoundError:
            # It is the first, or somebody took it away to keep it elsewhere.
            self._size = None
            return os.open(self.path, flags | os.O_CREAT | os.O_EXCL, _MODE)

    def _rotate(self) -> None:
        # A hole is where a crash left off, or the end: what is older need not move.
        free = 1
        while free < self.keep and self._rotated(free).exists():
            free += 1
        for number in range(free, 1, -1):
            self._rotated(number - 1).replace(self._rotated(number))
        self.path.replace(self._rotated(1))
        self._size = None

    def _rotated(self, number: int) -> Path:
        return Path(f"{self.path}.{number}")


def _repair(path: Path, descriptor: int) -> tuple[CopyPoint | None, int]:
    """
    What the last whole line says, and the size without what follows it.

    :raises CopyUnusable: it is no copy of an audit, and stays as it is.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise CopyUnusable(f"{path} is not a file")
    start = max(0, status.st_size - 2 * LINE_LENGTH)
    tail = os.pread(descriptor, status.st_size - start, start)
    whole, _, rest = tail.rpartition(b"\n")
    # What a crash leaves behind is the beginning of a line, or a hole that was never filled.
    if rest.strip(b"\0") and not rest.startswith(_BEGINNING[: len(rest)]):
        raise CopyUnusable(f"{path} is not a copy of the audit: move it away")
    point = None
    if len(rest) < len(tail):
        try:
            point = point_of(whole.rpartition(b"\n")[2].decode())
        except (BadAuditLine, UnicodeDecodeError):
            raise CopyUnusable(f"{path} is not a copy of the audit: move it away") from None
    size = status.st_size - len(rest)
    if rest:
        os.ftruncate(descriptor, size)
    return point, size


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
