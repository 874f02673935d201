"""
Serving unary gRPC calls over any Twisted transport.

Owns the set of connections, and their end; each of them is a
:class:`mezite.rpc.serving.GrpcServerProtocol`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import (
    IAddress,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Factory

from mezite.rpc.calls import Call as Call
from mezite.rpc.calls import Caller as Caller
from mezite.rpc.calls import Method as Method
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.serving import GrpcServerProtocol


class GrpcServerFactory(Factory):
    """Serves the same methods, by path, on each connection it is given."""

    noisy = False

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        caller_of: Callable[[ITransport], Caller],
        clock: IReactorTime,
        limits: GrpcLimits | None = None,
    ) -> None:
        """
        ``caller_of`` is called once for each connection, when it is made; a
        MeziteError that it raises is the answer to every call there.
        """
        self.methods = methods
        self.caller_of = caller_of
        self.clock = clock
        self.limits = GrpcLimits() if limits is None else limits
        self.connections: set[GrpcServerProtocol] = set()
        self._draining = False

    def buildProtocol(self, addr: IAddress | None) -> GrpcServerProtocol | None:
        if self._draining:
            return None
        protocol = GrpcServerProtocol(self)
        self.connections.add(protocol)
        return protocol

    def drain(self) -> Deferred[None]:
        """
        Take no more calls; fires when those under way and their connections have ended.

        The deadlines of calls and connections are the bound of this wait.
        """
        self._draining = True
        connections = tuple(self.connections)
        for connection in connections:
            connection.drain()
        ended = DeferredList([connection.closed for connection in connections])
        return ended.addCallback(lambda _: None)
