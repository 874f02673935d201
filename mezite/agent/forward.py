"""
Connections that are joined to a channel, and those that a client opens from the node.

:class:`SocketChannel` is a channel with a socket at its other end, whoever
opened which. :class:`ForwardedChannel` is ``direct-tcpip`` (RFC 4254, section
7.2), :class:`LocalForwardedChannel` the same with a unix socket; what others
open to the node comes from :mod:`mezite.agent.remoteforward`.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mezite.agent.error import SocketRefused
from mezite.recording.forwardrecord import Flow, ForwardRecord
from mezite.ssh.error import OPEN_CONNECT_FAILED, ChannelRefused
from mezite.ssh.fields import FieldReader, printable
from mezite.ssh.joined import JoinedChannel, JoinedSocket

CONNECT_SECONDS: Final = 10.0
# RFC 1035, section 2.3.4.
_HOST_LENGTH: Final = 255


class IDestinations(Interface):
    """Where connections from this node can go."""

    def endpoint(host: str, port: int) -> IStreamClientEndpoint:
        """An endpoint that gives up by itself within :data:`CONNECT_SECONDS`."""


@implementer(IDestinations)
@frozen
class NetworkDestinations:
    """Anywhere that the node's network reaches."""

    reactor: Any

    def endpoint(self, host: str, port: int) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self.reactor, host, port, timeout=CONNECT_SECONDS
        )
        return endpoint


class ForwardedSocket(JoinedSocket):
    """The socket of a channel that there is already; its bytes are counted."""

    channel: SocketChannel

    def __init__(self, channel: SocketChannel) -> None:
        self.channel = channel

    def dataReceived(self, data: bytes) -> None:
        if self.channel.flow is not None:
            self.channel.flow.received += len(data)
        self.channel.write(data)


class SocketChannel(JoinedChannel):
    """A channel that carries what a socket carries, half for half."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        # Once it is recorded.
        self.flow: Flow | None = None

    def channelOpen(self, specificData: bytes) -> None:
        assert self.socket is not None
        self.socket.join(self)

    def dataReceived(self, data: bytes) -> None:
        assert self.socket is not None
        if self.flow is not None:
            self.flow.sent += len(data)
        self.socket.transport.write(data)

    def closed(self) -> None:
        if self.flow is not None:
            self.flow.close()
        super().closed()


class ForwardedChannel(SocketChannel):
    """A ``direct-tcpip`` channel, confirmed once its connection stands."""

    def __init__(self, destinations: Any, record: ForwardRecord, **rest: Any) -> None:
        super().__init__(**rest)
        self._destinations = destinations
        self._record = record

    def open_requested(self, data: bytes) -> Deferred[None]:
        reader = FieldReader(data)
        host, port = reader.string(), reader.uint32()
        origin = f"{printable(reader.string())}:{reader.uint32()}"  # as the client says
        reader.end()
        name = printable(host)
        if not 0 < port < 65536 or not 0 < len(host) <= _HOST_LENGTH or name.encode() != host:
            raise ChannelRefused("this is not an address to connect to", OPEN_CONNECT_FAILED)
        return Deferred.fromCoroutine(self._connect(name, port, origin))

    async def _connect(self, name: str, port: int, origin: str) -> None:
        await self._record.ready()
        endpoint = self._destinations.endpoint(name, port)
        connecting: Deferred[Any] = endpoint.connect(
            Factory.forProtocol(lambda: ForwardedSocket(self))
        )
        self.socket = await connecting.addErrback(_not_connected, name, port)
        self.flow = self._record.flow("direct-tcpip", f"{name}:{port}", origin)


class LocalForwardedChannel(SocketChannel):
    """A ``direct-streamlocal@openssh.com`` channel, confirmed once its connection stands."""

    def __init__(self, sockets: Any, record: ForwardRecord, **rest: Any) -> None:
        super().__init__(**rest)
        self._sockets = sockets
        self._record = record

    def open_requested(self, data: bytes) -> Deferred[None]:
        reader = FieldReader(data)
        path = reader.string()
        reader.string(), reader.uint32()  # reserved (OpenSSH's PROTOCOL, section 2.4)
        reader.end()
        return Deferred.fromCoroutine(self._connect(path))

    async def _connect(self, path: bytes) -> None:
        await self._record.ready()
        socket = ForwardedSocket(self)
        connecting: Deferred[Any] = self._sockets.connect(path, socket)
        await connecting.addErrback(_not_there, path)
        self.socket = socket
        self.flow = self._record.flow("direct-streamlocal", printable(path), "")


def _not_there(failure: Failure, path: bytes) -> None:
    failure.trap(SocketRefused)
    raise ChannelRefused(
        f"{printable(path)} on the node: {failure.value}", OPEN_CONNECT_FAILED
    ) from None


def _not_connected(failure: Failure, host: str, port: int) -> None:
    failure.trap(ConnectError, DNSLookupError, OSError)
    raise ChannelRefused(
        f"{host}:{port} cannot be reached from the node", OPEN_CONNECT_FAILED
    ) from None
