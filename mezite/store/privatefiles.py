"""
Files that only the hub's own account may read, and that survive a crash.

A file written here is the old one or the new one at every moment, whatever
stops the process or the machine. What the files hold is for
:mod:`mezite.store.keyfiles` and :mod:`mezite.store.opening`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from mezite.store.error import DataUnusable

_log = Logger()

# Keys and certificates have a few hundred bytes; anything larger is another file.
FILE_SIZE: Final = 65_536
_OTHERS: Final = 0o077
# By this name a directory is known as a hub's own; see :mod:`mezite.store.lockfile`.
OWN_FILE: Final = "mezhub.lock"


def make_private_directory(path: Path, *, is_ours: bool = False) -> None:
    """
    Make sure that this directory exists, and that nobody else may look inside.

    A looser one is tightened when it is empty, a hub has used it before, or the
    caller knows that it ``is_ours``. Any other is refused: ``--data-dir /var/lib``
    must not lock up ``/var/lib``.

    :raises DataUnusable:
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & _OTHERS:
            return
        if not (is_ours or (path / OWN_FILE).exists()) and any(path.iterdir()):
            raise DataUnusable(
                f"{path} is open to other accounts and holds files that are not a hub's: give"
                f" the hub a directory of its own, or, if this one is, run: chmod 700 {path}"
            )
        path.chmod(0o700)
    except FileExistsError:
        raise DataUnusable(f"{path} is not a directory") from None
    except (OSError, ValueError) as error:
        raise DataUnusable(f"{path} cannot be used for data: {_reason(error)}") from None
    _log.info("{path} had mode {mode}; it is 0700 now", path=str(path), mode=f"{mode:04o}")


def write_private(path: Path, data: bytes) -> None:
    """
    Put this file in the place of any other, with mode 0600 whatever the umask.

    When it returns, the file is on the disk. Only one process may write it.

    :raises DataUnusable: and the old file is as it was.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        # One that a crash left behind, or that somebody put there as a link.
        fresh.unlink(missing_ok=True)
        _write_new(fresh, data)
        fresh.replace(path)
        sync_directory(path.parent)
    except (OSError, ValueError) as error:
        fresh.unlink(missing_ok=True)
        raise DataUnusable(f"{path} cannot be written: {_reason(error)}") from None


def read_private(path: Path) -> bytes:
    """
    The contents of a file that is to have mode 0600.

    A looser mode is tightened, with a warning: who could read it has read it,
    and refusing to start would protect nothing more.

    :raises DataUnusable: it cannot be read, or its mode cannot be tightened.
    """
    try:
        # Without O_NONBLOCK the open of a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DataUnusable(f"{path} is not a regular file")
            _tighten(descriptor, path, stat.S_IMODE(status.st_mode))
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(FILE_SIZE + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise DataUnusable(f"{path} cannot be read: {_reason(error)}") from None
    if len(data) > FILE_SIZE:
        raise DataUnusable(f"{path} is longer than {FILE_SIZE} bytes")
    return data


def is_there(path: Path) -> bool:
    """
    Whether there is anything of this name.

    :raises DataUnusable: when that cannot be told.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise DataUnusable(f"{path} cannot be read: {_reason(error)}") from None
    return True


def sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk; without it, a rename may be lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_file(path: Path) -> None:
    """
    Make sure that this file exists with mode 0600; an empty one is made if none is there.

    :raises DataUnusable:
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            _tighten(descriptor, path, stat.S_IMODE(os.fstat(descriptor).st_mode))
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise DataUnusable(f"{path} cannot be opened: {_reason(error)}") from None


def _tighten(descriptor: int, path: Path, mode: int) -> None:
    if mode & _OTHERS:
        os.fchmod(descriptor, 0o600)
        _log.warn(
            "{path} had mode {mode}: other accounts may have read it; it is 0600 now",
            path=str(path),
            mode=f"{mode:04o}",
        )


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # a umask may have taken from the owner too
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
