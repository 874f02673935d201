"""
One attempt at a TLS connection.
"""

from __future__ import annotations

from attrs import define, field
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

from mezite.names import HostPort
from mezite.wire.contexts import ClientContext
from mezite.wire.error import AlpnLost, HubUnreachable, why_unreachable
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport


async def dial(way: IStreamClientEndpoint, attempt: Dial, address: HostPort) -> IProtocol:
    """
    The inner protocol of an attempt that goes this way.

    :raises HubUnreachable: no connection came about beneath TLS.
    """
    try:
        await way.connect(attempt)
    except (ConnectError, DNSLookupError) as error:
        raise HubUnreachable(address, why_unreachable(error)) from error
    return await attempt.done


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
            Handshake(self._secured, self._failed, self._timeout),
        )
        return self._transport

    def _secured(self, transport: TLSTransport) -> None:
        if not self._context.is_agreed(transport.negotiatedProtocol):
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
