"""
The tunnels that a worker holds.

Each is announced to control by a stream that lasts as long as the tunnel; streams go from
agents to control, and from control or a neighbour to agents.
"""

from __future__ import annotations

import itertools
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.hub.workers.error import BadMessage
from mezite.hub.workers.introduction import PassedStream
from mezite.hub.workers.messages import MessageReader, address_message, encode
from mezite.mux.error import MuxClosed
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import OfTunnel, StreamPurpose, TunnelCommand, TunnelDown, TunnelUp
from mezite.wire.splice import splice
from mezite.wire.transport import TLSTransport


class NearTunnels(Factory):
    """The listener of agents' tunnels in a worker, and the tunnels by their numbers here."""

    noisy = False
    _log = Logger()

    def __init__(self, link: MuxProtocol, clock: IReactorTime) -> None:
        self.link = link
        self.clock = clock
        self._numbers = itertools.count(1)
        self._tunnels: dict[int, MuxProtocol] = {}

    def __len__(self) -> int:
        return len(self._tunnels)

    def buildProtocol(self, addr: IAddress | None) -> MuxProtocol:
        return _NearTunnel(self, next(self._numbers)).mux

    def add(self, number: int, mux: MuxProtocol) -> None:
        self._tunnels[number] = mux

    def remove(self, number: int) -> None:
        self._tunnels.pop(number, None)

    def open_stream(self, tunnel: int) -> StreamTransport:
        """
        A new stream to the agent.

        :raises MuxClosed: the tunnel has gone.
        :raises TooManyStreams: at the tunnel's limit.
        """
        mux = self._tunnels.get(tunnel)
        if mux is None:
            raise MuxClosed("the node's connection has just gone: try again")
        return mux.open_stream()

    def carry(self, tunnel: int, passed: PassedStream) -> None:
        """Join a stream that control or a neighbour opened with one to the agent."""
        try:
            stream = self.open_stream(tunnel)
        except MeziteError as error:
            self._log.info("a stream to an agent was reset: {error}", error=error)
            passed.abortConnection()
            return
        stream.write(passed.take_rest())
        splice(passed.stream, stream)


class _NearTunnel:
    """One agent's tunnel."""

    _log = Logger()

    def __init__(self, tunnels: NearTunnels, number: int) -> None:
        self._tunnels = tunnels
        self._number = number
        self._leash: StreamTransport | None = None
        self.mux = MuxProtocol(
            role=Role.SERVER,
            clock=tunnels.clock,
            accept=self._accept,
            on_up=self._up,
            on_down=self._down,
        )

    def _up(self) -> None:
        carrier: Any = self.mux.transport
        told = TunnelUp(
            tunnel=self._number,
            peer=address_message(carrier.getPeer()),
            certificate=carrier.peer_certificate.public_bytes(Encoding.DER),
        )
        if isinstance(carrier, TLSTransport):
            carrier.forget_peer()
        try:
            self._leash = leash = self._tunnels.link.open_stream()
        except MeziteError as error:
            self._log.warn("a tunnel could not be announced: {error}", error=error)
            self.mux.abort()
            return
        self._tunnels.add(self._number, self.mux)
        leash.write(encode(StreamPurpose(tunnel=told)))
        leash.attach(_Leash(self.mux))

    def _accept(self, stream: StreamTransport) -> None:
        try:
            to_control = self._tunnels.link.open_stream()
        except MeziteError as error:
            self._log.warn("an agent's stream was refused: {error}", error=error)
            stream.abortConnection()
            return
        to_control.write(encode(StreamPurpose(from_agent=OfTunnel(tunnel=self._number))))
        splice(stream, to_control)

    def _down(self, reason: Failure) -> None:
        self._tunnels.remove(self._number)
        if self._leash is not None:
            self._leash.write(encode(TunnelDown(reason=reason.getErrorMessage())))
            self._leash.loseConnection()


@define(eq=False)
class _Leash(Protocol):
    """The worker's end of the stream that lasts as long as a tunnel."""

    _mux: MuxProtocol
    _reader: MessageReader[TunnelCommand] = field(
        init=False, factory=lambda: MessageReader(TunnelCommand)
    )

    _log = Logger()

    def dataReceived(self, data: bytes) -> None:
        try:
            for command in self._reader.receive(data):
                if command.act == TunnelCommand.GO_AWAY:
                    self._mux.go_away()
                elif command.act == TunnelCommand.CLOSE:
                    self._mux.close()
                else:
                    raise BadMessage(f"control wants {command.act} of a tunnel")
        except BadMessage as error:
            self._log.error("a tunnel was dropped: {error}", error=error)
            self._mux.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._mux.abort()
