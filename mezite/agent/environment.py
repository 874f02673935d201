"""
The environment of a session's first process, made from nothing.

Nothing of the agent's own environment gets in. What the client sends gets in
only under a name that the node's configuration accepts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Final

from attrs import define, field

from mezite.agent.accounts import Account
from mezite.error import BadInput
from mezite.names import HostPort

# What login.defs(5) gives on Debian.
_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
_ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# OpenSSH's client sends a handful; sshd stops at 128 as well.
VARIABLES: Final = 128
# execve(2) takes 128 KiB for one string; no locale needs more than this.
VARIABLE_LENGTH: Final = 4096
# What a server's address is, for one that listens on nothing.
_SERVER: Final = "127.0.0.1 22"


@define
class AcceptedVariables:
    """The variables that a client has sent and that are accepted."""

    patterns: Collection[str]
    values: dict[str, str] = field(init=False, factory=dict)

    def offer(self, name: bytes, value: bytes) -> bool:
        """Whether the variable was taken."""
        if len(name) + len(value) > VARIABLE_LENGTH or len(self.values) >= VARIABLES:
            return False
        if not name or b"\0" in name + value or b"=" in name:
            return False
        text = name.decode("utf-8", "surrogateescape")
        if not any(fnmatchcase(text, pattern) for pattern in self.patterns):
            return False
        self.values[text] = value.decode("utf-8", "surrogateescape")
        return True


def environment(
    account: Account,
    accepted: Mapping[str, str],
    *,
    client_address: str,
    terminal: str | None = None,
    tty: str | None = None,
    original_command: str | None = None,
) -> dict[str, str]:
    """
    :param client_address: as in a stream's header; empty if the hub told none.
    :param terminal: the value for TERM.
    :param tty: the path of the session's terminal.
    """
    made = {
        **accepted,
        "HOME": account.home,
        "USER": str(account.login),
        "LOGNAME": str(account.login),
        "SHELL": account.shell,
        "PATH": _ROOT_PATH if account.uid == 0 else _PATH,
        "MAIL": f"/var/mail/{account.login}",
    }
    client = _client(client_address)
    made["SSH_CLIENT"] = f"{client} {_SERVER.split()[1]}"
    made["SSH_CONNECTION"] = f"{client} {_SERVER}"
    if terminal is not None:
        made["TERM"] = terminal
    if tty is not None:
        made["SSH_TTY"] = tty
    if original_command is not None:
        made["SSH_ORIGINAL_COMMAND"] = original_command
    return made


def _client(address: str) -> str:
    try:
        parsed = HostPort.parse(address, default_port=0)
    except BadInput:
        return "0.0.0.0 0"
    return f"{parsed.host} {parsed.port}"
