"""
The way to a hub through what ends TLS before it: TLS, a WebSocket, and TLS in it.

An :class:`UpgradeEndpoint` connects to where the hub's own TLS can be spoken.
The outer TLS proves nothing and is trusted with nothing: the inner one, which
this module knows nothing of, authenticates both ends
(``docs/protocols/connection-upgrade.rst``).
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.names import HostPort, is_address
from mezite.wire.contexts import outer_context
from mezite.wire.dial import Dial, dial
from mezite.wire.outbound import way_to
from mezite.wire.upgraded import UpgradedConnection
from mezite.wire.websocket import ClientFrames, Opening, UpgradeRefused


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class UpgradeEndpoint:
    """
    A hub behind something that ends TLS.

    ``connect`` fires with the protocol as soon as the hub has agreed to the
    upgrade; its transport carries whatever is written, as TCP would.

    :raises HubUnreachable: no TCP connection came about.
    :raises HandshakeFailed: what is there does not speak TLS.
    :raises UpgradeRefused: it does not upgrade.
    """

    _reactor: Any
    _address: HostPort
    _timeout: float = field(kw_only=True)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, inner: IProtocolFactory) -> IProtocol:
        asking = _Asking(str(self._address), inner, self._reactor, self._timeout)
        factory = Factory.forProtocol(lambda: asking)
        factory.noisy = False
        # The name of the balancer, and never that of a node.
        host = None if is_address(self._address.host) else self._address.host
        attempt = Dial(factory, outer_context(), host, self._reactor, self._timeout)
        way = way_to(self._reactor, self._address, timeout=self._timeout)
        try:
            await dial(way, attempt, self._address)
            return await asking.done
        except CancelledError:
            asking.give_up()
            raise


@define(eq=False)
class _Asking(Protocol):
    """The beginning of the outer connection, which is HTTP."""

    _host: str
    _inner: IProtocolFactory
    _clock: IReactorTime
    _timeout: float
    transport: Any = field(init=False, default=None)
    factory: Any = field(init=False, default=None)
    done: Deferred[IProtocol] = field(init=False, factory=Deferred)
    _opening: Opening = field(init=False)
    _timer: IDelayedCall | None = field(init=False, default=None)

    def connectionMade(self) -> None:
        self._opening = Opening(self._host)
        self._timer = self._clock.callLater(self._timeout, self._timed_out)
        self.transport.write(self._opening.request())

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._opening.receive(data)
        except UpgradeRefused:
            self._failed(Failure())
            return
        if self._opening.is_open:
            self._hand_over(self.transport.getPeer())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            error = UpgradeRefused(f"{self._host} hung up when asked to upgrade to a WebSocket")
            self._failed(Failure(error))

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._stop_timer()
        if self.transport is not None:
            self.transport.abortConnection()

    def _timed_out(self) -> None:
        self._timer = None
        self._failed(Failure(UpgradeRefused(f"{self._host} did not answer to the upgrade in time")))

    def _hand_over(self, address: IAddress) -> None:
        self._stop_timer()
        try:
            inner = self._inner.buildProtocol(address)
            if inner is None:
                raise ConnectionAborted
        except Exception:
            self._failed(Failure())
            return
        upgraded = UpgradedConnection(ClientFrames(), inner, self._clock)
        self.transport.attach(upgraded)
        if self._opening.rest:
            upgraded.dataReceived(self._opening.rest)
        self.done.callback(inner)

    def _failed(self, failure: Failure) -> None:
        self._stop_timer()
        if not self.done.called:
            self.done.errback(failure)
        self.transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
