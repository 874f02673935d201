"""
What SFTP requests do to the files of this machine.

:class:`Files` answers one request at a time, as whoever the process runs as,
and owns the open handles. Bytes and framing are
:mod:`mezite.ssh.sftpwire`'s, becoming the right person
:mod:`mezite.agent.sftp`'s.

Names are bytes throughout, because file names are. Standard library only.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from mezite.agent.sftpacts import (
    attributes_of,
    canonical,
    change,
    change_link,
    filesystem,
    open_flags,
    rename_without_replacing,
)
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, BadMessage, Entry, FieldReader, u64
from mezite.ssh.sftpwire import StatusCode

# OpenSSH's clients open one or two at a time and graphical ones a few dozen.
MAX_HANDLES: Final = 1000
# Descriptors that are ours: the standard three, and room for a short-lived few.
_OWN_DESCRIPTORS: Final = 16
# At most 128 * (2 * 255 + some 100) bytes: well below MAX_PACKET.
READDIR_BATCH: Final = 128
_SIX_MONTHS: Final = 183 * 86400

EXTENSIONS: Final = (
    (b"posix-rename@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
    (b"expand-path@openssh.com", b"1"),
    (b"home-directory", b"1"),
)

_STATUS_OF_ERRNO: Final = {
    errno.ENOENT: StatusCode.NO_SUCH_FILE,
    errno.ENOTDIR: StatusCode.NO_SUCH_FILE,
    errno.ELOOP: StatusCode.NO_SUCH_FILE,
    errno.EPERM: StatusCode.PERMISSION_DENIED,
    errno.EACCES: StatusCode.PERMISSION_DENIED,
    errno.EROFS: StatusCode.PERMISSION_DENIED,
    errno.ENOSYS: StatusCode.OP_UNSUPPORTED,
    errno.EOPNOTSUPP: StatusCode.OP_UNSUPPORTED,
}


class _OpenDirectory:
    """A directory being read, in batches."""

    def __init__(self, path: bytes) -> None:
        self.scan = os.scandir(path)
        self._entries = self._all(path)

    def _all(self, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        for name in (b".", b".."):
            try:
                yield name, os.lstat(os.path.join(path, name))
            except OSError:
                continue
        for entry in self.scan:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except OSError:
                continue  # it went away between the two looks

    def next_batch(self) -> list[tuple[bytes, os.stat_result]]:
        batch = []
        for found in self._entries:
            batch.append(found)
            if len(batch) == READDIR_BATCH:
                break
        return batch


class Files:
    """The files of this machine, as requests and their replies."""

    def __init__(
        self, *, wall_clock: Callable[[], float] = time.time, descriptor_limit: int = 1024
    ) -> None:
        self.max_handles = max(1, min(MAX_HANDLES, descriptor_limit - _OWN_DESCRIPTORS))
        self._wall_clock = wall_clock
        self._open: dict[bytes, int | _OpenDirectory] = {}
        self._last_handle = 0
        self._user_names: dict[int, str] = {}
        self._group_names: dict[int, str] = {}

    def answer(self, request: wire.Request) -> wire.Reply:
        """Do it; every failure is a status."""
        try:
            reply: wire.Reply = _ANSWERS[type(request)](self, request)
        except OSError as error:
            return self._failed(request.request_id, error)
        except (OverflowError, ValueError):
            # An offset beyond 63 bits, or a NUL in a name.
            return self._failed(request.request_id, OSError(errno.EINVAL, ""))
        except BadMessage as error:
            return wire.Status(request.request_id, StatusCode.BAD_MESSAGE, str(error).encode())
        return reply

    def close(self) -> None:
        """Close what the client left open."""
        for handle in list(self._open):
            self._close(handle)

    # --- handles

    def _register(self, opened: int | _OpenDirectory) -> bytes:
        self._last_handle += 1
        handle = b"%d" % self._last_handle
        self._open[handle] = opened
        return handle

    def _room(self) -> None:
        if len(self._open) >= self.max_handles:
            raise OSError(errno.EMFILE, "")

    def _file(self, handle: bytes) -> int:
        opened = self._open.get(handle)
        if not isinstance(opened, int):
            raise OSError(errno.EBADF, "")
        return opened

    def _close(self, handle: bytes) -> None:
        opened = self._open.pop(handle, None)
        if opened is None:
            raise OSError(errno.EBADF, "")
        if isinstance(opened, _OpenDirectory):
            opened.scan.close()
        else:
            os.close(opened)

    # --- replies

    def _failed(self, request_id: int, error: OSError) -> wire.Status:
        code = _STATUS_OF_ERRNO.get(error.errno or 0, StatusCode.FAILURE)
        message = os.strerror(error.errno) if error.errno else "failed"
        return wire.Status(request_id, code, message.encode())

    def _ok(self, request_id: int) -> wire.Status:
        return wire.Status(request_id, StatusCode.OK, b"Success")

    def _one_name(self, request_id: int, name: bytes) -> wire.Name:
        return wire.Name(request_id, (Entry(name, name, Attributes()),))

    # --- open files

    def _on_open(self, request: wire.Open) -> wire.Reply:
        self._room()
        permissions = request.attributes.permissions
        mode = 0o666 if permissions is None else permissions & 0o7777
        handle = self._register(os.open(request.path, open_flags(request.flags), mode))
        return wire.Handle(request.request_id, handle)

    def _on_close(self, request: wire.Close) -> wire.Reply:
        self._close(request.handle)
        return self._ok(request.request_id)

    def _on_read(self, request: wire.Read) -> wire.Reply:
        wanted = min(request.length, wire.MAX_DATA)
        data = os.pread(self._file(request.handle), wanted, request.offset)
        if not data and wanted:
            return wire.Status(request.request_id, StatusCode.EOF, b"End of file")
        return wire.Data(request.request_id, data)

    def _on_write(self, request: wire.Write) -> wire.Reply:
        # On a file opened for appending Linux ignores the offset, as it should.
        descriptor = self._file(request.handle)
        offset = request.offset
        rest = memoryview(request.data)
        while rest:
            written = os.pwrite(descriptor, rest, offset)
            offset += written
            rest = rest[written:]
        return self._ok(request.request_id)

    # --- attributes

    def _on_stat(self, request: wire.Stat) -> wire.Reply:
        return wire.Attrs(request.request_id, attributes_of(os.stat(request.path)))

    def _on_lstat(self, request: wire.Lstat) -> wire.Reply:
        return wire.Attrs(request.request_id, attributes_of(os.lstat(request.path)))

    def _on_fstat(self, request: wire.Fstat) -> wire.Reply:
        found = os.fstat(self._file(request.handle))
        return wire.Attrs(request.request_id, attributes_of(found))

    def _on_setstat(self, request: wire.Setstat) -> wire.Reply:
        change(request.path, request.attributes)
        return self._ok(request.request_id)

    def _on_fsetstat(self, request: wire.Fsetstat) -> wire.Reply:
        change(self._file(request.handle), request.attributes)
        return self._ok(request.request_id)

    # --- directories

    def _on_opendir(self, request: wire.Opendir) -> wire.Reply:
        self._room()
        handle = self._register(_OpenDirectory(request.path))
        return wire.Handle(request.request_id, handle)

    def _on_readdir(self, request: wire.Readdir) -> wire.Reply:
        opened = self._open.get(request.handle)
        if not isinstance(opened, _OpenDirectory):
            raise OSError(errno.EBADF, "")
        batch = opened.next_batch()
        if not batch:
            return wire.Status(request.request_id, StatusCode.EOF, b"End of file")
        return wire.Name(
            request.request_id,
            tuple(
                Entry(name, self.long_name(name, found), attributes_of(found))
                for name, found in batch
            ),
        )

    def long_name(self, name: bytes, found: os.stat_result) -> bytes:
        """The line that ``ls -l`` prints for this file."""
        age = self._wall_clock() - found.st_mtime
        recent = -3600 < age < _SIX_MONTHS
        when = time.strftime(
            "%b %e %H:%M" if recent else "%b %e  %Y", time.localtime(found.st_mtime)
        )
        line = (
            f"{stat.filemode(found.st_mode)} {found.st_nlink:>4} "
            f"{self._user_name(found.st_uid):<8} {self._group_name(found.st_gid):<8} "
            f"{found.st_size:>12} {when} "
        )
        return line.encode("utf-8", "surrogateescape") + name

    def _user_name(self, uid: int) -> str:
        if uid not in self._user_names:
            try:
                self._user_names[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._user_names[uid] = str(uid)
        return self._user_names[uid]

    def _group_name(self, gid: int) -> str:
        if gid not in self._group_names:
            try:
                self._group_names[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                self._group_names[gid] = str(gid)
        return self._group_names[gid]

    # --- names

    def _on_remove(self, request: wire.Remove) -> wire.Reply:
        os.unlink(request.path)
        return self._ok(request.request_id)

    def _on_mkdir(self, request: wire.Mkdir) -> wire.Reply:
        permissions = request.attributes.permissions
        os.mkdir(request.path, 0o777 if permissions is None else permissions & 0o7777)
        return self._ok(request.request_id)

    def _on_rmdir(self, request: wire.Rmdir) -> wire.Reply:
        os.rmdir(request.path)
        return self._ok(request.request_id)

    def _on_realpath(self, request: wire.Realpath) -> wire.Reply:
        return self._one_name(request.request_id, canonical(request.path or b"."))

    def _on_rename(self, request: wire.Rename) -> wire.Reply:
        rename_without_replacing(request.old, request.new)
        return self._ok(request.request_id)

    def _on_readlink(self, request: wire.Readlink) -> wire.Reply:
        return self._one_name(request.request_id, os.readlink(request.path))

    def _on_symlink(self, request: wire.Symlink) -> wire.Reply:
        os.symlink(request.target, request.link)
        return self._ok(request.request_id)

    # --- extensions

    def _on_extended(self, request: wire.Extended) -> wire.Reply:
        answer = _EXTENSION_ANSWERS.get(request.extension)
        if answer is None:
            return wire.Status(
                request.request_id, StatusCode.OP_UNSUPPORTED, b"Operation unsupported"
            )
        fields = FieldReader(request.body)
        return answer(self, request.request_id, fields)

    def _posix_rename(self, request_id: int, fields: FieldReader) -> wire.Reply:
        old, new = fields.string(), fields.string()
        fields.end()
        os.rename(old, new)
        return self._ok(request_id)

    def _hardlink(self, request_id: int, fields: FieldReader) -> wire.Reply:
        old, new = fields.string(), fields.string()
        fields.end()
        os.link(old, new)
        return self._ok(request_id)

    def _statvfs(self, request_id: int, fields: FieldReader) -> wire.Reply:
        path = fields.string()
        fields.end()
        return wire.ExtendedReply(request_id, filesystem(os.statvfs(path)))

    def _fstatvfs(self, request_id: int, fields: FieldReader) -> wire.Reply:
        handle = fields.string()
        fields.end()
        return wire.ExtendedReply(request_id, filesystem(os.fstatvfs(self._file(handle))))

    def _fsync(self, request_id: int, fields: FieldReader) -> wire.Reply:
        handle = fields.string()
        fields.end()
        os.fsync(self._file(handle))
        return self._ok(request_id)

    def _lsetstat(self, request_id: int, fields: FieldReader) -> wire.Reply:
        path, attributes = fields.string(), fields.attributes()
        fields.end()
        change_link(path, attributes)
        return self._ok(request_id)

    def _limits(self, request_id: int, fields: FieldReader) -> wire.Reply:
        fields.end()
        limits = (wire.MAX_PACKET, wire.MAX_DATA, wire.MAX_DATA, self.max_handles)
        return wire.ExtendedReply(request_id, b"".join(map(u64, limits)))

    def _expand_path(self, request_id: int, fields: FieldReader) -> wire.Reply:
        path = fields.string()
        fields.end()
        expanded = os.path.expanduser(path or b".")
        if expanded.startswith(b"~"):
            raise OSError(errno.ENOENT, "")
        return self._one_name(request_id, canonical(expanded))

    def _home_directory(self, request_id: int, fields: FieldReader) -> wire.Reply:
        name = fields.string()
        fields.end()
        try:
            account = pwd.getpwnam(os.fsdecode(name)) if name else pwd.getpwuid(os.getuid())
        except KeyError:
            raise OSError(errno.ENOENT, "") from None
        return self._one_name(request_id, os.fsencode(account.pw_dir))


_ANSWERS: Final[dict[type[Any], Callable[[Files, Any], wire.Reply]]] = {
    wire.Open: Files._on_open,
    wire.Close: Files._on_close,
    wire.Read: Files._on_read,
    wire.Write: Files._on_write,
    wire.Lstat: Files._on_lstat,
    wire.Fstat: Files._on_fstat,
    wire.Setstat: Files._on_setstat,
    wire.Fsetstat: Files._on_fsetstat,
    wire.Opendir: Files._on_opendir,
    wire.Readdir: Files._on_readdir,
    wire.Remove: Files._on_remove,
    wire.Mkdir: Files._on_mkdir,
    wire.Rmdir: Files._on_rmdir,
    wire.Realpath: Files._on_realpath,
    wire.Stat: Files._on_stat,
    wire.Rename: Files._on_rename,
    wire.Readlink: Files._on_readlink,
    wire.Symlink: Files._on_symlink,
    wire.Extended: Files._on_extended,
}

_EXTENSION_ANSWERS: Final[dict[bytes, Callable[[Files, int, FieldReader], wire.Reply]]] = {
    b"posix-rename@openssh.com": Files._posix_rename,
    b"statvfs@openssh.com": Files._statvfs,
    b"fstatvfs@openssh.com": Files._fstatvfs,
    b"hardlink@openssh.com": Files._hardlink,
    b"fsync@openssh.com": Files._fsync,
    b"lsetstat@openssh.com": Files._lsetstat,
    b"limits@openssh.com": Files._limits,
    b"expand-path@openssh.com": Files._expand_path,
    b"home-directory": Files._home_directory,
}
