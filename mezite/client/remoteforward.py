"""
Remote forwarding: what listens on the node leads to what this machine reaches.

:class:`RemoteForwarding` asks the node to listen, remembers what it asked for,
and lets in channels for that and nothing else (``tcpip-forward``, RFC 4254
section 7.1; ``streamlocal-forward@openssh.com``). The person's ssh-agent is
lent to the node in the same way.
"""

from __future__ import annotations

import os
from typing import Any, Final

from twisted.conch.error import ConchError
from twisted.logger import Logger

from mezite.client.error import ForwardFailed
from mezite.client.forwardedconnections import ForwardedConnections
from mezite.client.forwardspec import ANYWHERE, Address, RemoteForward, SocketPath, TcpAddress
from mezite.client.incoming import ClientConnection, IncomingChannel
from mezite.error import TimedOut
from mezite.ssh.channel import FlowChannel
from mezite.ssh.error import ChannelRefused
from mezite.ssh.fields import FieldReader, printable, string, uint32
from mezite.tasks import within

ANSWER_SECONDS: Final = 30.0


class RemoteForwarding:
    """What one node has been asked to listen on."""

    _log = Logger()

    def __init__(
        self, reactor: Any, connection: ClientConnection, table: ForwardedConnections
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._table = table
        self._ports: list[tuple[TcpAddress, RemoteForward]] = []
        self._paths: dict[str, RemoteForward] = {}

    async def request(self, forward: RemoteForward) -> Address:
        """
        Ask the node to listen, and say where it does.

        :raises ForwardFailed: if it does not.
        """
        listen = forward.listen
        if isinstance(listen, SocketPath):
            self._connection.accept(b"forwarded-streamlocal@openssh.com", self._unix_channel)
            await self._ask(
                b"streamlocal-forward@openssh.com", string(os.fsencode(listen.path)), listen
            )
            self._paths[listen.path] = forward
            return listen
        self._connection.accept(b"forwarded-tcpip", self._tcp_channel)
        wanted = "" if listen.host == ANYWHERE else listen.host
        answer = await self._ask(
            b"tcpip-forward", string(wanted.encode()) + uint32(listen.port), listen
        )
        port = listen.port or FieldReader(answer).uint32()
        self._ports.append((TcpAddress(wanted, port), forward))
        return TcpAddress(listen.host, port)

    async def _ask(self, name: bytes, data: bytes, listen: Address) -> bytes:
        asked = self._connection.sendGlobalRequest(name, data, wantReply=1)
        try:
            answer: bytes = await within(
                self._reactor, ANSWER_SECONDS, asked, doing="asking the node to listen"
            )
        except TimedOut as error:
            raise ForwardFailed(str(error)) from error
        except ConchError as error:
            raise ForwardFailed(f"the node does not listen on {listen}") from error
        return answer

    def _tcp_channel(self) -> FlowChannel:
        return IncomingChannel(self._reactor, self._table, self._of_tcp)

    def _unix_channel(self) -> FlowChannel:
        return IncomingChannel(self._reactor, self._table, self._of_unix)

    def _of_tcp(self, data: bytes) -> tuple[Address | None, str]:
        reader = FieldReader(data)
        host, port = printable(reader.string()), reader.uint32()
        found = [each for each in self._ports if each[0].port == port]
        exact = [each for each in found if each[0].host == host]
        if not found:
            raise ChannelRefused("nobody asked for this port")
        return _led_by((exact or found)[0][1])

    def _of_unix(self, data: bytes) -> tuple[Address | None, str]:
        path = os.fsdecode(FieldReader(data).string())
        forward = self._paths.get(path)
        if forward is None:
            raise ChannelRefused("nobody asked for this socket")
        return _led_by(forward)


def _led_by(forward: RemoteForward) -> tuple[Address | None, str]:
    destination = forward.destination
    return destination, f"{forward.listen} on the node to {destination or 'where it asks for'}"


def lend_agent(
    reactor: Any, connection: ClientConnection, table: ForwardedConnections, path: str
) -> None:
    """Let the node reach the ssh-agent that listens on this socket."""
    address = SocketPath(path)
    connection.accept(
        b"auth-agent@openssh.com",
        lambda: IncomingChannel(reactor, table, lambda _: (address, "the ssh-agent")),
    )
