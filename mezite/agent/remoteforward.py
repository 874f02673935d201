"""
What listens on the node for as long as one client wants it to: ``ssh -R``.

:class:`RemoteForwards` owns the listeners of one connection, and opens a
channel to the client for whatever connects to them (RFC 4254, section 7.1). An
:class:`IPorts` does the listening.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import Interface

from mezite.agent.error import ForwardRefused, SocketRefused
from mezite.agent.forward import ForwardedSocket, SocketChannel
from mezite.recording.forwardrecord import Flow, ForwardRecord
from mezite.ssh.connection import FlowConnection
from mezite.ssh.fields import printable, string, uint32

# Each is a descriptor or two of the agent; a person's tools come by with a handful.
LISTENERS: Final = 32
# Below it, ports are for root (ip(7)).
_UNPRIVILEGED: Final = 1024
_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - only where the node's settings allow it


class IPorts(Interface):
    """The TCP ports of this node."""

    def listen(hosts: tuple[str, ...], port: int, factory: Factory[Any]) -> IListeners:
        """
        Listen on one port of all these addresses, on a free one for port 0.

        The first must be had; of the others, those of a kind that this machine
        does not have are left out. Raises :class:`ForwardRefused`.
        """


class IListeners(Interface):
    """What has been listened on together."""

    def port() -> int:
        """The port, the same for all."""

    def stop() -> None:
        """Listen no more; connections that stand are left alone."""


class IncomingChannel(SocketChannel):
    """A channel to the client, for a connection that somebody made to the node."""

    def __init__(self, kind: bytes, make_flow: Callable[[], Flow], **rest: Any) -> None:
        super().__init__(**rest)
        self.name = kind
        self._make_flow = make_flow
        self._is_open = False
        self._is_given_up = False

    def channelOpen(self, specificData: bytes) -> None:
        self._is_open = True
        if self._is_given_up:
            super().loseConnection()
        else:
            self.flow = self._make_flow()
            super().channelOpen(specificData)

    def loseConnection(self) -> None:
        # SSH cannot take back the wish for a channel; it can only close the channel.
        if self._is_open:
            super().loseConnection()
        else:
            self._is_given_up = True

    def openFailed(self, reason: Any) -> None:
        assert self.socket is not None
        self.socket.transport.abortConnection()


class IncomingSocket(ForwardedSocket):
    """Somebody's connection to the node, until the client has taken it."""

    def __init__(
        self, channel: SocketChannel, open_channel: Callable[[SocketChannel], None]
    ) -> None:
        super().__init__(channel)
        self._open_channel = open_channel

    def connectionMade(self) -> None:
        super().connectionMade()
        self.channel.socket = self
        self._open_channel(self.channel)


def bind_addresses(host: str, *, anywhere: bool) -> tuple[str, ...]:
    """
    Where to listen when a client names this host (RFC 4254, section 7.1).

    Unless ``anywhere``, that is the loopback whatever the client names, as with
    ``GatewayPorts no`` in sshd_config(5).

    :raises ForwardRefused: for what is neither a known name nor an address.
    """
    if not anywhere or host == "localhost":
        return _LOOPBACK
    if host in ("", "*"):
        return _EVERYWHERE
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        raise ForwardRefused("ports are opened on an address, not on a name") from None


@define(eq=False)
class RemoteForwards:
    """
    The listeners of one connection.

    :param connection: where channels are opened to.
    :param ports: an :class:`IPorts`.
    :param sockets: an :class:`~mezite.agent.loginsockets.ILoginSockets`.
    :param record: what is told of listeners, and of who came to them.
    :param is_root: whether the login may have privileged ports.
    :param anywhere: whether others than this machine may connect.
    """

    _log = Logger()

    connection: FlowConnection
    ports: Any
    sockets: Any
    is_root: bool
    anywhere: bool
    record: ForwardRecord
    _listeners: dict[tuple[str, int], Any] = field(init=False, factory=dict)
    # None while the file is being made.
    _files: dict[bytes, Any] = field(init=False, factory=dict)

    def listen(self, host: str, port: int) -> int:
        """
        The port that is listened on from now on.

        :raises ForwardRefused:
        """
        if port > 65535:
            raise ForwardRefused("there is no such port")
        if 0 < port < _UNPRIVILEGED and not self.is_root:
            raise ForwardRefused(f"port {port} is for root only")
        self._check_room()
        hosts = bind_addresses(host, anywhere=self.anywhere)
        if (host, port) in self._listeners:
            raise ForwardRefused(f"port {port} is forwarded already")
        factory = _Incoming(lambda address: self._incoming(host, chosen, address))
        listeners = self.ports.listen(hosts, port, factory)
        chosen: int = listeners.port()
        self._listeners[host, chosen] = listeners
        self._told("listen", f"{hosts[0]}:{chosen}")
        self._log.info("port {port} leads to the client now", port=chosen, host=hosts[0])
        return chosen

    async def listen_on_file(self, path: bytes) -> None:
        """
        Listen on a unix socket that only the login may use.

        :raises ForwardRefused:
        """
        self._check_room()
        if path in self._files:
            raise ForwardRefused("this socket is forwarded already")
        self._files[path] = None

        def make() -> ForwardedSocket | None:
            # OpenSSH's PROTOCOL, section 2.4: the path, and a reserved string.
            extra = string(path) + string(b"")
            return incoming(
                self.connection,
                b"forwarded-streamlocal@openssh.com",
                lambda: self.record.flow("forwarded-streamlocal", "the client", printable(path)),
                extra,
            )

        try:
            listener = await self.sockets.listen(path, make)
        except SocketRefused as error:
            self._files.pop(path, None)
            raise ForwardRefused(f"{printable(path)} on the node: {error}") from None
        if path in self._files:
            self._files[path] = listener
            self._told("listen", printable(path))
        else:
            # The connection has ended meanwhile.
            listener.stop()

    def cancel_file(self, path: bytes) -> bool:
        """Whether there was such a listener; it is gone now, and its file soon."""
        if self._files.get(path) is None:
            return False
        self._files.pop(path).stop()
        self.sockets.remove(path)
        self._told("cancel", printable(path))
        return True

    def _told(self, what: str, address: str) -> None:
        self.record.note(f"forward.{what}", {"address": address}, f"{what} {address}")

    def _check_room(self) -> None:
        if len(self._listeners) + len(self._files) >= LISTENERS:
            raise ForwardRefused(f"a connection has {LISTENERS} forwarded ports at most")

    def cancel(self, host: str, port: int) -> bool:
        """Whether there was such a listener; it is gone now."""
        listeners = self._listeners.pop((host, port), None)
        if listeners is None:
            return False
        listeners.stop()
        self._told("cancel", f"{host}:{port}")
        return True

    def close(self) -> None:
        """The connection has ended; what was made goes with :attr:`sockets`."""
        given_up = [*self._listeners.values(), *self._files.values()]
        self._listeners, self._files = {}, {}
        for listener in given_up:
            if listener is not None:
                listener.stop()

    def _incoming(self, host: str, port: int, address: Any) -> ForwardedSocket | None:
        origin = string(address.host.encode()) + uint32(address.port)
        where = string(host.encode()) + uint32(port)
        return incoming(
            self.connection,
            b"forwarded-tcpip",
            lambda: self.record.flow(
                "forwarded-tcpip", "the client", f"{address.host}:{address.port} at port {port}"
            ),
            where + origin,
        )


def incoming(
    connection: FlowConnection, kind: bytes, make_flow: Callable[[], Flow], extra: bytes = b""
) -> ForwardedSocket | None:
    """What carries somebody's connection to the client, if the client may have one more."""
    # Whoever listens goes on: channels close, and others then come through.
    if len(connection.channels) >= connection.channel_limit:
        return None
    return IncomingSocket(
        IncomingChannel(kind, make_flow),
        lambda channel: connection.openChannel(channel, extra),
    )


class _Incoming(Factory[Any]):
    noisy = False

    def __init__(self, make: Callable[[Any], ForwardedSocket | None]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> ForwardedSocket | None:
        return self._make(addr)
