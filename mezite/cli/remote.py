"""
What ``msh ssh`` does with its options: the session that they ask for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import click
from attrs import frozen

from mezite.client.node import dial_node
from mezite.client.profile import Profile
from mezite.client.session import LocalFiles, Pty, SessionRequest, run_session
from mezite.client.terminal import DEFAULT_TERM
from mezite.error import BadInput
from mezite.names import AgentId, LoginName, NodeName

# As Debian's ssh: the language of the person, and nothing of their machine.
_SENT: Final = ("LANG", "LANGUAGE")
_SENT_PREFIX: Final = "LC_"
_SENT_LIMIT: Final = 32
# A variable and a command travel in one packet each, which is 256 KiB at most.
_VALUE_LIMIT: Final = 4096
_COMMAND_LIMIT: Final = 128 * 1024


@frozen
class SshOptions:
    """The command line of ``msh ssh``, less who and where."""

    command: tuple[str, ...] = ()
    with_terminal: int = 0
    without_terminal: bool = False


def request_of(
    options: SshOptions, environment: Mapping[str, str], *, terminal: int = 0
) -> SessionRequest:
    """The session that these options ask for; ``terminal`` is where a terminal would be."""
    command = command_of(options.command)
    is_wanted = (command is None or options.with_terminal) and not options.without_terminal
    is_terminal = os.isatty(terminal)
    if is_wanted and not is_terminal and options.with_terminal < 2:
        if options.with_terminal:
            click.echo("msh: there is no terminal here; -tt asks for one on the node", err=True)
        is_wanted = False
    pty = None
    if is_wanted:
        term = environment.get("TERM") or DEFAULT_TERM
        pty = Pty(term, terminal if is_terminal else None)
    sent = {
        name: value
        for name, value in sorted(environment.items())
        if (name in _SENT or name.startswith(_SENT_PREFIX)) and len(value) <= _VALUE_LIMIT
    }
    return SessionRequest(command, pty, dict(list(sent.items())[:_SENT_LIMIT]))


def command_of(words: tuple[str, ...]) -> bytes | None:
    """
    The command as the node's shell gets it: the words, joined by spaces, as ssh does.

    :raises BadInput: if it is too long for one packet.
    """
    if not words:
        return None
    command = os.fsencode(" ".join(words))
    if len(command) > _COMMAND_LIMIT:
        raise BadInput(f"a command has at most {_COMMAND_LIMIT} bytes; use standard input")
    return command


async def run_on_node(
    reactor: Any,
    profile: Profile,
    node: NodeName | AgentId,
    login: LoginName,
    request: SessionRequest,
) -> int:
    """Connect, run the session, and give its exit code."""
    sys.stdout.flush()
    node_connection = await dial_node(reactor, profile, node, login)
    try:
        return await run_session(
            reactor,
            node_connection.connection,
            request,
            LocalFiles(),
            node_connection.lost_because,
        )
    finally:
        node_connection.close()
