"""
Local forwarding: what listens here leads to what the node reaches.

:class:`LocalForwarding` owns the listening sockets of one SSH connection, for
``-L`` and ``-D``. Each connection that is accepted becomes a channel
(``direct-tcpip``, RFC 4254 section 7.2; ``direct-streamlocal@openssh.com``).
"""

from __future__ import annotations

import os
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.client.error import ForwardFailed
from mezite.client.forwardedconnections import ForwardedChannel, ForwardedConnections
from mezite.client.forwardspec import (
    ANYWHERE,
    LOOPBACK,
    Address,
    LocalForward,
    SocketPath,
    TcpAddress,
)
from mezite.client.incoming import SOCKS_SECONDS
from mezite.client.socks import SocksBroken, SocksNegotiation
from mezite.error import MeziteError
from mezite.ssh.connection import FlowConnection
from mezite.ssh.fields import string, uint32
from mezite.ssh.joined import JoinedChannel, JoinedSocket

# A browser opens dozens; the node itself takes 256 channels on a connection.
CONNECTIONS: Final = 256


class LocalForwarding:
    """All that listens here for one SSH connection."""

    def __init__(
        self, reactor: Any, connection: FlowConnection, table: ForwardedConnections
    ) -> None:
        self.reactor = reactor
        self.connection = connection
        self.table = table
        self.count = 0
        self._ports: list[IListeningPort] = []

    def listen(self, forward: LocalForward) -> None:
        """:raises ForwardFailed: if the address cannot be had."""
        factory = _Accepting(self, forward)
        if isinstance(forward.listen, SocketPath):
            self._ports.append(self._listen_unix(forward.listen, factory))
            return
        ports: list[IListeningPort] = []
        failure: CannotListenError | None = None
        for interface in _interfaces(forward.listen.host):
            try:
                ports.append(
                    self.reactor.listenTCP(forward.listen.port, factory, interface=interface)
                )
            except CannotListenError as error:
                failure = failure or error
        self._ports += ports
        # One of IPv4 and IPv6 is enough: a machine may have only one of them.
        if not ports:
            assert failure is not None
            raise _not_listening(forward.listen, failure)

    def _listen_unix(self, listen: SocketPath, factory: Factory) -> IListeningPort:
        before = os.umask(0o177)  # from its first moment, nobody else may connect
        try:
            port: IListeningPort = self.reactor.listenUNIX(listen.path, factory, mode=0o600)
        except CannotListenError as error:
            raise _not_listening(listen, error) from error
        finally:
            os.umask(before)
        return port

    def stop(self) -> None:
        """Listen no more; connections that stand go on."""
        ports, self._ports = self._ports, []
        for port in ports:
            port.stopListening()


class _Accepting(Factory):
    noisy = False

    def __init__(self, forwarding: LocalForwarding, forward: LocalForward) -> None:
        self._forwarding = forwarding
        self._forward = forward

    def buildProtocol(self, addr: IAddress | None) -> _Accepted | None:
        if self._forwarding.count >= CONNECTIONS:
            return None
        self._forwarding.count += 1
        destination = self._forward.destination
        if destination is None:
            return _AcceptedSocks(self._forwarding, self._forward)
        return _AcceptedDirect(self._forwarding, self._forward)


class _Accepted(JoinedSocket):
    """A connection from a program here, on its way to a channel."""

    _log = Logger()

    def __init__(self, forwarding: LocalForwarding, forward: LocalForward) -> None:
        self._forwarding = forwarding
        self._forward = forward
        self._is_gone = False

    def open_channel(self, destination: Address) -> None:
        channel = _OutgoingChannel(self._forwarding.table, self, destination)
        self._forwarding.table.add(channel, f"{self._forward.listen} to {destination}")
        self._log.info(
            "a connection to {listen} is forwarded to {destination}",
            listen=str(self._forward.listen),
            destination=str(destination),
        )
        self._forwarding.connection.openChannel(channel, self._whereto(destination))

    def _whereto(self, destination: Address) -> bytes:
        if isinstance(destination, SocketPath):
            return string(os.fsencode(destination.path)) + string(b"") + uint32(0)
        peer = self.transport.getPeer()
        host, port = getattr(peer, "host", "127.0.0.1"), getattr(peer, "port", 0)
        return b"".join(
            (
                string(destination.host.encode()),
                uint32(destination.port),
                string(host.encode()),
                uint32(port),
            )
        )

    def opened(self, channel: JoinedChannel) -> None:
        """The node has connected."""
        if self._is_gone:
            channel.loseConnection()
        else:
            self.join(channel)

    def refused(self, destination: Address, sentence: str) -> None:
        """The node has not."""
        self._log.warn(
            "no connection to {destination}: {sentence}",
            destination=str(destination),
            sentence=sentence,
        )
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._forwarding.count -= 1
        super().connectionLost(reason)


class _AcceptedDirect(_Accepted):
    """One that is for the forward's own destination."""

    def connectionMade(self) -> None:
        super().connectionMade()
        destination = self._forward.destination
        assert destination is not None
        self.open_channel(destination)


class _AcceptedSocks(_Accepted):
    """One that says by SOCKS where it wants to."""

    def __init__(self, forwarding: LocalForwarding, forward: LocalForward) -> None:
        super().__init__(forwarding, forward)
        self._negotiation = SocksNegotiation()
        self._rest = b""
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._deadline = self._forwarding.reactor.callLater(
            SOCKS_SECONDS, self.transport.loseConnection
        )

    def dataReceived(self, data: bytes) -> None:
        if self.channel is not None:
            super().dataReceived(data)
            return
        try:
            request = self._negotiation.receive(data)
        except SocksBroken as error:
            self._log.warn("a program was refused: {error}", error=error)
            self.transport.write(self._negotiation.to_send())
            self.transport.loseConnection()
            return
        self.transport.write(self._negotiation.to_send())
        if request is not None:
            self._stop_deadline()
            self._rest = request.rest
            self.transport.pauseProducing()
            self.open_channel(TcpAddress(request.host, request.port))

    def readConnectionLost(self) -> None:
        if self.channel is None:
            self.transport.loseConnection()
        super().readConnectionLost()

    def opened(self, channel: JoinedChannel) -> None:
        if not self._is_gone:
            self.transport.write(self._negotiation.granted())
        super().opened(channel)
        if not self._is_gone:
            channel.write(self._rest)

    def refused(self, destination: Address, sentence: str) -> None:
        self.transport.write(self._negotiation.refused())
        super().refused(destination, sentence)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._stop_deadline()
        super().connectionLost(reason)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()


class _OutgoingChannel(ForwardedChannel):
    """A channel that the node joins to a connection of its own."""

    def __init__(
        self, table: ForwardedConnections, accepted: _Accepted, destination: Address
    ) -> None:
        super().__init__(table)
        is_socket = isinstance(destination, SocketPath)
        self.name = b"direct-streamlocal@openssh.com" if is_socket else b"direct-tcpip"
        self._accepted = accepted
        self._destination = destination

    def channelOpen(self, specificData: bytes) -> None:
        self._accepted.opened(self)

    def openFailed(self, reason: Any) -> None:
        self._table.remove(self)
        error = reason.value if isinstance(reason, Failure) else reason
        sentence = str(error) if isinstance(error, MeziteError) else "the connection ended"
        self._accepted.refused(self._destination, sentence)


def _interfaces(host: str) -> tuple[str, ...]:
    if host == LOOPBACK:
        return ("127.0.0.1", "::1")
    return ("0.0.0.0", "::") if host == ANYWHERE else (host,)  # noqa: S104 - it was typed


def _not_listening(listen: Address, error: CannotListenError) -> ForwardFailed:
    cause = error.socketError
    why = (getattr(cause, "strerror", None) or str(cause)).lower()
    return ForwardFailed(f"nothing can listen on {listen}: {why}")
