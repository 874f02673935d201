"""A port that speaks TLS, where a hub has its Router."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory

from mezite.wire.contexts import HubContexts
from mezite.wire.handshake import HANDSHAKE_TIMEOUT, Handshake
from mezite.wire.transport import TLSTransport


class TlsServerFactory(Factory):
    """TLS with one protocol inside, whatever the client's ALPN name."""

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
            Handshake(self._secured, lambda failure: None, self._handshake_timeout),
        )

    def _secured(self, transport: TLSTransport) -> None:
        inner = self._inner.buildProtocol(transport.getPeer())
        if inner is not None:
            transport.attach(inner)
