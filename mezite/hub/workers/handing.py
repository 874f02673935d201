"""
Finished connections, from a worker to control; and their bytes, to where control says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.hub.workers.error import BadMessage
from mezite.hub.workers.messages import MessageReader, address_message, encode
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.resume import frames
from mezite.rpc.proto.worker_pb2 import Handed, Join, Joined, StreamPurpose, Verdict
from mezite.ssh.refusal import refusal
from mezite.wire.alpn import MEZITE_SSH_RESUME
from mezite.wire.splice import Spliced, splice

# Control itself waits for nothing longer than ten seconds before it answers.
_VERDICT_SECONDS: Final = 30.0

# What opens a stream in a worker's tunnel: both numbers, as in a Join.
Reach = Callable[[int, int], StreamTransport]


class HandingFactory(Factory):
    """The listener of every route but that of tunnels."""

    noisy = False

    def __init__(self, link: MuxProtocol, reach: Reach, clock: IReactorTime) -> None:
        self.link = link
        self.reach = reach
        self.clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Handing(self)


@define(eq=False)
class _Handing(Protocol):
    """A person's connection, until control has said where its bytes flow."""

    _factory: HandingFactory
    transport: Any = field(init=False, default=None)
    _stream: StreamTransport | None = field(init=False, default=None)

    _log = Logger()

    def connectionMade(self) -> None:
        # Nothing is read before there is a place to put it.
        self.transport.pauseProducing()
        certificate = self.transport.peer_certificate
        handed = Handed(
            protocol=self.transport.negotiatedProtocol or b"",
            server_name=self.transport.server_name or "",
            peer=address_message(self.transport.getPeer()),
            host=address_message(self.transport.getHost()),
            certificate=b"" if certificate is None else certificate.public_bytes(Encoding.DER),
        )
        try:
            self._stream = stream = self._factory.link.open_stream()
        except MeziteError as error:
            self._log.warn("a connection could not be handed over: {error}", error=error)
            self.transport.abortConnection()
            return
        stream.write(encode(StreamPurpose(handed=handed)))
        stream.attach(_Awaiting(self._factory, self.transport, stream))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._stream is not None:
            self._stream.abortConnection()


@define(eq=False)
class _Awaiting(Protocol):
    """The stream of a connection that was handed over."""

    _factory: HandingFactory
    _person: Any
    _stream: StreamTransport
    transport: Any = field(init=False, default=None)
    _reader: MessageReader[Verdict] = field(init=False, factory=lambda: MessageReader(Verdict))
    _deadline: IDelayedCall | None = field(init=False, default=None)
    _joined: Deferred[Spliced] | None = field(init=False, default=None)

    _log = Logger()

    def connectionMade(self) -> None:
        self._deadline = self._factory.clock.callLater(_VERDICT_SECONDS, self._expired)

    def dataReceived(self, data: bytes) -> None:
        try:
            verdict = next(self._reader.receive(data), None)
            if verdict is None:
                return
            self._stop_waiting()
            match verdict.WhichOneof("way"):
                case "here":
                    self._person.write(self._reader.rest)
                    splice(self._person, self._stream)
                case "join" if self._joined is None:
                    self._join(verdict.join)
                case other:
                    raise BadMessage(f"control said {other} of a connection")
        except BadMessage as error:
            self._log.error("a connection was dropped: {error}", error=error)
            self._stop_waiting()
            self._stream.abortConnection()
            self._person.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        if self._joined is not None:
            # Nothing, if it is over.
            self._joined.cancel()
        else:
            # Refused, or control has gone.
            self._person.loseConnection()

    def _join(self, join: Join) -> None:
        try:
            stream = self._factory.reach(join.worker, join.tunnel)
        except MeziteError as error:
            self._refuse(error)
            return
        stream.write(join.preface)
        self._joined = splice(self._person, stream)
        # Who cancels it has nobody to tell.
        self._joined.addCallbacks(self._over, lambda _: None)

    def _refuse(self, error: MeziteError) -> None:
        """The tunnel has just gone, or is full: say so as control would."""
        can_resume = self._person.negotiatedProtocol == MEZITE_SSH_RESUME
        said = frames.refused(frames.NOT_NOW, str(error)) if can_resume else refusal(str(error))
        self._person.write(said)
        self._person.loseConnection()
        self._say(Joined(error=str(error)))

    def _over(self, spliced: Spliced) -> None:
        failure = spliced.failure
        error = "" if failure is None else failure.getErrorMessage() or "lost"
        self._say(
            Joined(
                from_person=spliced.from_left,
                from_node=spliced.from_right,
                error=error,
                is_finished=spliced.is_finished,
            )
        )

    def _say(self, joined: Joined) -> None:
        self._stream.write(encode(joined))
        self._stream.loseConnection()

    def _expired(self) -> None:
        self._deadline = None
        self._log.error("nobody said where a connection goes; it was dropped")
        self._stream.abortConnection()
        self._person.abortConnection()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
