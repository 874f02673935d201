"""
The person's ssh-agent, reached from the node: ``ssh -A``.

An :class:`AgentForwarding` owns one unix socket in a private directory of the
login, for one connection. Whatever connects to it is a channel to the client.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.agent.error import SocketRefused
from mezite.agent.remoteforward import incoming
from mezite.recording.forwardrecord import ForwardRecord
from mezite.ssh.connection import FlowConnection


@define(eq=False)
class AgentForwarding:
    """
    :param connection: where channels are opened to.
    :param sockets: an :class:`~mezite.agent.loginsockets.ILoginSockets`.
    """

    _log = Logger()

    connection: FlowConnection
    sockets: Any
    record: ForwardRecord
    _address: str | None = field(init=False, default=None)
    _listener: Any = field(init=False, default=None)
    # Sessions that wait for the first to have it made.
    _waiting: list[Deferred[str | None]] | None = field(init=False, default=None)

    def address(self) -> Deferred[str | None]:
        """The path for SSH_AUTH_SOCK; None if there can be no such socket now."""
        if self._address is not None:
            return succeed(self._address)
        asked: Deferred[str | None] = Deferred()
        if self._waiting is not None:
            self._waiting.append(asked)
            return asked
        self._waiting = [asked]
        self.record.soon()
        made: Deferred[Any] = self.sockets.listen_privately(
            lambda: incoming(
                self.connection,
                b"auth-agent@openssh.com",
                lambda: self.record.flow("auth-agent", "the client's agent", "the session"),
            )
        )
        made.addCallbacks(self._made, self._not_made)
        return asked

    def close(self) -> None:
        """The connection has ended; the file goes with :attr:`sockets`."""
        if self._listener is not None:
            self._listener.stop()

    def _made(self, made: tuple[str, Any]) -> None:
        self._address, self._listener = made
        self._tell(self._address)

    def _not_made(self, failure: Failure) -> None:
        if failure.check(SocketRefused) is None:
            self._log.failure("an agent's socket could not be made", failure=failure)
        else:
            self._log.warn("no agent is forwarded: {error}", error=failure.value)
        self._tell(None)

    def _tell(self, address: str | None) -> None:
        waiting, self._waiting = self._waiting or [], None
        for asked in waiting:
            asked.callback(address)
