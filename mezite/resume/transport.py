"""
A transport that outlives what carries it.

A :class:`ResumableTransport` puts a :class:`~mezite.resume.link.Link` on one
transport after the other, its *legs*, and looks to a protocol like one TCP connection.
Where the next leg comes from, and for how long it is waited for, is its owner's
to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.resume.error import LocalResumeError, RemoteResumeError
from mezite.resume.leg import Leg
from mezite.resume.link import Event, Link
from mezite.resume.pressure import Pressure
from mezite.resume.silence import Silence

# What came and was not acknowledged by its size is after so long: a sign of life, too, where
# 256 KiB take long.
ACKNOWLEDGE_SECONDS: Final = 1.0
# The last words of a protocol that is gone are kept for so long without anybody taking some.
LINGER_SECONDS: Final = 300.0


@implementer(ITCPTransport, IConsumer, IPushProducer)
class ResumableTransport:
    """
    One connection.

    ``on_cut`` is called when a leg is gone and the connection is not over;
    ``on_over`` once, when there is nothing left to carry.
    No method here calls the protocol back before it returns, but ``attach``,
    ``carry`` and ``give_up``.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        on_cut: Callable[[], None],
        on_over: Callable[[], None],
        is_client: bool = False,
    ) -> None:
        """
        :param is_client: the side that dials. It looks into silence, and what it ends it
            does not come back for.
        """
        self.link = Link()
        self.disconnecting = False
        # Whether what was said last may wait for a client that is away, or slow.
        self.keeps_last_words = False
        # The last leg ended in order: who led to the other end takes the connection for over.
        self.was_closed = False
        self._clock = clock
        self._on_cut = on_cut
        self._on_over = on_over
        self._is_client = is_client
        self._protocol: IProtocol | None = None
        self._leg: Leg | None = None
        self._pressure = Pressure()
        self._is_reading_paused = False
        self._is_over = False
        self._acknowledging: IDelayedCall | None = None
        self._lingering: IDelayedCall | None = None
        self._silence = Silence(
            clock,
            is_heard=lambda: not self._is_reading_paused,
            ask=self._ask,
            over=self._nobody_there,
        )
        self._address: tuple[Any, Any] = (None, None)

    # To the owner.

    @property
    def is_carried(self) -> bool:
        """Whether there is a leg now."""
        return self._leg is not None

    def attach(self, protocol: IProtocol) -> None:
        """Let this protocol speak on the connection; to be called once."""
        self._protocol = protocol
        protocol.makeConnection(self)

    def carry(self, transport: Any, received: int, rest: bytes = b"") -> None:
        """
        Go on over this transport, whose greeting is over.

        A leg that is there is dropped: the newest is the one that lives.

        :param received: how many of our bytes the peer said that it has.
        :param rest: what came behind the greeting.
        :raises RemoteResumeError: if that cannot be.
        """
        # If this raises, nothing has changed.
        self.link.carried(received)
        before, self._leg = self._leg, None
        self._cancel_timers()
        if before is not None:
            before.own.abortConnection()
        self._address = transport.getPeer(), transport.getHost()
        leg = self._leg = Leg(self, transport)
        if self._is_client:
            self._silence.watch()
        transport.attach(leg)
        if self._leg is not leg:
            return
        self._flush()
        if self.link.is_over:
            # The greetings have said the rest.
            self._end(Failure(ConnectionDone()))
            return
        if rest:
            self.leg_received(leg, rest)
        if self._leg is leg:
            if self._is_reading_paused:
                transport.pauseProducing()
            else:
                transport.resumeProducing()
            self._apply_pressure()

    def give_up(self, reason: Failure) -> None:
        """Nobody comes for it any more."""
        self._end(reason)

    # ITransport and ITCPTransport.

    def write(self, data: bytes) -> None:
        if not data or not self.link.is_writable or self._protocol is None:
            return
        try:
            self.link.send(data)
        except LocalResumeError:
            failure = Failure()
            self._log.failure("a resumable connection ends: its writer does not wait")
            self.disconnecting = True
            self._reset()
            self._clock.callLater(0, self._end, failure)
            return
        self._flush()
        self._apply_pressure()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """
        End after what was written, and read no more.

        An agent's protocol is told when the other end has all of it, or when nothing
        carries the connection: what was written is kept for a client that returns.
        """
        if self.disconnecting:
            return
        self.disconnecting = True
        self.loseWriteConnection()
        if self._is_client and not self._is_over:
            self._reset()
            self._clock.callLater(0, self._end, Failure(ConnectionDone()))
        elif self._leg is None:
            self._tell_lost_soon(Failure(ConnectionDone()))

    def loseWriteConnection(self) -> None:
        if self.link.is_writable:
            self.link.finish()
            self._flush()
            if self.link.is_over:
                self._end(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """Drop it for good; unless last words are kept, which the peer may still come for."""
        if self._is_over:
            return
        self.disconnecting = True
        if self.link.is_writable or not self.keeps_last_words:
            self._reset()
            self._clock.callLater(0, self._end, Failure(ConnectionAborted()))
        else:
            self._tell_lost_soon(Failure(ConnectionAborted()))

    def getPeer(self) -> Any:
        return self._address[0]

    def getHost(self) -> Any:
        return self._address[1]

    def getTcpNoDelay(self) -> bool:
        """Always: nothing is held back."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""

    def getTcpKeepAlive(self) -> bool:
        """Always: the legs see to it."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Do nothing."""

    # IPushProducer: the protocol slows the peer down.

    def pauseProducing(self) -> None:
        self._is_reading_paused = True
        if self._leg is not None:
            self._leg.own.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_reading_paused = False
        # Silence while nobody listened means nothing.
        self._silence.heard()
        if self._leg is not None:
            self._leg.own.resumeProducing()

    def stopProducing(self) -> None:
        self.loseConnection()

    # IConsumer: the peer slows the producer down.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not streaming:
            raise NotImplementedError("a resumable connection is for producers that push")
        if self._protocol is None or not self.link.is_writable:
            producer.stopProducing()
            return
        self._pressure.register(producer)
        self._apply_pressure()

    def unregisterProducer(self) -> None:
        self._pressure.unregister()

    def _apply_pressure(self) -> None:
        self._pressure.apply(
            has_room=self._leg is not None and not self._leg.is_full,
            unacknowledged=self.link.unacknowledged,
        )

    # From the leg.

    def leg_received(self, leg: Leg, data: bytes) -> None:
        if leg is not self._leg:
            return
        self._silence.heard()
        try:
            events = self.link.receive(data, answers=not leg.is_full)
        except RemoteResumeError as error:
            self._log.warn("a resumable connection broke: {error}", error=error)
            self._drop_leg()
            self._end(Failure(error))
            return
        # Data comes before an end. In one piece, since each costs SSH as much as a packet.
        pieces = [event for event in events if isinstance(event, memoryview)]
        if pieces:
            self._deliver(bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces))
        for event in events[len(pieces) :]:
            if event is Event.ENDED:
                self._peer_ended()
            else:
                self._end(Failure(ConnectionLost("the other end dropped the connection")))
                return
        if self.link.is_over:
            self._flush()
            self._end(Failure(ConnectionDone()))
            return
        if self._leg is leg:
            self._flush()
            if self.link.owes_acknowledgement and self._acknowledging is None:
                self._acknowledging = self._clock.callLater(ACKNOWLEDGE_SECONDS, self._acknowledge)
        self._apply_pressure()

    def _deliver(self, data: bytes) -> None:
        if self._protocol is None or self.disconnecting:
            return
        try:
            self._protocol.dataReceived(data)
        except Exception:
            failure = Failure()
            self._log.failure("a bug ended a resumable connection", failure=failure)
            self._reset()
            self._end(failure)

    def _peer_ended(self) -> None:
        protocol = IHalfCloseableProtocol(self._protocol, None)
        if protocol is not None and not self.disconnecting:
            protocol.readConnectionLost()
            return
        if self.link.is_writable:
            self.link.finish()
        self._tell_lost(Failure(ConnectionDone()))

    def leg_lost(self, leg: Leg) -> None:
        if leg is not self._leg:
            return
        self._leg = None
        self.was_closed = leg.was_closed
        self.link.cut()
        self._cancel_timers()
        if self._is_over:
            return
        self._apply_pressure()
        if self.disconnecting:
            self._tell_lost_soon(Failure(ConnectionDone()))
        self._on_cut()

    def leg_changed(self) -> None:
        self._apply_pressure()

    # How it is done.

    def _flush(self) -> None:
        output = self.link.take_output()
        if self._leg is not None and output:
            # In one piece: a header that travels apart costs the hub as much as its data.
            self._leg.own.write(output[0] if len(output) == 1 else b"".join(output))

    def _reset(self) -> None:
        """Tell the peer that it need not come back, before the process may end."""
        if not self.link.is_over:
            self.link.reset()
            self._flush()
        self._let_go()

    def _acknowledge(self) -> None:
        self._acknowledging = None
        self.link.acknowledge()
        self._flush()

    def _ask(self) -> None:
        self.link.ping()
        self._flush()

    def _nobody_there(self) -> None:
        self._drop_leg()
        self._apply_pressure()
        self._on_cut()

    def _let_go(self) -> None:
        """Close the leg; behind what was written, if that is taken."""
        if self._leg is None or (self._leg.is_full and not self._is_client):
            self._drop_leg()
            return
        leg, self._leg = self._leg, None
        self.was_closed = True
        self.link.cut()
        self._cancel_timers()
        leg.close()

    def _drop_leg(self) -> None:
        leg, self._leg = self._leg, None
        self.link.cut()
        self._cancel_timers()
        if leg is not None:
            self.was_closed = False
            leg.own.abortConnection()

    def _cancel_timers(self) -> None:
        self._silence.stop()
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            self._acknowledging = None

    def _tell_lost_soon(self, reason: Failure) -> None:
        self._clock.callLater(0, self._tell_lost, reason)

    def _tell_lost(self, reason: Failure) -> None:
        protocol, self._protocol = self._protocol, None
        producer = self._pressure.unregister()
        if protocol is None:
            return
        self.disconnecting = True
        if producer is not None:
            producer.stopProducing()
        try:
            protocol.connectionLost(reason)
        except Exception:
            self._log.failure("connectionLost failed on a resumable connection")
        if not self._is_over:
            self._linger()

    def _linger(self) -> None:
        left = self.link.unacknowledged
        self._lingering = self._clock.callLater(LINGER_SECONDS, self._lingered, left)

    def _lingered(self, before: int) -> None:
        self._lingering = None
        # Without a leg it is its owner who counts.
        if self._leg is not None and self.link.unacknowledged == before:
            self._end(Failure(ConnectionLost("the other end does not take the last words")))
        else:
            self._linger()

    def _end(self, reason: Failure) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._let_go()
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._tell_lost(reason)
        self._on_over()
