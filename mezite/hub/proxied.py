"""
Connections that come through a load balancer, until they have said for whom.

The balancers that are trusted begin each connection with a PROXY header
(:mod:`mezite.wire.proxyheader`); what follows is TLS, of the client that the
header names. From anybody else a header is what it looks like: no TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.names import HostPort
from mezite.wire.proxyheader import BadProxyHeader, ProxyHeaderReader
from mezite.wire.transport import TLSTransport


@define(eq=False)
class ProxiedConnection(Protocol):
    """
    Reads the header, then lets TLS have the TCP transport.

    :param secure: the TLS connection of a client at this address, or None if
        there are too many; called once.
    :param ended: called once, when this is over in whatever way.
    """

    _address: IAddress
    _secure: Callable[[IAddress], TLSTransport | None]
    _ended: Callable[[], None]
    _clock: IReactorTime
    _timeout: float
    transport: Any = field(init=False, default=None)
    _reader: ProxyHeaderReader = field(init=False, factory=ProxyHeaderReader)
    _timer: IDelayedCall | None = field(init=False, default=None)

    _log = Logger()

    def connectionMade(self) -> None:
        self._timer = self._clock.callLater(self._timeout, self._timed_out)

    def dataReceived(self, data: bytes) -> None:
        try:
            read = self._reader.receive(data)
        except BadProxyHeader as error:
            self._log.warn(
                "{balancer} is a source of the PROXY protocol, but {error}",
                balancer=self._address,
                error=error,
            )
            self.transport.abortConnection()
            return
        if read is None:
            return
        header, rest = read
        self._end()
        client = self._address if header.source is None else _address_of(header.source)
        tls = self._secure(client)
        if tls is None:
            self.transport.abortConnection()
            return
        self.transport.protocol = tls
        tls.makeConnection(self.transport)
        if rest:
            tls.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()

    def _timed_out(self) -> None:
        self._timer = None
        self.transport.abortConnection()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ended, self._ended = self._ended, _nothing
        ended()


def _nothing() -> None:
    """What ended has no second end."""


def _address_of(place: HostPort) -> IAddress:
    kind = IPv6Address if ":" in place.host else IPv4Address
    return kind("TCP", place.host, place.port)
