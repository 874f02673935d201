"""
A channel that holds no more than a window, in either direction.

What arrives goes to :meth:`FlowChannel.dataReceived` at once, or waits while
the consumer has paused the channel; the peer's window is opened again only for
what the consumer took. What is written waits here until the peer's window and
the transport have room, and a registered producer is paused meanwhile. So a
channel is an ``IPushProducer`` and an ``IConsumer``, like a TCP transport.

It owns its two queues. :mod:`mezite.ssh.connection` decides whose turn it is.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any, Final

from twisted.conch.ssh import connection as conch
from twisted.conch.ssh.channel import SSHChannel
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.ssh.error import OutgoingOverflow, SshProtocolError
from mezite.ssh.fields import uint32

# As OpenSSH: 64 packets of 32 KiB keep a line of 100 ms at 160 Mbit/s full.
WINDOW: Final = 2 * 1024 * 1024
# Twice OpenSSH's, to halve what each packet costs; below what a packet may be (256 KiB).
MAX_PACKET: Final = 64 * 1024
# A producer is paused above this, and resumed when the queue is below half of it.
OUTBOX_HIGH: Final = 128 * 1024
# Whoever keeps writing after that has a bug: one more window, then the channel ends.
OUTBOX_LIMIT: Final = OUTBOX_HIGH + WINDOW
# RFC 4254, section 5.2.
_LARGEST_WINDOW: Final = (1 << 32) - 1
STDERR: Final = 1


class Sending(enum.Enum):
    """How far our direction has come."""

    OPEN = enum.auto()
    ENDING = enum.auto()
    ENDED = enum.auto()


class Receiving(enum.Enum):
    """How far the peer's direction has come; ENDED once our side was told."""

    OPEN = enum.auto()
    ENDING = enum.auto()
    ENDED = enum.auto()


@implementer(IConsumer, IPushProducer)
class FlowChannel(SSHChannel):
    """
    One channel; subclasses override what Conch's channels have overridden:
    ``channelOpen``, ``openFailed``, ``dataReceived``, ``extReceived``,
    ``eofReceived``, ``closeReceived``, ``closed`` and ``request_...``.
    """

    _log = Logger()
    conn: Any
    id: Any

    def __init__(self, remoteWindow: int = 0, remoteMaxPacket: int = 0, **rest: Any) -> None:
        super().__init__(
            localWindow=WINDOW,
            localMaxPacket=MAX_PACKET,
            remoteWindow=remoteWindow,
            remoteMaxPacket=remoteMaxPacket,
            **rest,
        )
        self._inbox: deque[tuple[int, bytes]] = deque()
        self._is_paused = False
        self._receiving = Receiving.OPEN
        self._untold = 0
        self._outbox: deque[tuple[int, bytes | memoryview]] = deque()
        self._queued = 0
        self._sending = Sending.OPEN
        self._closes_after = False
        self._producer: Any = None
        self._producer_paused = False

    # What the connection calls with what has arrived.

    def open_requested(self, data: bytes) -> Any:
        """
        The peer wants this channel; ``data`` is what its type adds.

        Return None to have it opened at once, or a Deferred to have it opened
        when that fires and refused when that fails. Raise or fail with
        :class:`ChannelRefused` to say why.
        """
        return None

    def data_arrived(self, kind: int, data: bytes) -> None:
        """
        Data (kind 0) or extended data has come.

        :raises SshProtocolError: if it is more than the window allows.
        """
        if len(data) > self.localWindowLeft or len(data) > self.localMaxPacket:
            raise SshProtocolError("more data came than the window allows")
        if self._receiving is not Receiving.OPEN:
            raise SshProtocolError("data came after the end of data")
        self.localWindowLeft -= len(data)
        if self._is_paused or self._inbox:
            self._inbox.append((kind, data))
        else:
            self._give(kind, data)

    def eof_arrived(self) -> None:
        if self._receiving is not Receiving.OPEN:
            raise SshProtocolError("the end of data came twice")
        self._receiving = Receiving.ENDING
        self._deliver()

    def close_arrived(self) -> None:
        """Nothing more will be said: what waits is delivered, wanted or not."""
        while self._inbox:
            self._give(*self._inbox.popleft())
        if self._receiving is not Receiving.ENDED:
            self._receiving = Receiving.ENDED
            self.eofReceived()
        self.closeReceived()

    def asked(self, name: bytes, data: bytes, *, wants_reply: bool) -> None:
        """The peer requests something; whether it is done is known at once."""
        done = self.requestReceived(name, data)
        remote = self.conn.channelsToRemoteChannel.get(self)
        if wants_reply and remote is not None:
            answer = conch.MSG_CHANNEL_SUCCESS if done else conch.MSG_CHANNEL_FAILURE
            self.conn.transport.sendPacket(answer, uint32(remote))

    def _give(self, kind: int, data: bytes) -> None:
        if kind == 0:
            self.dataReceived(data)
        else:
            self.extReceived(kind, data)
        self._untold += len(data)
        # Half a window at a time, so that adjustments cost next to nothing.
        if self._untold * 2 >= self.localWindowSize and not self.localClosed:
            untold, self._untold = self._untold, 0
            self.conn.adjustWindow(self, untold)

    def _deliver(self) -> None:
        while self._inbox and not self._is_paused:
            self._give(*self._inbox.popleft())
        if self._receiving is Receiving.ENDING and not self._inbox and not self._is_paused:
            self._receiving = Receiving.ENDED
            self.eofReceived()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._deliver()

    def stopProducing(self) -> None:
        self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Some data; nothing else is done with it here."""

    def extReceived(self, dataType: int, data: bytes) -> None:
        """Some extended data."""

    def eofReceived(self) -> None:
        """The peer sends no more data."""

    def closeReceived(self) -> None:
        self.abortConnection()

    def channelOpen(self, specificData: bytes) -> None:
        """The channel is open."""

    def openFailed(self, reason: Any) -> None:
        """The peer did not open the channel, or the connection ended before."""

    def closed(self) -> None:
        """Both sides have closed the channel, or the connection ended."""

    # What is written.

    def write(self, data: bytes) -> None:
        self.writeExtended(0, data)

    def writeExtended(self, dataType: int, data: bytes) -> None:
        """Data of this kind, 0 for plain; ignored once our direction has ended."""
        if not data or self._sending is not Sending.OPEN or self.localClosed:
            return
        self._outbox.append((dataType, data))
        self._queued += len(data)
        if self._queued > OUTBOX_LIMIT:
            self._log.failure(
                "a channel overflowed",
                failure=Failure(OutgoingOverflow("a channel was written to without pause")),
            )
            self.abortConnection()
            return
        self.conn.wants_to_send(self)
        self._balance_producer()

    def loseWriteConnection(self) -> None:
        """Send the end of data, after what waits."""
        if self._sending is Sending.OPEN:
            self._sending = Sending.ENDING
            self._finish_sending()

    def loseConnection(self) -> None:
        """Close the channel, after what waits."""
        self._closes_after = True
        self.loseWriteConnection()
        self._finish_sending()

    def abortConnection(self) -> None:
        """Close the channel, and forget what waits."""
        self._outbox.clear()
        self._queued = 0
        self._closes_after = True
        self._sending = Sending.ENDED
        self.conn.sendClose(self)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume this producer, which must be a push producer."""
        if self._producer is not None or not streaming:
            raise RuntimeError("a channel takes one producer, and one that pushes")
        self._producer = producer
        self._producer_paused = False
        if self.localClosed:
            self.stop_producer()
        else:
            self._balance_producer()

    def unregisterProducer(self) -> None:
        self._producer = None

    def _balance_producer(self) -> None:
        if self._producer is None or self._sending is not Sending.OPEN:
            return
        if not self._producer_paused and self._queued >= OUTBOX_HIGH:
            self._producer_paused = True
            self._producer.pauseProducing()
        elif self._producer_paused and self._queued * 2 <= OUTBOX_HIGH:
            self._producer_paused = False
            self._producer.resumeProducing()

    # What the connection calls when it is this channel's turn.

    @property
    def can_send(self) -> bool:
        """Whether there is data that the peer would take."""
        return bool(self._outbox) and self.remoteWindowLeft > 0 and not self.localClosed

    def send_some(self, most: int) -> None:
        """Send about so many bytes of what waits, in as large packets as may be."""
        sent = 0
        while self.can_send and sent < most:
            kind, data = self._next_packet(min(self.remoteWindowLeft, self.remoteMaxPacket))
            self.remoteWindowLeft -= len(data)
            self._queued -= len(data)
            sent += len(data)
            if kind == 0:
                self.conn.sendData(self, data)
            else:
                self.conn.sendExtendedData(self, kind, data)
        self._finish_sending()
        self._balance_producer()

    def _next_packet(self, room: int) -> tuple[int, bytes | memoryview]:
        kind, data = self._outbox.popleft()
        if len(data) > room:
            view = memoryview(data)
            self._outbox.appendleft((kind, view[room:]))
            return kind, view[:room]
        if not self._outbox or self._outbox[0][0] != kind:
            return kind, data
        parts, length = [data], len(data)
        while self._outbox and self._outbox[0][0] == kind:
            following = self._outbox[0][1]
            if length + len(following) > room:
                break
            self._outbox.popleft()
            parts.append(following)
            length += len(following)
        return kind, b"".join(parts)

    def _finish_sending(self) -> None:
        if self._outbox or self.localClosed:
            return
        if self._sending is Sending.ENDING:
            self._sending = Sending.ENDED
            self.conn.sendEOF(self)
        if self._closes_after:
            self.conn.sendClose(self)

    def addWindowBytes(self, data: int) -> None:
        if self.remoteWindowLeft + data > _LARGEST_WINDOW:
            raise SshProtocolError("a window grew beyond what a window can be")
        self.remoteWindowLeft += data
        self.conn.wants_to_send(self)

    def stop_producer(self) -> None:
        """The channel is gone, and whoever writes to it should know."""
        producer, self._producer = self._producer, None
        self._outbox.clear()
        self._queued = 0
        self._sending = Sending.ENDED
        if producer is not None:
            producer.stopProducing()
