"""
Acts on files that take more than one system call, or a translation.

What :mod:`mezite.agent.sftpfiles` does once it knows what was asked; nothing
here knows of requests.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from mezite.ssh.sftpfields import Attributes, u64
from mezite.ssh.sftpwire import OpenFlag

_U32_LIMIT: Final = 0xFFFFFFFF


def open_flags(flags: int) -> int:
    # O_NONBLOCK: to open a pipe that nobody writes must not hang the session.
    opened = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    if flags & OpenFlag.WRITE:
        opened |= os.O_RDWR if flags & OpenFlag.READ else os.O_WRONLY
    for flag, bit in (
        (OpenFlag.APPEND, os.O_APPEND),
        (OpenFlag.CREATE, os.O_CREAT),
        (OpenFlag.TRUNCATE, os.O_TRUNC),
        (OpenFlag.EXCLUSIVE, os.O_EXCL),
    ):
        if flags & flag:
            opened |= bit
    return opened


def attributes_of(found: os.stat_result) -> Attributes:
    return Attributes(
        found.st_size,
        (found.st_uid, found.st_gid),
        found.st_mode,
        (_in_u32(found.st_atime), _in_u32(found.st_mtime)),
    )


def _in_u32(seconds: float) -> int:
    return max(0, min(_U32_LIMIT, int(seconds)))


def change(target: bytes | int, attributes: Attributes) -> None:
    """Every change is tried, then the first failure is raised."""
    steps: list[Callable[[], object]] = []
    size, owner, permissions, times = attributes
    if size is not None:
        steps.append(lambda: os.truncate(target, size))
    # Before the permissions, because chown takes away setuid and setgid bits.
    if owner is not None:
        steps.append(lambda: os.chown(target, *owner))
    if permissions is not None:
        steps.append(lambda: os.chmod(target, permissions & 0o7777))
    if times is not None:
        steps.append(lambda: os.utime(target, times))
    _try_all(steps)


def change_link(path: bytes, attributes: Attributes) -> None:
    size, owner, permissions, times = attributes
    if size is not None:
        raise OSError(errno.EINVAL, "")
    steps: list[Callable[[], object]] = []
    if owner is not None:
        steps.append(lambda: os.lchown(path, *owner))
    # Linux keeps no permissions of a symbolic link; clients copying a tree ask anyway.
    if permissions is not None and not stat.S_ISLNK(os.lstat(path).st_mode):
        steps.append(lambda: os.chmod(path, permissions & 0o7777))
    if times is not None:
        steps.append(lambda: os.utime(path, times, follow_symlinks=False))
    _try_all(steps)


def _try_all(steps: list[Callable[[], object]]) -> None:
    first: OSError | None = None
    for step in steps:
        try:
            step()
        except OSError as error:
            first = first or error
    if first is not None:
        raise first


def rename_without_replacing(old: bytes, new: bytes) -> None:
    """Version 3 forbids to replace; for plain files a hard link makes that certain."""
    if stat.S_ISREG(os.lstat(old).st_mode):
        try:
            os.link(old, new)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EXDEV):
                raise
            # A file system without hard links, or another one: look, then rename.
        else:
            os.unlink(old)
            return
    if os.path.lexists(new):
        raise OSError(errno.EEXIST, "")
    os.rename(old, new)


def canonical(path: bytes) -> bytes:
    """The absolute path without links; only its last part may be missing."""
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:
        parent, name = os.path.split(path.rstrip(b"/"))
        if name in (b"", b".", b".."):
            raise
        return os.path.join(os.path.realpath(parent or b".", strict=True), name)


def filesystem(found: os.statvfs_result) -> bytes:
    read_only_and_nosuid = found.f_flag & 0x3
    numbers = (
        found.f_bsize, found.f_frsize, found.f_blocks, found.f_bfree, found.f_bavail,
        found.f_files, found.f_ffree, found.f_favail, found.f_fsid & 0xFFFFFFFFFFFFFFFF,
        read_only_and_nosuid, found.f_namemax,
    )  # fmt: skip
    return b"".join(map(u64, numbers))
