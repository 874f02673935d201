"""
Channels that a node opens to this machine, and where they may lead.

:class:`ClientConnection` refuses every kind that nobody asked for: a node must
not reach into the network of whoever visits it. :class:`IncomingChannel` leads
to an address of this side's choice, or where the node's program asks for by SOCKS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.client.forwardedconnections import ForwardedChannel, ForwardedConnections
from mezite.client.forwardspec import Address, SocketPath, TcpAddress
from mezite.client.socks import SocksBroken, SocksNegotiation, SocksRequest
from mezite.ssh.channel import FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import OPEN_CONNECT_FAILED, ChannelRefused
from mezite.ssh.joined import JoinedSocket

CONNECT_SECONDS: Final = 10
# From its first byte to its request; a program sends both at once.
SOCKS_SECONDS: Final = 30.0
_NOT_CONNECTED: Final = (ConnectError, DNSLookupError, OSError)


class ClientConnection(FlowConnection):
    """An SSH connection to a node, on which the node may open what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[bytes, Callable[[], FlowChannel]] = {}

    def accept(self, kind: bytes, make: Callable[[], FlowChannel]) -> None:
        """Let the node open channels of this kind; ``open_requested`` may still refuse."""
        self._kinds[kind] = make

    def make_channel(self, kind: bytes) -> FlowChannel:
        make = self._kinds.get(kind)
        return super().make_channel(kind) if make is None else make()


def endpoint_of(reactor: Any, address: Address) -> IStreamClientEndpoint:
    """What connects from this machine, and gives up by itself."""
    endpoint: IStreamClientEndpoint
    if isinstance(address, SocketPath):
        endpoint = UNIXClientEndpoint(reactor, address.path, timeout=CONNECT_SECONDS)
    else:
        endpoint = HostnameEndpoint(reactor, address.host, address.port, timeout=CONNECT_SECONDS)
    return endpoint


class IncomingChannel(ForwardedChannel):
    """
    A channel that the node opened.

    ``choose`` reads what the node said with its wish. It raises
    :class:`ChannelRefused`, or says where the channel leads, None for what is
    asked for by SOCKS, and what to call it in a list.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        table: ForwardedConnections,
        choose: Callable[[bytes], tuple[Address | None, str]],
    ) -> None:
        super().__init__(table)
        self._reactor = reactor
        self._choose = choose
        self._connected: JoinedSocket | None = None
        self._connecting: Deferred[Any] | None = None
        self._negotiation: SocksNegotiation | None = None
        self._deadline: IDelayedCall | None = None

    def open_requested(self, data: bytes) -> Deferred[None] | None:
        address, description = self._choose(data)
        self._table.add(self, description)
        if address is None:
            self._negotiation = SocksNegotiation()
            return None
        return self._connect(address).addCallbacks(
            self._stands, self._not_opened, errbackArgs=(address,)
        )

    def _connect(self, address: Address) -> Deferred[Any]:
        factory = Factory.forProtocol(JoinedSocket)
        factory.noisy = False
        connecting: Deferred[Any] = endpoint_of(self._reactor, address).connect(factory)
        return connecting

    def _stands(self, connected: JoinedSocket) -> None:
        self._connected = connected

    def _not_opened(self, failure: Failure, address: Address) -> None:
        self._table.remove(self)
        failure.trap(*_NOT_CONNECTED)
        self._log.warn("{address} cannot be reached from here", address=str(address))
        raise ChannelRefused("it cannot be reached", OPEN_CONNECT_FAILED) from None

    def channelOpen(self, specificData: bytes) -> None:
        if self._connected is not None:
            self._connected.join(self)
        else:
            self._deadline = self._reactor.callLater(SOCKS_SECONDS, self.loseConnection)

    def closed(self) -> None:
        self._stop_deadline()
        if self._connecting is not None:
            self._connecting.cancel()
        super().closed()
        if self._connected is not None and self.socket is None:
            self._connected.transport.loseConnection()

    # What comes before a channel that asks by SOCKS is joined.

    def dataReceived(self, data: bytes) -> None:
        if self._negotiation is None or self.socket is not None:
            super().dataReceived(data)
            return
        try:
            request = self._negotiation.receive(data)
        except SocksBroken as error:
            self._log.warn("a program of the node was refused: {error}", error=error)
            self.write(self._negotiation.to_send())
            self.loseConnection()
            return
        self.write(self._negotiation.to_send())
        if request is not None:
            self._stop_deadline()
            self.pauseProducing()
            address = TcpAddress(request.host, request.port)
            self._connecting = self._connect(address)
            self._connecting.addCallbacks(
                self._granted,
                self._refused,
                callbackArgs=(request, self._negotiation),
                errbackArgs=(address, self._negotiation),
            )

    def _granted(
        self, connected: JoinedSocket, request: SocksRequest, negotiation: SocksNegotiation
    ) -> None:
        self._connecting = None
        if self.localClosed:
            connected.transport.loseConnection()
            return
        self.write(negotiation.granted())
        connected.join(self)
        connected.transport.write(request.rest)
        self.resumeProducing()

    def _refused(self, failure: Failure, address: Address, negotiation: SocksNegotiation) -> None:
        self._connecting = None
        if not self.localClosed:
            self._log.warn("{address} cannot be reached from here", address=str(address))
            self.write(negotiation.refused())
            self.loseConnection()

    def eofReceived(self) -> None:
        if self.socket is None:
            self.loseConnection()
        super().eofReceived()

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
