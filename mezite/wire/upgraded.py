"""
A connection inside a WebSocket: what TLS is given in the place of TCP.

An :class:`UpgradedConnection` is the protocol of the outer connection and the
transport of the inner one, at either end. It owns pressure, signs of life and
the end; frames are its :class:`Framing`'s, and the inner protocol knows nothing
of them. ``docs/protocols/connection-upgrade.rst`` is its text.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any, Final
from typing import Protocol as TypingProtocol

from attrs import Factory, define, field
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.wire.overlay import Overlay
from mezite.wire.pressure import Outflow
from mezite.wire.records import Piece
from mezite.wire.websocket import (
    BINARY,
    CLOSE,
    NORMAL,
    PING,
    PING_SECONDS,
    PONG,
    SENT_LENGTH,
    SILENCE_SECONDS,
    BrokenFrames,
    close_payload,
)

# One read of many tiny frames must not keep everybody else waiting: 256 take some 5 ms.
_FRAMES_PER_TURN: Final = 256
# Seconds for the peer's Close after ours.
_LINGER: Final = 5.0


class Framing(TypingProtocol):
    """The frames of one end, as :class:`~mezite.wire.websocket.ClientFrames` has them."""

    def receive(self, data: bytes, /) -> None:
        """Take what arrived."""

    def next_frame(self) -> tuple[int, bytes] | None:
        """
        Take the next frame, or what is there of one with data.

        :raises BrokenFrames:
        """

    def frame(self, opcode: int, payload: bytes = b"", /) -> bytes:
        """Make a frame."""


@implementer(IPushProducer)
@define(eq=False)
class _Room:
    """Hears from the outer connection when it is full, and when it is not."""

    _full: Callable[[], None]
    _relieved: Callable[[], None]

    def pauseProducing(self) -> None:
        self._full()

    def resumeProducing(self) -> None:
        self._relieved()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost will say so."""


class _State(enum.Enum):
    OPEN = "open"
    CLOSING = "closing"  # our Close is out; what still comes is for nobody
    LOST = "lost"


@implementer(ITransport, IConsumer, IPushProducer)
@define(eq=False)
class UpgradedConnection(Overlay, Protocol):
    """
    One WebSocket that carries a connection.

    :param greeting: sent before the first frame.
    :param peer: whom the inner protocol is told that it speaks with, if that is
        not the outer connection's peer.
    """

    _framing: Framing
    _inner: Any
    _clock: IReactorTime
    _greeting: bytes = b""
    _peer: Any = None
    transport: Any = field(init=False, default=None)
    _state: _State = field(init=False, default=_State.OPEN)
    _outflow: Outflow = field(
        init=False, default=Factory(lambda self: Outflow(self._clock), takes_self=True)
    )
    # Why nothing is read now: the inner protocol asked for it, our answers are not being
    # read, or there is more of the last read than one turn may take.
    _paused: bool = field(init=False, default=False)
    _stalled: bool = field(init=False, default=False)
    _turn: IDelayedCall | None = field(init=False, default=None)
    _is_looking_away: bool = field(init=False, default=False)
    _is_reading: bool = field(init=False, default=False)
    _heard_at: float = field(init=False, default=0.0)
    _pinging: IDelayedCall | None = field(init=False, default=None)
    _ending: IDelayedCall | None = field(init=False, default=None)

    _log = Logger()

    # --- what the outer connection calls

    def connectionMade(self) -> None:
        if self._greeting:
            self.transport.write(self._greeting)
        self.transport.registerProducer(_Room(self._outflow.full, self._on_relief), True)
        self._heard_at = self._clock.seconds()
        self._pinging = self._clock.callLater(PING_SECONDS, self._ping)
        self._inner.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        self._heard_at = self._clock.seconds()
        if self._state is not _State.LOST:
            self._framing.receive(data)
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state is _State.OPEN and reason.check(ConnectionDone) is not None:
            # Only a Close frame is an end.
            reason = Failure(ConnectionLost("the peer hung up without saying so"))
        self._state = _State.LOST
        self._stop_timers()
        self._tell_inner(reason)

    def _stop_timers(self) -> None:
        for each in (self._pinging, self._ending, self._turn):
            if each is not None and each.active():
                each.cancel()

    # --- frames in

    def _read(self) -> None:
        if self._is_reading:
            return
        self._is_reading = True
        try:
            self._look_again() if self._read_frames() else self._look_away()
        except BrokenFrames as error:
            self._log.debug("{peer} dropped: {error}", peer=self.getPeer(), error=error)
            self._say(CLOSE, close_payload(error.code))
            self._end(Failure(error))
        finally:
            self._is_reading = False

    def _read_frames(self) -> bool:
        """Take the frames that are there; whether more may be read from the network."""
        for _ in range(_FRAMES_PER_TURN):
            if self._state is _State.LOST:
                return True
            if self._paused or self._stalled:
                return False
            frame = self._framing.next_frame()
            if frame is None:
                return True
            self._take(*frame)
        self._read_later()
        return False

    def _read_later(self) -> None:
        if self._turn is None and self._state is not _State.LOST:
            self._turn = self._clock.callLater(0, self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._read()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            if self._state is _State.OPEN:
                self._say(CLOSE, payload[:2])
            self._end(connectionDone)
        elif self._state is not _State.OPEN:
            pass
        elif opcode == PING:
            self._say(PONG, payload)
            # Who does not read our answers is not asked for more questions.
            self._stalled = self._outflow.is_full
        elif opcode != PONG and self._inner is not None:
            self._inner.dataReceived(payload)

    def _look_away(self) -> None:
        if not self._is_looking_away:
            self._is_looking_away = True
            self.transport.pauseProducing()

    def _look_again(self) -> None:
        if self._is_looking_away:
            self._is_looking_away = False
            # We did not listen: silence counts from now.
            self._heard_at = self._clock.seconds()
            self.transport.resumeProducing()

    # --- signs of life

    def _ping(self) -> None:
        self._pinging = None
        silence = self._clock.seconds() - self._heard_at
        if silence >= SILENCE_SECONDS and not self._is_looking_away:
            self._log.info("{peer} has been silent for too long", peer=self.getPeer())
            self._tell_inner(Failure(ConnectionLost("it has been silent for too long")))
            self.abortConnection()
            return
        if not self._outflow.is_full:
            self._say(PING)
        left = PING_SECONDS if self._is_looking_away else SILENCE_SECONDS - silence
        self._pinging = self._clock.callLater(min(PING_SECONDS, left), self._ping)

    # --- what the inner connection calls

    def write(self, data: bytes) -> None:
        self.writeSequence((data,))

    def writeSequence(self, data: Iterable[Piece]) -> None:
        if self._state is not _State.OPEN:
            return
        whole = b"".join(data)
        # A slice of all of it is no copy.
        self.transport.writeSequence(
            [
                self._framing.frame(BINARY, whole[start : start + SENT_LENGTH])
                for start in range(0, len(whole), SENT_LENGTH)
            ]
        )

    def loseConnection(self) -> None:
        """Say that it is over, and wait a little while for the peer to say the same."""
        if self._state is not _State.OPEN:
            return
        self._say(CLOSE, close_payload(NORMAL))
        self._state = _State.CLOSING
        self._paused = self._stalled = False
        self._ending = self._clock.callLater(_LINGER, self._end, connectionDone)
        self._read_later()

    def abortConnection(self) -> None:
        if self._state is not _State.LOST:
            self._state = _State.LOST
            self._stop_timers()
            self.transport.unregisterProducer()
            self.transport.abortConnection()

    def _end(self, reason: Failure) -> None:
        """Nothing more comes or goes: end the outer connection, once it has sent everything."""
        if self._state is _State.LOST:
            return
        self._state = _State.LOST
        self._stop_timers()
        self.transport.unregisterProducer()
        self._look_again()
        self.transport.loseConnection()
        self._tell_inner(reason)

    def _tell_inner(self, reason: Failure) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connectionLost(reason)

    def _say(self, opcode: int, payload: bytes = b"") -> None:
        if self._state is _State.OPEN:
            self.transport.write(self._framing.frame(opcode, payload))

    @property
    def turn(self) -> int:
        turn: int = self.transport.turn
        return turn

    def getHandle(self) -> Any:
        """Of the TCP connection beneath the outer TLS."""
        return self.transport.transport.getHandle()

    # --- pressure

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._outflow.register(producer, streaming)

    def unregisterProducer(self) -> None:
        self._outflow.unregister()

    def pauseProducing(self) -> None:
        self._paused = True
        if not self._is_reading:
            self._look_away()

    def resumeProducing(self) -> None:
        # Not at once: whoever resumes does not expect to be called before it has returned.
        self._paused = False
        self._read_later()

    def stopProducing(self) -> None:
        self.loseConnection()

    def _on_relief(self) -> None:
        if self._stalled:
            self._stalled = False
            self._read_later()
        self._outflow.relieved()
