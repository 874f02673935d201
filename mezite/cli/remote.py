"""
What ``msh ssh`` does on one node: its session, and all that is forwarded meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import click
from attrs import field, frozen
from twisted.logger import Logger

from mezite.cli.sshoptions import SshOptions, Terminal, Verbosity
from mezite.client.error import ForwardFailed
from mezite.client.escapes import visible
from mezite.client.forwardedconnections import ForwardedConnections
from mezite.client.forwardspec import LocalForward, RemoteForward, TcpAddress
from mezite.client.localforward import LocalForwarding
from mezite.client.node import DEFAULT_PATIENCE, NodeConnection, Patience, dial_node
from mezite.client.profile import Profile
from mezite.client.remoteforward import RemoteForwarding, lend_agent
from mezite.client.resuming import Notices
from mezite.client.session import Escapes, LocalFiles, Pty, SessionRequest, run_session
from mezite.client.terminal import DEFAULT_TERM
from mezite.error import BadInput
from mezite.names import AgentId, LoginName, NodeName

AGENT_VARIABLE: Final = "SSH_AUTH_SOCK"
_SENT_LIMIT: Final = 32
# A variable and a command travel in one packet each, which is 256 KiB at most.
_VALUE_LIMIT: Final = 4096
_COMMAND_LIMIT: Final = 128 * 1024
_log = Logger()


@frozen
class Visit:
    """All that is wanted on a node; without a request only what is forwarded (``-N``)."""

    request: SessionRequest | None
    local: Sequence[LocalForward] = ()
    remote: Sequence[RemoteForward] = ()
    must_forward: bool = False
    # The socket of the ssh-agent that is lent.
    agent: str | None = None
    escape: bytes | None = b"~"
    takes_input: bool = True
    is_quiet: bool = False
    patience: Patience = field(default=DEFAULT_PATIENCE)


def visit_of(
    options: SshOptions,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    terminal: int = 0,
) -> Visit:
    """
    What these options and the command's words ask for.

    :param terminal: where a terminal would be.
    """
    agent = _agent_socket(options.lends_agent, environment)
    return Visit(
        request_of(options, words, environment, terminal=terminal, lends_agent=agent is not None)
        if options.has_session
        else None,
        options.local_forwards(),
        options.remote,
        options.must_forward,
        agent,
        options.escape,
        options.takes_input and not options.in_background,
        options.verbosity is Verbosity.QUIET,
        options.patience,
    )


def _agent_socket(wanted: bool | str, environment: Mapping[str, str]) -> str | None:
    if not wanted:
        return None
    if isinstance(wanted, str):
        name = wanted.removeprefix("$")
        path = environment.get(name) if name != wanted else os.path.expanduser(wanted)
    else:
        path = environment.get(AGENT_VARIABLE)
    if not path:
        _log.warn("there is no ssh-agent to be lent: {name} is not set", name=AGENT_VARIABLE)
    return path or None


def request_of(
    options: SshOptions,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    terminal: int = 0,
    lends_agent: bool = False,
) -> SessionRequest:
    """The session that these options ask for; ``terminal`` is where a terminal would be."""
    command = command_of(words or _remote_command(options))
    if options.is_subsystem and command is None:
        raise BadInput("which subsystem? -s takes its name in place of a command")
    return SessionRequest(
        command,
        _pty(options, command is not None, environment, terminal),
        _sent(options, environment),
        options.is_subsystem,
        lends_agent,
    )


def _remote_command(options: SshOptions) -> tuple[str, ...]:
    return () if options.remote_command is None else (options.remote_command,)


def _pty(
    options: SshOptions, has_command: bool, environment: Mapping[str, str], terminal: int
) -> Pty | None:
    wanted = options.terminal
    if wanted is Terminal.AUTO:
        wanted = Terminal.NO if has_command else Terminal.YES
        is_asked_for = False
    else:
        is_asked_for = True
    if wanted is Terminal.NO:
        return None
    is_terminal = os.isatty(terminal) and options.takes_input
    if not is_terminal and wanted is not Terminal.FORCE:
        if is_asked_for:
            _log.warn("there is no terminal here; -tt asks for one on the node")
        return None
    return Pty(environment.get("TERM") or DEFAULT_TERM, terminal if is_terminal else None)


def _sent(options: SshOptions, environment: Mapping[str, str]) -> dict[str, str]:
    sent = {
        name: value
        for name, value in sorted(environment.items())
        if any(fnmatchcase(name, pattern) for pattern in options.sent)
        and len(value) <= _VALUE_LIMIT
    }
    return {**dict(list(sent.items())[:_SENT_LIMIT]), **options.environment}


def command_of(words: Sequence[str]) -> bytes | None:
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
    visit: Visit,
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """
    Connect, forward, run the session, and give its exit code.

    :param on_ready: called once all of it has begun.
    """
    sys.stdout.flush()
    node_connection = await dial_node(
        reactor,
        profile,
        node,
        login,
        patience=visit.patience,
        notices=_notices(visit),
    )
    _log.info("connected to {node} as {login}", node=node.text, login=login.text)
    table = ForwardedConnections()
    local = LocalForwarding(reactor, node_connection.connection, table)
    try:
        await _forward(reactor, node_connection, visit, local, table)
        if visit.request is None:
            on_ready()
            raise await node_connection.transport.ended()
        code = await run_session(
            reactor,
            node_connection.connection,
            visit.request,
            LocalFiles(0 if visit.takes_input else None),
            node_connection.lost_because,
            escapes=None if visit.escape is None else Escapes(visit.escape, table.descriptions),
            on_started=on_ready,
        )
        local.stop()
        if table.descriptions():
            _log.info("waiting for {count} forwarded connections", count=len(table.descriptions()))
        # As with ssh, what is on its way comes to its end.
        await table.none_left()
        return code
    finally:
        local.stop()
        node_connection.close()


def _notices(visit: Visit) -> Notices:
    """One line for a person at a terminal; nothing for a program."""
    request = visit.request
    if visit.is_quiet or not os.isatty(2):
        return Notices()
    is_raw = request is not None and request.pty is not None and request.pty.terminal is not None
    how = "Ctrl-C gives up"
    if is_raw and visit.escape is not None:
        how = f"{visible(visit.escape)}. gives up"
    begin, end = ("\r\n", "\r\n") if is_raw else ("", "\n")

    def say(sentence: str) -> None:
        os.write(2, f"{begin}msh: {sentence}{end}".encode())

    return Notices(
        lost=lambda: say(f"connection lost; trying again, {how}"), back=lambda: say("back")
    )


async def _forward(
    reactor: Any,
    node_connection: NodeConnection,
    visit: Visit,
    local: LocalForwarding,
    table: ForwardedConnections,
) -> None:
    connection = node_connection.connection
    if visit.agent is not None:
        lend_agent(reactor, connection, table, visit.agent)
    for wanted in visit.local:
        try:
            local.listen(wanted)
        except ForwardFailed as error:
            _not_forwarded(visit, error)
    remote = RemoteForwarding(reactor, connection, table)
    for asked in visit.remote:
        try:
            where = await remote.request(asked)
        except ForwardFailed as error:
            reason = node_connection.lost_because()
            if reason is not None:
                raise reason from None
            _not_forwarded(visit, error)
            continue
        chosen = isinstance(asked.listen, TcpAddress) and asked.listen.port == 0
        if chosen and isinstance(where, TcpAddress) and not visit.is_quiet:
            meant = asked.destination or "where programs ask for"
            click.echo(f"Allocated port {where.port} for remote forward to {meant}", err=True)


def _not_forwarded(visit: Visit, error: ForwardFailed) -> None:
    if visit.must_forward:
        raise error
    _log.warn("{error}", error=error)
