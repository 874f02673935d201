"""
TCP connections to a hub, directly or through a forward proxy.

What is said to a proxy is :mod:`mezite.wire.forwardproxy`'s; TLS begins behind
it, so that a proxy sees nothing and can claim nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionAborted, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.error import TimedOut
from mezite.names import HostPort
from mezite.tasks import within
from mezite.wire.error import why_unreachable
from mezite.wire.forwardproxy import Conversation, ForwardProxy, ProxyRefused, proxy_for

# Less than whoever dials waits for all of it, 10 s, so that they hear whose silence it was.
_ANSWER_SECONDS: Final = 8.0


def way_to(
    reactor: Any,
    address: HostPort,
    *,
    timeout: float,
    environ: Mapping[str, str] | None = None,
) -> IStreamClientEndpoint:
    """
    Where to connect for this address, as the environment says.

    :raises BadInput: the environment names a proxy that is none.
    """
    proxy = proxy_for(address.host, address.port, os.environ if environ is None else environ)
    if proxy is None:
        return HostnameEndpoint(reactor, address.host, address.port, timeout=timeout)
    beyond = HostnameEndpoint(reactor, proxy.host, proxy.port, timeout=timeout)
    return ThroughProxy(beyond, proxy, address, reactor, min(timeout, _ANSWER_SECONDS))


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class ThroughProxy:
    """
    A place behind a proxy, which has so many seconds to connect to it.

    ``connect`` fails with :class:`~mezite.wire.forwardproxy.ProxyRefused`, also
    if the proxy is not there, or ``ProxyBroken``.
    """

    _endpoint: IStreamClientEndpoint
    _proxy: ForwardProxy
    _address: HostPort
    _clock: IReactorTime
    _seconds: float

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, inner: IProtocolFactory) -> IProtocol:
        conversation = self._proxy.conversation(self._address.host, self._address.port)
        asking = _Asking(conversation, inner, str(self._proxy))
        try:
            await self._endpoint.connect(Factory.forProtocol(lambda: asking))
            return await within(
                self._clock, self._seconds, asking.done, doing=f"asking the proxy {self._proxy}"
            )
        except TimedOut:
            asking.give_up()
            raise ProxyRefused(
                f"the proxy {self._proxy} has not connected to {self._address}"
                f" within {self._seconds:g} s"
            ) from None
        except (ConnectError, DNSLookupError) as error:
            raise ProxyRefused(
                f"the proxy {self._proxy} cannot be reached: {why_unreachable(error)}"
            ) from error
        except CancelledError:
            asking.give_up()
            raise


@define(eq=False)
class _Asking(Protocol):
    """The beginning of a connection, which is the proxy's."""

    _conversation: Conversation
    _inner: IProtocolFactory
    _proxy: str
    transport: Any = field(init=False, default=None)
    factory: Any = field(init=False, default=None)
    done: Deferred[IProtocol] = field(init=False, factory=Deferred)

    def connectionMade(self) -> None:
        self.transport.write(self._conversation.begin())

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            answer = self._conversation.receive(data)
        except Exception:
            self._failed(Failure())
            return
        if answer:
            self.transport.write(answer)
        if self._conversation.is_open:
            self._hand_over(self.transport.getPeer())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            error = ProxyRefused(f"the proxy {self._proxy} hung up without an answer")
            self.done.errback(Failure(error))

    def give_up(self) -> None:
        """Nobody waits any more."""
        if self.transport is not None:
            self.transport.abortConnection()

    def _hand_over(self, address: IAddress) -> None:
        try:
            inner = self._inner.buildProtocol(address)
            if inner is None:
                raise ConnectionAborted
        except Exception:
            self._failed(Failure())
            return
        self.transport.protocol = inner
        inner.makeConnection(self.transport)
        if self._conversation.rest:
            inner.dataReceived(self._conversation.rest)
        self.done.callback(inner)

    def _failed(self, failure: Failure) -> None:
        self.done.errback(failure)
        self.transport.abortConnection()
