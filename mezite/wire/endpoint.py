"""
Where TLS connections to a hub begin.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from mezite.error import RemoteError, TimedOut, Unavailable
from mezite.names import HostPort
from mezite.wire.contexts import ClientContext
from mezite.wire.dial import Dial, dial
from mezite.wire.error import AlpnLost, HandshakeFailed
from mezite.wire.handshake import HANDSHAKE_TIMEOUT
from mezite.wire.outbound import way_to
from mezite.wire.upgrade import UpgradeEndpoint
from mezite.wire.ways import WAYS, Ways, may_be_a_balancer
from mezite.wire.websocket import NoHubBehind

_log: Final = Logger()


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class TlsClientEndpoint:
    """
    A hub's port, as a place to connect to.

    ``connect`` fires with the inner protocol once the hub has proved itself
    and the ALPN name is agreed on. The hub may still refuse our certificate
    after that (TLS 1.3 has no earlier moment); the protocol's ``connectionLost``
    then says so with :class:`~mezite.wire.error.TlsBroken`.

    The way there is direct, or through the proxy that the environment names.
    Where something on the way ends TLS, such as a load balancer, the same TLS
    goes through it in a WebSocket; what fails then is told as it failed directly,
    unless the balancer says that it does not reach the hub.

    :raises HubUnreachable: no TCP connection came about.
    :raises ProxyRefused: the proxy on the way has other ideas; or ProxyBroken.
    """

    _reactor: Any
    _address: HostPort
    _context: ClientContext
    _server_name: str | None = field(default=None, kw_only=True)
    _timeout: float = field(default=HANDSHAKE_TIMEOUT, kw_only=True)
    _ways: Ways = field(default=WAYS, kw_only=True)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, inner: IProtocolFactory) -> IProtocol:
        if self._ways.begins_with_upgrade(self._address, self._reactor.seconds()):
            return await self._upgrade_first(inner)
        try:
            protocol = await self._direct(inner)
        except (AlpnLost, HandshakeFailed) as error:
            if not may_be_a_balancer(error):
                raise
            protocol = await self._upgrade_after(error, inner)
            self._ways.upgraded(self._address, self._reactor.seconds())
        else:
            self._ways.direct(self._address)
        return protocol

    async def _upgrade_after(
        self, first: AlpnLost | HandshakeFailed, inner: IProtocolFactory
    ) -> IProtocol:
        try:
            return await self._upgrade(inner)
        except NoHubBehind:
            raise
        except (RemoteError, Unavailable, TimedOut) as error:
            _log.debug("{hub} takes no upgrade: {error}", hub=self._address, error=error)
            # What ends TLS may be a captive portal, or an impostor: the first error tells more.
            if isinstance(first, AlpnLost):
                raise AlpnLost(first.protocol, upgrade=str(error)) from None
            raise first from None

    async def _upgrade_first(self, inner: IProtocolFactory) -> IProtocol:
        try:
            return await self._upgrade(inner)
        except (RemoteError, Unavailable, TimedOut) as error:
            first = error
        try:
            protocol = await self._direct(inner)
        except (AlpnLost, HandshakeFailed) as error:
            # The balancer is still there, so what it said of the upgrade is what is wrong.
            raise (first if may_be_a_balancer(error) else error) from None
        self._ways.direct(self._address)
        return protocol

    async def _direct(self, inner: IProtocolFactory) -> IProtocol:
        way = way_to(self._reactor, self._address, timeout=self._timeout)
        return await self._dial(way, inner)

    async def _upgrade(self, inner: IProtocolFactory) -> IProtocol:
        way = UpgradeEndpoint(self._reactor, self._address, timeout=self._timeout)
        return await self._dial(way, inner)

    async def _dial(self, way: IStreamClientEndpoint, inner: IProtocolFactory) -> IProtocol:
        attempt = Dial(inner, self._context, self._server_name, self._reactor, self._timeout)
        return await dial(way, attempt, self._address)
