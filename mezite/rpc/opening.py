"""
How a stream in a tunnel is opened: its header, put on a transport and taken off it.

The header's bytes are :mod:`mezite.rpc.streamheader`'s. This reads it from a
stream that the peer opened, within a deadline, and gives the stream away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import BadStreamHeader, StreamHeaderReader

# The header is in the first bytes that the peer sends; a tunnel that takes longer is stuck.
HEADER_SECONDS: Final = 10.0


@define(eq=False)
class Opening(Protocol):
    """
    The protocol of a stream until its header has come.

    ``choose`` says who speaks on the stream, or ``None`` to reset it; that
    protocol gets the stream with every byte that came behind the header.
    """

    _clock: IReactorTime
    _choose: Callable[[StreamHeader], IProtocol | None]
    transport: Any = field(init=False, default=None)
    _reader: StreamHeaderReader = field(init=False, factory=StreamHeaderReader)
    _deadline: IDelayedCall | None = field(init=False, default=None)

    _log = Logger()

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(HEADER_SECONDS, self._expired)

    def dataReceived(self, data: bytes) -> None:
        try:
            complete = self._reader.receive(data)
        except BadStreamHeader as error:
            self._reset(str(error))
            return
        if complete is None:
            return
        self._stop_waiting()
        header, rest = complete
        protocol = self._choose(header)
        if protocol is None:
            self._reset(f"there is no service {header.service[:40]!r}")
            return
        self.transport.pauseProducing()
        self.transport.attach(protocol)
        if rest:
            protocol.dataReceived(rest)
        self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()

    def _expired(self) -> None:
        self._deadline = None
        self._reset(f"its header did not come within {HEADER_SECONDS:g} s")

    def _reset(self, why: str) -> None:
        self._stop_waiting()
        self._log.warn("a stream was reset: {why}", why=why)
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
