"""
The accounts of this machine, and who may not use theirs.

:class:`SystemAccounts` reads the user database in a thread, since a directory
service may be slow to answer.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from mezite.error import Denied
from mezite.names import LoginName

_NO_LOGIN_SHELLS: Final = frozenset({"nologin", "false", "sync", "halt", "shutdown"})
# pam_nologin(8): while it is there, only root comes in.
CLOSED: Final = Path("/etc/nologin")
SHADOW: Final = Path("/etc/shadow")
_DAY: Final = 86400


class AccountRefused(Denied):
    """There is no such account on this machine, or it cannot be used now."""


@frozen
class Account:
    """An account, as a process needs it."""

    login: LoginName
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


class IAccounts(Interface):
    """The accounts that a session may run as."""

    def find(login: LoginName) -> Deferred[Account]:
        """Fails with :class:`AccountRefused` and a sentence for the person."""


@implementer(IAccounts)
@frozen
class SystemAccounts:
    """
    The accounts in the user database.

    :param run_in_thread: as ``deferToThread``.
    :param own_uid: whom this process runs as; unless that is root, it can
        serve no other account.
    """

    run_in_thread: Callable[..., Deferred[Any]]
    wall_clock: Callable[[], float]
    own_uid: int

    def find(self, login: LoginName) -> Deferred[Account]:
        return self.run_in_thread(look_up, login, self.own_uid, self.wall_clock())


def look_up(
    login: LoginName, own_uid: int, now: float, *, closed: Path = CLOSED, shadow: Path = SHADOW
) -> Account:
    """
    The account of this name.

    :raises AccountRefused: if there is none, or it may not be used.
    """
    try:
        entry = pwd.getpwnam(str(login))
    except KeyError:
        raise AccountRefused(f"there is no account {login} on this node") from None
    if own_uid not in (0, entry.pw_uid):
        raise AccountRefused(
            f"the agent on this node runs as {_name_of(own_uid)} and can serve only that"
            f" account, not {login}: run it as root to serve every account"
        )
    shell = entry.pw_shell or "/bin/sh"
    if os.path.basename(shell) in _NO_LOGIN_SHELLS:
        raise AccountRefused(f"the account {login} on this node does not allow logins")
    if not os.access(shell, os.X_OK):
        raise AccountRefused(f"the shell of account {login} on this node cannot be run")
    if own_uid == 0 and entry.pw_uid != 0:
        if closed.exists():
            raise AccountRefused("this node is closed for logins now")
        if _is_expired(entry.pw_name, now, shadow):
            raise AccountRefused(f"the account {login} on this node has expired")
    return Account(
        login=login,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
        home=entry.pw_dir or "/",
        shell=shell,
    )


def tty_group() -> int | None:
    """The group that may write to terminals, where there is one."""
    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _is_expired(name: str, now: float, shadow: Path) -> bool:
    """Whether shadow(5) says, in its eighth field, that the account has ended."""
    try:
        with shadow.open("rb") as lines:
            for line in lines:
                fields = line.rstrip(b"\n").split(b":")
                if fields[0] == name.encode() and len(fields) > 7 and fields[7]:
                    return int(fields[7]) * _DAY <= now
    except (OSError, ValueError):
        return False
    return False
