"""
The files of a node, by SFTP.

:class:`RemoteFiles` asks the requests that a copy or a person's command needs
and makes sentences of what goes wrong. A path that begins with ``~`` is left to
the node to expand, where it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.client.copysides import (
    MAX_ENTRIES,
    FileDenied,
    FileMissing,
    FileTrouble,
    IFileSide,
    IReading,
    IWriting,
    Listed,
    is_safe_name,
    readable,
)
from mezite.client.sftpchannel import ISftp
from mezite.client.sftpconversation import AnswerRefused
from mezite.error import MeziteError
from mezite.ssh import sftpfields as fields
from mezite.ssh import sftpwire as wire
from mezite.ssh.fields import printable
from mezite.ssh.sftpfields import Attributes, BadMessage, Entry, FieldReader, string
from mezite.ssh.sftpwire import OpenFlag, StatusCode

T = TypeVar("T")

# What any server takes and gives (section 6.4 of the draft), where it says no more.
LEAST_DATA: Final = 32 * 1024
MOST_DATA: Final = wire.MAX_DATA
# A packet is 256 KiB at most and a path 4096 bytes on Linux.
MAX_PATH: Final = 32 * 1024
_READDIRS_AT_ONCE: Final = 4

_POSIX_RENAME: Final = b"posix-rename@openssh.com"
_HARDLINK: Final = b"hardlink@openssh.com"
_STATVFS: Final = b"statvfs@openssh.com"
_LSETSTAT: Final = b"lsetstat@openssh.com"
_LIMITS: Final = b"limits@openssh.com"
_EXPAND: Final = b"expand-path@openssh.com"
_FILESYSTEM: Final = Struct(">11Q")

_KINDS: Final[dict[int, type[FileTrouble]]] = {
    StatusCode.NO_SUCH_FILE: FileMissing,
    StatusCode.PERMISSION_DENIED: FileDenied,
}
_SENTENCES: Final = {
    StatusCode.EOF: "unexpected end of file",
    StatusCode.NO_SUCH_FILE: "no such file or directory",
    StatusCode.PERMISSION_DENIED: "permission denied",
    StatusCode.OP_UNSUPPORTED: "the node cannot do that",
}


class NotSupported(FileTrouble):
    """The node's server has no such request."""


@frozen
class FileSystem:
    """How full the file system of a path is; blocks of ``unit`` bytes."""

    unit: int
    blocks: int
    free: int
    available: int
    files: int
    free_files: int


def encoded(path: str) -> bytes:
    """The bytes of a path."""
    return path.encode("utf-8", "surrogateescape")


def decoded(name: bytes) -> str:
    """The text of a name; whatever bytes it has, it can be encoded again."""
    return name.decode("utf-8", "surrogateescape")


@implementer(IFileSide)
class RemoteFiles:
    """:param node: the name that stands before paths in what a person reads."""

    def __init__(self, sftp: ISftp, node: str) -> None:
        self._sftp = sftp
        self._node = node
        self.read_most = self.write_most = LEAST_DATA

    async def learn_limits(self) -> None:
        """Ask how large requests may be; without an answer they stay small."""
        if _LIMITS not in self._sftp.extensions:
            return
        reply = await self._sftp.ask(wire.Extended(0, _LIMITS, b""))
        if not isinstance(reply, wire.ExtendedReply):
            return
        reader = FieldReader(reply.body)
        try:
            reader.u64()
            read, write = reader.u64(), reader.u64()
        except BadMessage as error:
            raise AnswerRefused(f"the node's limits cannot be read: {error}") from error
        self.read_most = min(read, MOST_DATA) if read else LEAST_DATA
        self.write_most = min(write, MOST_DATA) if write else LEAST_DATA

    def shown(self, path: str) -> str:
        return f"{self._node}:{readable(path)}"

    # Asking.

    async def _ask(self, path: str, request: wire.Request, kind: type[T]) -> T:
        self._check(path)
        return self.answered(path, await self._sftp.ask(request), kind)

    async def _do(self, path: str, request: wire.Request) -> None:
        self._check(path)
        self.done(path, await self._sftp.ask(request))

    def _check(self, path: str) -> None:
        if len(path) > MAX_PATH or "\0" in path:
            raise FileTrouble(f"{self.shown(path[:80])}: that is no path")

    def answered(self, path: str, reply: wire.Reply, kind: type[T]) -> T:
        """The reply, if it is of this kind; what it says went wrong, else."""
        if isinstance(reply, kind):
            return reply
        raise self.refusal(path, reply)

    def done(self, path: str, reply: wire.Reply) -> None:
        if not isinstance(reply, wire.Status) or reply.code != StatusCode.OK:
            raise self.refusal(path, reply)

    def refusal(self, path: str, reply: wire.Reply) -> MeziteError:
        """What to raise for a reply that is not what was asked for."""
        if not isinstance(reply, wire.Status):
            return AnswerRefused("the node answered something else than what was asked")
        if reply.code == StatusCode.OP_UNSUPPORTED:
            return NotSupported(f"{self.shown(path)}: {_SENTENCES[StatusCode.OP_UNSUPPORTED]}")
        said = printable(reply.message).strip()[:200].lower()
        # In the same words for every server where the code says it all.
        sentence = _SENTENCES.get(reply.code, said or "failure")  # type: ignore[call-overload]
        return _KINDS.get(reply.code, FileTrouble)(f"{self.shown(path)}: {sentence}")

    # What a copy needs.

    async def look(self, path: str, *, follow: bool = True) -> Attributes:
        request = wire.Stat(0, _at(path)) if follow else wire.Lstat(0, _at(path))
        return (await self._ask(path, request, wire.Attrs)).attributes

    async def names(self, path: str) -> Sequence[Listed]:
        found = []
        for entry in await self.entries(path):
            name = decoded(entry.name)
            if name in (".", ".."):
                continue
            if not is_safe_name(name):
                raise FileTrouble(
                    f"{self.shown(path)}: the node named a file {readable(name[:80])!r} in it,"
                    " which no file can be named"
                )
            found.append(Listed(name, entry.attributes))
        found.sort(key=lambda listed: listed.name)
        return found

    async def entries(self, path: str) -> list[Entry]:
        """All that the node says of a directory, as it says it."""
        opened = await self._ask(path, wire.Opendir(0, _at(path)), wire.Handle)
        found: list[Entry] = []
        try:
            while True:
                batch: list[tuple[bool, Any]] = await DeferredList(
                    [
                        self._sftp.ask(wire.Readdir(0, opened.handle))
                        for _ in range(_READDIRS_AT_ONCE)
                    ],
                    consumeErrors=True,
                )
                ended = False
                for is_answered, reply in batch:
                    if not is_answered:
                        reply.raiseException()
                    if isinstance(reply, wire.Name) and reply.entries:
                        found += reply.entries
                    elif isinstance(reply, wire.Status) and reply.code == StatusCode.EOF:
                        ended = True
                    else:
                        self.answered(path, reply, wire.Name)
                        ended = True  # names, but none of them
                if ended:
                    return found
                if len(found) > MAX_ENTRIES:
                    raise FileTrouble(
                        f"{self.shown(path)}: more than {MAX_ENTRIES} names are in it"
                    )
        finally:
            _forget(self._sftp.ask(wire.Close(0, opened.handle)))

    async def identity(self, path: str) -> object:
        return await self.real_path(path)

    async def make_directory(self, path: str, permissions: int) -> None:
        request = wire.Mkdir(0, _at(path), Attributes(permissions=permissions))
        await self._do(path, request)

    async def change(self, path: str, attributes: Attributes) -> None:
        await self._do(path, wire.Setstat(0, _at(path), attributes))

    async def open_reading(self, path: str) -> IReading:
        return await self._open(path, OpenFlag.READ, Attributes())

    async def open_writing(self, path: str, permissions: int, *, keep: bool) -> IWriting:
        flags = OpenFlag.WRITE | OpenFlag.CREATE
        if not keep:
            flags |= OpenFlag.TRUNCATE
        return await self._open(path, flags, Attributes(permissions=permissions))

    async def _open(self, path: str, flags: int, attributes: Attributes) -> RemoteFile:
        opened = await self._ask(path, wire.Open(0, _at(path), flags, attributes), wire.Handle)
        most = self.write_most if flags & OpenFlag.WRITE else self.read_most
        return RemoteFile(self, self._sftp, path, opened.handle, most)

    # What a person's commands need besides.

    async def real_path(self, path: str) -> str:
        """The absolute path, without links."""
        return await self._one_name(path, wire.Realpath(0, _at(path)))

    async def expanded(self, path: str) -> str:
        """The path with the home that a leading ``~`` or ``~login`` means."""
        if not path.startswith("~"):
            return path
        if _EXPAND in self._sftp.extensions:
            return await self._one_name(path, wire.Extended(0, _EXPAND, string(encoded(path))))
        if path == "~" or path.startswith("~/"):
            return path[2:].lstrip("/") or "."  # an SFTP session begins at home
        raise NotSupported(f"{self.shown(path)}: the node cannot expand that")

    async def _one_name(self, path: str, request: wire.Request) -> str:
        reply = await self._ask(path, request, wire.Name)
        if len(reply.entries) != 1:
            raise AnswerRefused(f"the node gave {len(reply.entries)} names instead of one")
        return decoded(reply.entries[0].name)

    async def read_link(self, path: str) -> str:
        return await self._one_name(path, wire.Readlink(0, _at(path)))

    async def remove(self, path: str) -> None:
        await self._do(path, wire.Remove(0, _at(path)))

    async def remove_directory(self, path: str) -> None:
        await self._do(path, wire.Rmdir(0, _at(path)))

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """What is at ``new`` is replaced, where the node can do that in one step."""
        self._check(new)
        if replace and _POSIX_RENAME in self._sftp.extensions:
            body = string(_at(old)) + string(_at(new))
            await self._do(old, wire.Extended(0, _POSIX_RENAME, body))
        else:
            await self._do(old, wire.Rename(0, _at(old), _at(new)))

    async def symbolic_link(self, target: str, link: str) -> None:
        self._check(target)
        await self._do(link, wire.Symlink(0, encoded(target), _at(link)))

    async def hard_link(self, old: str, new: str) -> None:
        self._check(new)
        if _HARDLINK not in self._sftp.extensions:
            raise NotSupported(f"{self.shown(new)}: the node cannot make hard links")
        body = string(_at(old)) + string(_at(new))
        await self._do(new, wire.Extended(0, _HARDLINK, body))

    async def change_link(self, path: str, attributes: Attributes) -> None:
        """As :meth:`change`, but of a link itself."""
        if _LSETSTAT not in self._sftp.extensions:
            raise NotSupported(f"{self.shown(path)}: the node cannot change links")
        body = string(_at(path)) + fields.attributes(attributes)
        await self._do(path, wire.Extended(0, _LSETSTAT, body))

    async def file_system(self, path: str) -> FileSystem:
        if _STATVFS not in self._sftp.extensions:
            raise NotSupported(f"{self.shown(path)}: the node cannot tell")
        request = wire.Extended(0, _STATVFS, string(_at(path)))
        reply = await self._ask(path, request, wire.ExtendedReply)
        if len(reply.body) != _FILESYSTEM.size:
            raise AnswerRefused("the node's file system cannot be read")
        numbers = _FILESYSTEM.unpack(reply.body)
        _, unit, blocks, free, available, files, free_files, *_ = numbers
        return FileSystem(unit, blocks, free, available, files, free_files)


def _at(path: str) -> bytes:
    return encoded(path or ".")


@implementer(IReading, IWriting)
class RemoteFile:
    """A file of a node."""

    def __init__(self, side: RemoteFiles, sftp: ISftp, path: str, handle: bytes, most: int) -> None:
        self.most = most
        self._side = side
        self._sftp = sftp
        self._path = path
        self._handle = handle

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        asked: Deferred[Any] = self._sftp.ask(wire.Read(0, self._handle, offset, length))
        return asked.addCallback(self._data)

    def _data(self, reply: wire.Reply) -> bytes:
        if isinstance(reply, wire.Status) and reply.code == StatusCode.EOF:
            return b""
        return self._side.answered(self._path, reply, wire.Data).data

    def write(self, offset: int, data: bytes) -> Deferred[None]:
        return self._told(wire.Write(0, self._handle, offset, data))

    def change(self, attributes: Attributes) -> Deferred[None]:
        return self._told(wire.Fsetstat(0, self._handle, attributes))

    def close(self) -> Deferred[None]:
        return self._told(wire.Close(0, self._handle))

    def _told(self, request: wire.Request) -> Deferred[None]:
        asked: Deferred[Any] = self._sftp.ask(request)
        return asked.addCallback(lambda reply: self._side.done(self._path, reply))


def _forget(asked: Deferred[Any]) -> None:
    """Nobody waits for this; should it fail, the session's end tells why."""
    asked.addErrback(lambda failure: _ignore(failure))


def _ignore(failure: Failure) -> None:
    del failure
