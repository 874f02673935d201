"""
Tunnels that a worker holds, as control knows them.

A :class:`FarMux` stands where a :class:`~mezite.mux.protocol.MuxProtocol` stands in a hub
of one process; the stream in which the worker has announced the tunnel lasts as long as
the tunnel. A :class:`FarStream` is no stream at all before control itself speaks on it:
most are left to the worker that has their person's connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from attrs import define, field, frozen
from cryptography import x509
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.hub.workers.error import BadMessage, WorkerGone
from mezite.hub.workers.introduction import PassedStream
from mezite.hub.workers.messages import MessageReader, encode
from mezite.mux.error import MuxClosed, TooManyStreams
from mezite.mux.limits import DEFAULT_LIMITS
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import OfTunnel, StreamPurpose, TunnelCommand, TunnelDown

if TYPE_CHECKING:
    from mezite.hub.workers.handed import HandedTransport

# What one may write to a stream before it is decided who speaks on it: a header.
_PREFACE: Final = 8192


@frozen
class _Facts:
    """What is known of the connection that carries the tunnel."""

    peer_certificate: x509.Certificate | None


class FarMux:
    """
    The mux of one tunnel at a worker.

    :param place: the worker's number, and the tunnel's there.
    :param open_stream: opens a stream to that worker.
    """

    def __init__(
        self,
        place: tuple[int, int],
        certificate: x509.Certificate | None,
        open_stream: Callable[[], StreamTransport],
        *,
        accept: Callable[[Any], None],
        on_up: Callable[[], None],
        on_down: Callable[[Failure], None],
    ) -> None:
        self.place = place
        self.transport = _Facts(certificate)
        self.leash = _Leash(self)
        self._open_stream = open_stream
        self._accept = accept
        self._on_up = on_up
        self._on_down = on_down
        self._is_there = False
        self._is_leaving = False
        # Weakly: whoever speaks on one holds it.
        self._streams: WeakSet[Any] = WeakSet()

    @property
    def is_up(self) -> bool:
        """Whether streams may be opened as far as we know."""
        return self._is_there and not self._is_leaving

    @property
    def stream_count(self) -> int:
        return sum(not stream.disconnecting for stream in tuple(self._streams))

    def open_stream(self) -> FarStream:
        """
        A stream to the agent; whether it can be opened shows later.

        :raises MuxClosed: if the tunnel is down or going down.
        :raises TooManyStreams: at the tunnel's limit.
        """
        if not self.is_up:
            raise MuxClosed("the tunnel is down")
        if self.stream_count >= DEFAULT_LIMITS.streams:
            raise TooManyStreams("too many streams are open in the tunnel")
        stream = FarStream(self)
        self._streams.add(stream)
        return stream

    def go_away(self) -> None:
        """Take no new streams; the tunnel closes when the last one has ended."""
        if self.is_up:
            self._is_leaving = True
            self.leash.command(TunnelCommand.GO_AWAY)

    def close(self) -> None:
        """Say goodbye and close the tunnel, with every stream in it."""
        if self._is_there:
            self._is_leaving = True
            self.leash.command(TunnelCommand.CLOSE)

    def abort(self) -> None:
        """Drop the tunnel without a word."""
        self._is_leaving = True
        self.leash.drop()

    # For the worker's link.

    def up(self) -> None:
        self._is_there = True
        self._on_up()

    def down(self, reason: Failure) -> None:
        if self._is_there:
            self._is_there = False
            self._on_down(reason)

    def offered(self, stream: PassedStream) -> None:
        """The agent opened a stream."""
        self._streams.add(stream.stream)
        self._accept(stream)

    def reach(self) -> StreamTransport:
        """A stream to the worker that goes on to the agent."""
        stream = self._open_stream()
        stream.write(encode(StreamPurpose(to_agent=OfTunnel(tunnel=self.place[1]))))
        return stream


class _Leash(Protocol):
    """Control's end of the stream that lasts as long as a tunnel."""

    transport: Any
    _log = Logger()

    def __init__(self, mux: FarMux) -> None:
        self._mux = mux
        self._reader = MessageReader(TunnelDown)
        self._reason: Failure | None = None

    def connectionMade(self) -> None:
        self._mux.up()

    def dataReceived(self, data: bytes) -> None:
        try:
            for down in self._reader.receive(data):
                self._reason = Failure(MuxClosed(down.reason))
        except BadMessage as error:
            self._log.error("the end of a tunnel is not understood: {error}", error=error)
            self.drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._mux.down(self._reason or Failure(WorkerGone(self._mux.place[0])))

    def command(self, act: TunnelCommand.Act.ValueType) -> None:
        if self.transport is not None:
            self.transport.write(encode(TunnelCommand(act=act)))

    def drop(self) -> None:
        self._reason = self._reason or Failure(MuxClosed("the tunnel was dropped"))
        if self.transport is not None:
            self.transport.abortConnection()


@define(eq=False)
class FarStream:
    """
    A stream in a tunnel at a worker.

    What is written at first is kept until it is decided who carries the rest: control,
    from the first other call on, or the worker, by :meth:`leave_to`.
    """

    mux: FarMux
    _preface: bytes = field(init=False, default=b"")
    _stream: StreamTransport | None = field(init=False, default=None)
    _left_to: HandedTransport | None = field(init=False, default=None)
    _is_over: bool = field(init=False, default=False)

    def leave_to(self, connection: HandedTransport) -> bytes:
        """The worker joins it with this connection; what comes first on it."""
        self._left_to = connection
        preface, self._preface = self._preface, b""
        return preface

    @property
    def is_untouched(self) -> bool:
        """Whether it may still be left to a worker."""
        return self._stream is None and self._left_to is None and not self._is_over

    @property
    def disconnecting(self) -> bool:
        taken = self._stream or self._left_to
        return self._is_over or (taken is not None and taken.disconnecting)

    def write(self, data: bytes) -> None:
        if self.is_untouched and len(self._preface) + len(data) <= _PREFACE:
            self._preface += data
        elif not self._is_over:
            self._real().write(data)

    def attach(self, protocol: IProtocol) -> None:
        self._real().attach(protocol)

    def loseConnection(self) -> None:
        if self.is_untouched:
            self._is_over = True
        elif not self._is_over:
            self._real().loseConnection()

    def loseWriteConnection(self) -> None:
        self._real().loseWriteConnection()

    def abortConnection(self) -> None:
        taken = self._stream or self._left_to
        self._is_over = True
        if taken is not None:
            taken.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._real().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._real().unregisterProducer()

    def pauseProducing(self) -> None:
        self._real().pauseProducing()

    def resumeProducing(self) -> None:
        self._real().resumeProducing()

    def _real(self) -> StreamTransport:
        if self._stream is None:
            try:
                stream = self.mux.reach()
            except MeziteError:
                self._is_over = True
                raise
            self._stream = stream
            preface, self._preface = self._preface, b""
            stream.write(preface)
        return self._stream
