"""
What SFTP requests and their answers come to, told operation by operation.

An :class:`SftpWatch` is shown each request with its answer, and reports what
changed something, was listed, or went through a handle, once that is closed.
Standard library only, because the SFTP server of a session imports it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, BadMessage, FieldReader
from mezite.ssh.sftpreports import report
from mezite.ssh.sftpwire import StatusCode


class _Flow:
    """What went through a handle in one direction."""

    def __init__(self) -> None:
        self.offset = 0
        self.bytes = 0
        # None once it was not one piece in order.
        self._digest: Any = hashlib.sha256()

    def add(self, offset: int, data: bytes) -> None:
        if not self.bytes:
            self.offset = offset
        if self._digest is not None:
            if offset == self.offset + self.bytes:
                self._digest.update(data)
            else:
                self._digest = None
        self.bytes += len(data)

    def facts(self) -> dict[str, str | int]:
        facts: dict[str, str | int] = {"offset": self.offset, "bytes": self.bytes}
        if self._digest is not None:
            facts["sha256"] = self._digest.hexdigest()
        return facts


class _Opened:
    """A file that a client has open, and what it was opened for."""

    def __init__(self, path: bytes, flags: int) -> None:
        self.path = path
        self.read = _Flow() if flags & wire.OpenFlag.READ else None
        self.written = _Flow() if flags & wire.OpenFlag.WRITE else None


class SftpWatch:
    """
    :param tell: takes the line of each report, and may block until it is taken.
    """

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell
        self._opened: dict[bytes, _Opened] = {}

    def __len__(self) -> int:
        """How many handles are open."""
        return len(self._opened)

    def saw(self, request: wire.Request, reply: wire.Reply) -> None:
        """This was asked, and this was answered."""
        watch = _WATCHED.get(type(request))
        if watch is not None:
            watch(self, request, reply)

    def close(self) -> None:
        """Also what the client left open is told of."""
        for handle in list(self._opened):
            self._told(handle)

    def _report(
        self, operation: str, paths: dict[str, bytes], reply: wire.Reply, **facts: str | int
    ) -> None:
        if isinstance(reply, wire.Status) and reply.code != StatusCode.OK:
            facts["error"] = reply.message.decode("utf-8", "replace")
        self._tell(report(operation, paths, facts))

    def _told(self, handle: bytes) -> None:
        opened = self._opened.pop(handle, None)
        if opened is None:
            return
        for operation, flow in (("read", opened.read), ("write", opened.written)):
            if flow is not None:
                self._tell(report(operation, {"path": opened.path}, flow.facts()))

    # What is watched.

    def _open_of(self, request: wire.Open, reply: wire.Reply) -> None:
        if isinstance(reply, wire.Handle):
            self._opened[reply.handle] = _Opened(request.path, request.flags)
            return
        operation = "write" if request.flags & wire.OpenFlag.WRITE else "read"
        self._report(operation, {"path": request.path}, reply, bytes=0)

    def _close_of(self, request: wire.Close, _: wire.Reply) -> None:
        self._told(request.handle)

    def _read_of(self, request: wire.Read, reply: wire.Reply) -> None:
        opened = self._opened.get(request.handle)
        if opened is not None and opened.read is not None and isinstance(reply, wire.Data):
            opened.read.add(request.offset, reply.data)

    def _write_of(self, request: wire.Write, reply: wire.Reply) -> None:
        opened = self._opened.get(request.handle)
        is_done = isinstance(reply, wire.Status) and reply.code == StatusCode.OK
        if opened is not None and opened.written is not None and is_done:
            opened.written.add(request.offset, request.data)

    def _opendir_of(self, request: wire.Opendir, reply: wire.Reply) -> None:
        self._report("list", {"path": request.path}, reply)

    def _remove_of(self, request: wire.Remove, reply: wire.Reply) -> None:
        self._report("remove", {"path": request.path}, reply)

    def _mkdir_of(self, request: wire.Mkdir, reply: wire.Reply) -> None:
        self._report("mkdir", {"path": request.path}, reply)

    def _rmdir_of(self, request: wire.Rmdir, reply: wire.Reply) -> None:
        self._report("rmdir", {"path": request.path}, reply)

    def _rename_of(self, request: wire.Rename, reply: wire.Reply) -> None:
        self._report("rename", {"path": request.old, "to": request.new}, reply)

    def _symlink_of(self, request: wire.Symlink, reply: wire.Reply) -> None:
        self._report("symlink", {"path": request.link, "to": request.target}, reply)

    def _setstat_of(self, request: wire.Setstat, reply: wire.Reply) -> None:
        self._report("attributes", {"path": request.path}, reply, **_changes(request.attributes))

    def _fsetstat_of(self, request: wire.Fsetstat, reply: wire.Reply) -> None:
        opened = self._opened.get(request.handle)
        path = b"" if opened is None else opened.path
        self._report("attributes", {"path": path}, reply, **_changes(request.attributes))

    def _extended_of(self, request: wire.Extended, reply: wire.Reply) -> None:
        operation = _EXTENSIONS.get(request.extension)
        if operation is None:
            return
        try:
            fields = FieldReader(request.body)
            path = fields.string()
            if operation == "attributes":
                changes = _changes(fields.attributes())
                self._report(operation, {"path": path}, reply, **changes)
            elif operation == "link":
                # What is made comes second there, and first in what is told.
                self._report(operation, {"path": fields.string(), "to": path}, reply)
            else:
                self._report(operation, {"path": path, "to": fields.string()}, reply)
        except BadMessage:
            pass  # it was refused, too


def _changes(attributes: Attributes) -> dict[str, str | int]:
    changes: dict[str, str | int] = {}
    if attributes.size is not None:
        changes["size"] = attributes.size
    if attributes.owner is not None:
        changes["owner"], changes["group"] = attributes.owner
    if attributes.permissions is not None:
        changes["mode"] = f"{attributes.permissions & 0o7777:04o}"
    return changes


_WATCHED: Final[dict[type[Any], Callable[[SftpWatch, Any, wire.Reply], None]]] = {
    wire.Open: SftpWatch._open_of,
    wire.Close: SftpWatch._close_of,
    wire.Read: SftpWatch._read_of,
    wire.Write: SftpWatch._write_of,
    wire.Opendir: SftpWatch._opendir_of,
    wire.Remove: SftpWatch._remove_of,
    wire.Mkdir: SftpWatch._mkdir_of,
    wire.Rmdir: SftpWatch._rmdir_of,
    wire.Rename: SftpWatch._rename_of,
    wire.Symlink: SftpWatch._symlink_of,
    wire.Setstat: SftpWatch._setstat_of,
    wire.Fsetstat: SftpWatch._fsetstat_of,
    wire.Extended: SftpWatch._extended_of,
}
_EXTENSIONS: Final[dict[bytes, str]] = {
    b"posix-rename@openssh.com": "rename",
    b"hardlink@openssh.com": "link",
    b"lsetstat@openssh.com": "attributes",
}
