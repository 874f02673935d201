"""
How a process of root's turns into a login for good, before it serves anybody.

Standard library only: the programs that use it start once per transfer or
connection.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from typing import Final

from mezite.error import Denied

# prctl(2)
_PR_SET_NO_NEW_PRIVS: Final = 38


class CannotBecome(Denied):
    """This process is not, and cannot turn into, the person asked for."""


def become(name: str) -> None:
    """
    Turn into this login with all its groups, irrevocably.

    :raises CannotBecome: and nothing may be served then.
    """
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise CannotBecome(f"there is no account {name!r} on this machine") from None
    if os.getuid() != account.pw_uid:
        if os.getuid() != 0:
            raise CannotBecome(f"only root can become {name!r}")
        os.initgroups(account.pw_name, account.pw_gid)
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        os.umask(0o022)
    if set(os.getresuid()) != {account.pw_uid} or _can_return(account.pw_uid):
        raise CannotBecome(f"could not become {name!r} for good")
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        os.chdir(account.pw_dir)
    except OSError:
        os.chdir("/")


def _can_return(uid: int) -> bool:
    if uid == 0:
        return False
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True
