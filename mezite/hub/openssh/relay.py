"""
Channels of two SSH connections, joined in pairs.

A :class:`RelayedChannel` passes on what its peer sends, and is held up by the
other half of its pair: a window is opened again once the other side has room.
The end of data, closing and requests with their answers go through in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.conch.ssh import connection as conch
from twisted.internet.defer import Deferred

from mezite.ssh.channel import FlowChannel, Receiving
from mezite.ssh.error import OPEN_CONNECT_FAILED, ChannelRefused
from mezite.ssh.fields import uint32
from mezite.ssh.globalrequests import OrderedAnswers

Answer = bytes | Deferred[bytes | None] | None
# What is answered to a request that was done; there is nothing else to say.
DONE: Final = b""


class RelayedChannel(FlowChannel):
    """
    One half of a pair.

    :param kind: of the channel, as it is opened.
    """

    def __init__(self, kind: bytes, **rest: Any) -> None:
        super().__init__(**rest)
        self.name = kind
        self.other: RelayedChannel | None = None
        # Told of what is passed on; None for data, else the kind of extended data.
        self.tap: Callable[[int, bytes], None] = lambda kind, data: None
        # The peer has closed; it takes nothing any more.
        self.has_closed = False
        self._opening: Deferred[None] | None = None
        self._holds: set[str] = set()
        self._wants_reply = True
        self._answers = OrderedAnswers(self._send_answer)

    # How a pair comes to be.

    async def open_across(self, across: RelayedChannel, connection: Any, data: bytes) -> None:
        """
        Have the other half opened on its connection, and join the two.

        :raises ChannelRefused: the peer there does not open it.
        """
        opening: Deferred[None] = Deferred()
        across._opening = opening
        connection.openChannel(across, data)
        await opening
        self.other, across.other = across, self
        self.registerProducer(across, True)
        across.registerProducer(self, True)

    def channelOpen(self, specificData: bytes) -> None:
        if self._opening is not None:
            self._opening.callback(None)
            if self.other is None:
                # Whoever wanted it has gone.
                self.abortConnection()

    def openFailed(self, reason: Any) -> None:
        if self._opening is not None:
            if not isinstance(reason, ChannelRefused):
                reason = ChannelRefused("the connection has ended", OPEN_CONNECT_FAILED)
            self._opening.errback(reason)

    # What is passed on.

    def dataReceived(self, data: bytes) -> None:
        self._pass(0, data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        self._pass(dataType, data)

    def _pass(self, kind: int, data: bytes) -> None:
        self.conn.passed += len(data)
        self.tap(kind, data)
        if self.other is not None and not self.other.has_closed:
            self.other.writeExtended(kind, data)

    def eofReceived(self) -> None:
        if self.other is not None:
            self.other.loseWriteConnection()
        if self.has_closed:
            self.pass_close()

    def close_arrived(self) -> None:
        """Unlike other channels, this one closes once what came before was taken."""
        was_over = self._receiving is Receiving.ENDED
        self.has_closed = True
        self._outbox.clear()
        self._queued = 0
        self._balance_producer()
        if self._receiving is Receiving.OPEN:
            self._receiving = Receiving.ENDING
        self._deliver()
        if was_over:
            self.pass_close()

    @property
    def has_ended(self) -> bool:
        """Whether all has come that the peer had to send."""
        return self._receiving is Receiving.ENDED

    def pass_close(self) -> None:
        """The peer has closed, and all that it sent before was passed on."""
        if self.other is None:
            self.abortConnection()
        else:
            self.other.finish()

    def finish(self) -> None:
        """Close, after what waits if anybody takes it."""
        if self.conn is None or self not in self.conn.channelsToRemoteChannel:
            return
        if self.has_closed:
            self.abortConnection()
        else:
            self.loseConnection()

    def closed(self) -> None:
        self._answers.stop()
        self.gone()
        if self.other is not None:
            self.other.gone()
            self.other.finish()

    def gone(self) -> None:
        """Nothing more comes through, this way or the other; said by each half that closes."""

    # Who holds up whom.

    def pauseProducing(self) -> None:
        self.hold("the other side")

    def resumeProducing(self) -> None:
        self.release("the other side")

    def hold(self, who: str) -> None:
        self._holds.add(who)
        super().pauseProducing()

    def release(self, who: str) -> None:
        self._holds.discard(who)
        if not self._holds:
            super().resumeProducing()

    # Requests.

    def asked(self, name: bytes, data: bytes, *, wants_reply: bool) -> None:
        self._wants_reply = wants_reply
        self._answers.add(self.answer(name, data), wants_reply=wants_reply)

    def answer(self, name: bytes, data: bytes) -> Answer:
        """What to answer to the peer's request, now or later; None refuses it."""
        return None

    def ask_across(self, name: bytes, data: bytes) -> Answer:
        """Pass a request on; what is answered is the answer."""
        other = self.other
        if other is None or other.localClosed or other.has_closed:
            return None
        asked: Deferred[Any] = other.conn.sendRequest(other, name, data, wantReply=1)
        return asked.addCallbacks(lambda _: DONE, lambda _: None)

    def pass_across(self, name: bytes, data: bytes) -> Answer:
        """Pass a request on as it came, with or without the wish for an answer."""
        pass_on = self.ask_across if self._wants_reply else self.tell_across
        return pass_on(name, data)

    def tell_across(self, name: bytes, data: bytes) -> Answer:
        """Pass on a request that wants no answer."""
        other = self.other
        if other is None or other.localClosed:
            return None
        other.conn.sendRequest(other, name, data)
        return DONE

    def _send_answer(self, answer: bytes | None) -> None:
        remote = self.conn.channelsToRemoteChannel.get(self)
        if remote is not None and not self.localClosed:
            number = conch.MSG_CHANNEL_FAILURE if answer is None else conch.MSG_CHANNEL_SUCCESS
            self.conn.transport.sendPacket(number, uint32(remote))
