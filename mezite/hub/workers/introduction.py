"""
The protocol of a stream between processes, until it has said what it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from mezite.hub.workers.error import BadMessage
from mezite.hub.workers.messages import MessageReader
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import StreamPurpose


@define(eq=False)
class Introduction(Protocol):
    """
    Reads the purpose of a stream, and gives the stream to whom it is for.

    There is no deadline: a process of ours that hangs is noticed by the pings of
    the socket that carries all of its streams.
    """

    _take: Callable[[StreamPurpose, PassedStream], None]
    transport: Any = field(init=False, default=None)
    _reader: MessageReader[StreamPurpose] = field(
        init=False, factory=lambda: MessageReader(StreamPurpose)
    )

    _log = Logger()

    def dataReceived(self, data: bytes) -> None:
        try:
            purpose = next(self._reader.receive(data), None)
            if purpose is None:
                return
            # What follows waits for whoever takes the stream.
            self.transport.pauseProducing()
            self._take(purpose, PassedStream(self.transport, self._reader.rest))
        except BadMessage as error:
            self._log.error("a stream between processes was reset: {error}", error=error)
            self.transport.abortConnection()


@define(eq=False)
class PassedStream:
    """A stream that has said what it is for, and what came behind that."""

    stream: StreamTransport
    _rest: bytes

    def attach(self, protocol: IProtocol) -> None:
        """Let this protocol speak on the stream, with all bytes that come."""
        self.stream.attach(protocol)
        rest, self._rest = self._rest, b""
        if rest:
            protocol.dataReceived(rest)
        self.stream.resumeProducing()

    def take_rest(self) -> bytes:
        """What came, for one who attaches to the stream itself."""
        rest, self._rest = self._rest, b""
        return rest

    def abortConnection(self) -> None:
        self.stream.abortConnection()
