"""
Streams of a tunnel, as ordinary client connections.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from mezite.mux.protocol import MuxProtocol


@implementer(IStreamClientEndpoint)
class MuxClientEndpoint:
    """
    Connects by opening a stream.

    It does not wait for the peer to accept, which would cost a round trip: a
    refused stream shows as ``connectionLost``.
    """

    def __init__(self, mux: MuxProtocol) -> None:
        self._mux = mux

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return execute(self._connect, protocolFactory)

    def _connect(self, factory: IProtocolFactory) -> IProtocol:
        stream = self._mux.open_stream()
        protocol = factory.buildProtocol(stream.getPeer())
        if protocol is None:
            stream.abortConnection()
            raise ConnectionRefusedError("the factory built no protocol")
        stream.attach(protocol)
        return protocol
