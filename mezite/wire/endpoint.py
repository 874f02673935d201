"""
Where TLS connections begin: a factory that accepts them, an endpoint that dials.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionAborted, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.names import HostPort
from mezite.wire.contexts import ClientContext, HubContexts
from mezite.wire.error import AlpnLost, HubUnreachable, why_unreachable
from mezite.wire.outbound import way_to
from mezite.wire.transport import HANDSHAKE_TIMEOUT, TLSTransport


class TlsServerFactory(Factory):
    """TLS with one protocol inside, whatever the client's ALPN name; the hub's port is a Router."""

    noisy = False

    def __init__(
        self,
        contexts: HubContexts,
        inner: IProtocolFactory,
        *,
        clock: IReactorTime,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        self._contexts = contexts
        self._inner = inner
        self._clock = clock
        self._handshake_timeout = handshake_timeout

    def doStart(self) -> None:
        self._inner.doStart()

    def doStop(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> TLSTransport:
        return TLSTransport(
            self._contexts.serverConnectionForTLS(self),
            self._clock,
            secured=self._secured,
            failed=lambda failure: None,
            handshake_timeout=self._handshake_timeout,
        )

    def _secured(self, transport: TLSTransport) -> None:
        inner = self._inner.buildProtocol(transport.getPeer())
        if inner is not None:
            transport.attach(inner)


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

    :raises HubUnreachable: no TCP connection came about.
    :raises ProxyRefused: the proxy on the way has other ideas; or ProxyBroken.
    """

    _reactor: Any
    _address: HostPort
    _context: ClientContext
    _server_name: str | None = field(default=None, kw_only=True)
    _timeout: float = field(default=HANDSHAKE_TIMEOUT, kw_only=True)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, inner: IProtocolFactory) -> IProtocol:
        dial = Dial(inner, self._context, self._server_name, self._reactor, self._timeout)
        endpoint = way_to(self._reactor, self._address, timeout=self._timeout)
        try:
            await endpoint.connect(dial)
        except (ConnectError, DNSLookupError) as error:
            raise HubUnreachable(self._address, why_unreachable(error)) from error
        return await dial.done


@define(eq=False)
class Dial(Factory):
    """One attempt at a connection; ``done`` fires with the inner protocol, or fails."""

    noisy = False

    _inner: IProtocolFactory
    _context: ClientContext
    _server_name: str | None
    _clock: IReactorTime
    _timeout: float
    done: Deferred[IProtocol] = field(init=False)
    _transport: TLSTransport | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.done = Deferred(lambda _: self._give_up())

    def doStart(self) -> None:
        self._inner.doStart()

    def doStop(self) -> None:
        self._inner.doStop()

    def buildProtocol(self, addr: IAddress | None) -> TLSTransport:
        self._transport = TLSTransport(
            self._context.connection(self._server_name),
            self._clock,
            secured=self._secured,
            failed=self._failed,
            handshake_timeout=self._timeout,
        )
        return self._transport

    def _secured(self, transport: TLSTransport) -> None:
        if transport.negotiatedProtocol != self._context.protocol:
            self._failed(Failure(AlpnLost(self._context.protocol)))
            return
        try:
            inner = self._inner.buildProtocol(transport.getPeer())
            if inner is None:
                raise ConnectionAborted
            transport.attach(inner)
        except Exception:
            self._failed(Failure())
            transport.abortConnection()
            return
        self.done.callback(inner)

    def _failed(self, failure: Failure) -> None:
        if not self.done.called:
            self.done.errback(failure)

    def _give_up(self) -> None:
        self._failed(Failure(CancelledError()))
        if self._transport is not None:
            self._transport.abortConnection()
