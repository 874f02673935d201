"""
The files of one machine, as a copy sees them: here, or on a node.

Paths are ``str``; bytes that are no UTF-8 are kept by ``surrogateescape``. Every
trouble with one file is a :class:`FileTrouble`, whose sentence names the file;
anything else that is raised ends the whole copy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from mezite.error import AlreadyExists, Denied, MeziteError, NotFound
from mezite.ssh.sftpfields import Attributes

# A directory with more names would have to be kept in memory; at 255 bytes each
# they are 25 MB on the wire.
MAX_ENTRIES: Final = 100_000


class FileTrouble(MeziteError):
    """Something did not work with one file, and may with the next."""


class FileMissing(FileTrouble, NotFound):
    """There is no such file."""


class FileDenied(FileTrouble, Denied):
    """The file may not be touched like that."""


class FileThere(FileTrouble, AlreadyExists):
    """There is a file of this name already."""


@frozen
class Listed:
    """A name in a directory, and what is known of it without following links."""

    name: str
    attributes: Attributes


class IReading(Interface):
    """A file that is open for reading."""

    most = Attribute("The longest part that one read gives.")

    def read(offset: int, length: int) -> Deferred[bytes]:
        """Fires with at most so many bytes, and with none at the end of the file."""

    def close() -> Deferred[None]:
        """To be called once, and not before the reads have fired."""


class IWriting(Interface):
    """A file that is open for writing."""

    most = Attribute("The longest part that one write takes.")

    def write(offset: int, data: bytes) -> Deferred[None]:
        """Writes happen in the order of the calls."""

    def change(attributes: Attributes) -> Deferred[None]:
        """After what was written, set these."""

    def close() -> Deferred[None]:
        """To be called once."""


class IFileSide(Interface):
    """The files of one machine; every method raises :class:`FileTrouble`."""

    def shown(path: str) -> str:
        """The path as a person reads it, with the node's name if it is on one."""

    async def look(path: str, *, follow: bool = True) -> Attributes:
        """What is at this path; the type is in its permissions."""

    async def names(path: str) -> Sequence[Listed]:
        """What is in a directory, without ``.`` and ``..``, ordered by name."""

    async def identity(path: str) -> object:
        """Equal for two paths of this side if they lead to the same file."""

    async def make_directory(path: str, permissions: int) -> None:
        """:raises FileThere: or another trouble, if something is there."""

    async def change(path: str, attributes: Attributes) -> None:
        """Set these, and leave what is not said."""

    async def open_reading(path: str) -> IReading:
        """A file to be read."""

    async def open_writing(path: str, permissions: int, *, keep: bool) -> IWriting:
        """
        A file to be written, made with these permissions if it is not there.

        :param keep: whether to leave what is in it.
        """


def is_directory(attributes: Attributes) -> bool:
    return stat.S_ISDIR(attributes.permissions or 0)


def is_regular(attributes: Attributes) -> bool:
    return stat.S_ISREG(attributes.permissions or 0)


def is_link(attributes: Attributes) -> bool:
    return stat.S_ISLNK(attributes.permissions or 0)


def permission_bits(attributes: Attributes, otherwise: int) -> int:
    """Without setuid, setgid and sticky, as scp."""
    permissions = attributes.permissions
    return otherwise if permissions is None else permissions & 0o777


def is_safe_name(name: str) -> bool:
    """Whether a directory may truly have this name in it, so that nothing leads out of it."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def base_name(path: str) -> str:
    """The last name of a path; empty where a path ends in no name of its own."""
    name = os.path.basename(path.rstrip("/"))
    return "" if name in (".", "..") else name


def joined(directory: str, name: str) -> str:
    return os.path.join(directory, name) if name else directory


def readable(text: str) -> str:
    """Without characters that would move a cursor or cannot be written."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
