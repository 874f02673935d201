"""
One hub for one data directory.

The lock is the kernel's: it goes with the process, however that ends, so a
file that a crash left behind is no obstacle.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from attrs import define

from mezite.store.error import DataUnusable
from mezite.store.privatefiles import OWN_FILE, make_private_directory, make_private_file


@define(eq=False)
class DirectoryLock:
    """A data directory that is ours until :meth:`release`, or the end of the process."""

    path: Path
    _descriptor: int | None

    def release(self) -> None:
        """Let others have it. The file stays: removing it would let two hold two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def hold(directory: Path) -> DirectoryLock:
    """
    Make this directory ours; it is made private, and made at all, if need be.

    :raises DataUnusable: another process holds it, or it cannot be used.
    """
    make_private_directory(directory)
    path = directory / OWN_FILE
    make_private_file(path)
    descriptor = -1
    try:
        # O_CLOEXEC: a child that outlives us must not keep the lock.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        process = f" (process {holder})" if holder.isdigit() else ""
        raise DataUnusable(
            f"another hub{process} is using {directory}; stop it, or give this one another"
            " --data-dir"
        ) from None
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise DataUnusable(f"{path} cannot be locked: {error.strerror}") from None
    return DirectoryLock(path, descriptor)
