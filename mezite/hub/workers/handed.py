"""
A connection whose TLS another process has ended, as control's listeners see it.

A :class:`HandedTransport` stands where a :class:`~mezite.wire.transport.TLSTransport`
stands in a hub of one process. No byte flows before control has said where it flows:
here, once somebody reads or writes, or at the worker, by :meth:`HandedTransport.join`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from cryptography import x509
from OpenSSL import crypto
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.hub.workers.error import BadMessage
from mezite.hub.workers.messages import MessageReader, address_of, certificate_of, encode
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import Handed, Here, Join, Joined, Verdict
from mezite.wire.secured import ISecured
from mezite.wire.splice import Spliced

if TYPE_CHECKING:
    from mezite.hub.workers.fartunnels import FarStream


class _Way(enum.Enum):
    UNSAID = "unsaid"
    HERE = "here"
    ELSEWHERE = "elsewhere"


@implementer(ISecured, ITCPTransport, IConsumer, IPushProducer)
@define(eq=False)
class HandedTransport:
    """
    One connection at a worker.

    :param stream: in which it is handed over; paused.
    :raises BadMessage: what was told of the connection cannot be.
    """

    stream: StreamTransport
    negotiatedProtocol: bytes | None
    server_name: str | None
    peer_certificate: x509.Certificate | None
    _peer: IAddress
    _host: IAddress
    # Told once that the connection is over.
    _over: Callable[[HandedTransport], None]
    _way: _Way = field(init=False, default=_Way.UNSAID)
    _is_paused: bool = field(init=False, default=False)
    _is_attached: bool = field(init=False, default=False)

    @classmethod
    def of(
        cls, stream: StreamTransport, told: Handed, over: Callable[[HandedTransport], None]
    ) -> HandedTransport:
        """
        The connection that was handed over in this stream, which is paused.

        :raises BadMessage: what was told of the connection cannot be.
        """
        return cls(
            stream,
            told.protocol or None,
            told.server_name or None,
            certificate_of(told.certificate),
            address_of(told.peer),
            address_of(told.host),
            over,
        )

    @property
    def is_undecided(self) -> bool:
        """Whether the worker has not been told where the bytes flow."""
        return self._way is _Way.UNSAID

    def settle(self) -> None:
        """A listener has been chosen: begin, unless it waits, or there is none."""
        if not self._is_attached:
            self.over()
            self.stream.loseConnection()
        elif not self._is_paused:
            self._here()
            self.stream.resumeProducing()

    def join(self, far: FarStream) -> Deferred[Spliced]:
        """
        Let the worker join the connection with a stream of a tunnel.

        The Deferred fires when both have gone; cancelling it ends both.
        """
        self._way = _Way.ELSEWHERE
        joining = _Joining(self.stream)
        self.stream.attach(joining)
        number, tunnel = far.mux.place
        join = Join(worker=number, tunnel=tunnel, preface=far.leave_to(self))
        self.stream.write(encode(Verdict(join=join)))
        self.stream.resumeProducing()
        return joining.done

    def over(self) -> None:
        """Nobody speaks on it any more."""
        self._over(self)

    def _here(self) -> None:
        if self._way is _Way.UNSAID:
            self._way = _Way.HERE
            self.stream.write(encode(Verdict(here=Here())))

    # As splice() and listeners use it.

    def attach(self, protocol: IProtocol) -> None:
        self._is_attached = True
        introduced: Any = _Introduced(protocol, self)
        self.stream.attach(introduced)

    def write(self, data: bytes) -> None:
        self._here()
        self.stream.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.stream.loseConnection()

    def loseWriteConnection(self) -> None:
        self._here()
        self.stream.loseWriteConnection()

    def abortConnection(self) -> None:
        self.stream.abortConnection()

    @property
    def disconnecting(self) -> bool:
        return self.stream.disconnecting

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.stream.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.stream.unregisterProducer()

    def pauseProducing(self) -> None:
        self._is_paused = True
        self.stream.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._here()
        self.stream.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    # The rest of what a transport says of itself.

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    def getPeerCertificate(self) -> crypto.X509 | None:
        if self.peer_certificate is None:
            return None
        return crypto.X509.from_cryptography(self.peer_certificate)

    def getTcpNoDelay(self) -> bool:
        """Always: the worker's TLS sees to it."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""

    def getTcpKeepAlive(self) -> bool:
        """Always: the worker's TLS sees to it."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Do nothing."""


@define(eq=False)
class _Introduced:
    """
    A protocol, on the stream of a connection that was handed over.

    It meets the connection as its transport; everything else goes to it directly.
    """

    _protocol: Any
    _transport: HandedTransport
    # Looked up by the stream when this is attached.
    dataReceived: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dataReceived = self._protocol.dataReceived

    def __conform__(self, interface: Any) -> Any:
        if interface is IHalfCloseableProtocol:
            return IHalfCloseableProtocol(self._protocol, None)
        return None

    def makeConnection(self, transport: object) -> None:
        self._protocol.makeConnection(self._transport)

    def connectionLost(self, reason: Failure) -> None:
        self._transport.over()
        self._protocol.connectionLost(reason)


@define(eq=False)
class _Joining(Protocol):
    """The stream of a connection that the worker has joined with a tunnel."""

    _stream: StreamTransport
    done: Deferred[Spliced] = field(init=False)
    _reader: MessageReader[Joined] = field(init=False, factory=lambda: MessageReader(Joined))
    _joined: Joined | None = field(init=False, default=None)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.done = Deferred(lambda _: self._stream.abortConnection())

    def dataReceived(self, data: bytes) -> None:
        try:
            for joined in self._reader.receive(data):
                self._joined = joined
        except BadMessage as error:
            self._log.error("the end of a session is not understood: {error}", error=error)
            self._stream.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        joined, failure = self._joined, None
        if joined is None:
            # Ended from here, or its worker is gone; what it carried is not known.
            self.done.callback(Spliced(0, 0, reason))
            return
        if joined.error:
            failure = Failure(ConnectionLost(joined.error))
        self.done.callback(
            Spliced(joined.from_person, joined.from_node, failure, joined.is_finished)
        )
