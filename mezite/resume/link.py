"""
One end of a resumable connection: what it has sent, what it has received.

A :class:`Link` owns the bytes that the peer has not acknowledged, and the count of
those that came. It outlives what carries it: :meth:`Link.carried` begins anew with
exactly what the peer lacks. Bytes in, events and bytes out; no network, no clock.
"""

from __future__ import annotations

import enum
from collections import deque

from mezite.resume import frames
from mezite.resume.error import LocalResumeError, RemoteResumeError

# Unacknowledged bytes above which the writer is to wait. Two windows of an SSH channel are no
# more, and at 20 MB/s they are 100 ms of the way there and back.
FULL = 2 * 1024 * 1024
# It may go on below this, which has to be more than what a receiver may leave unacknowledged.
RELIEVED = FULL // 4 * 3
# What a writer that was told to wait still may have to say: SSH's answers, of which there are at
# most 256 KiB, and the batch that it was in.
LIMIT = FULL + 2 * 1024 * 1024
# Received bytes that are acknowledged at once; fewer are after a while, when the owner says so.
# Each acknowledgement crosses the hub as a packet of its own.
ACKNOWLEDGED_AT = 1024 * 1024
# So many are acknowledged with data that is sent anyway, which costs nobody a packet: SSH answers
# a copy by widening its window, each time before the bound above is reached.
ACKNOWLEDGED_ALONG_AT = 128 * 1024
# Below this it is cheaper to copy data behind its header than to send it apart.
_JOIN_BELOW = 4096


class State(enum.Enum):
    """Which ends have said that they send no more."""

    OPEN = "open"
    LOCAL_ENDED = "local ended"
    REMOTE_ENDED = "remote ended"
    ENDED = "ended"
    # One side has dropped it; nothing is resumed any more.
    RESET = "reset"


class Input(enum.Enum):
    """What may happen; RECV_ inputs are the peer's doing."""

    SEND = "send"
    FINISH = "finish"
    RESET = "reset"
    RECV_DATA = "receive data"
    RECV_END = "receive end"
    RECV_RESET = "receive reset"


_OF_PEER = frozenset({Input.RECV_DATA, Input.RECV_END, Input.RECV_RESET})

TRANSITIONS = {
    (State.OPEN, Input.SEND): State.OPEN,
    (State.OPEN, Input.FINISH): State.LOCAL_ENDED,
    (State.OPEN, Input.RESET): State.RESET,
    (State.OPEN, Input.RECV_DATA): State.OPEN,
    (State.OPEN, Input.RECV_END): State.REMOTE_ENDED,
    (State.OPEN, Input.RECV_RESET): State.RESET,
    (State.LOCAL_ENDED, Input.RESET): State.RESET,
    (State.LOCAL_ENDED, Input.RECV_DATA): State.LOCAL_ENDED,
    (State.LOCAL_ENDED, Input.RECV_END): State.ENDED,
    (State.LOCAL_ENDED, Input.RECV_RESET): State.RESET,
    (State.REMOTE_ENDED, Input.SEND): State.REMOTE_ENDED,
    (State.REMOTE_ENDED, Input.FINISH): State.ENDED,
    (State.REMOTE_ENDED, Input.RESET): State.RESET,
    (State.REMOTE_ENDED, Input.RECV_RESET): State.RESET,
    # Our last bytes may still have to be acknowledged.
    (State.ENDED, Input.RESET): State.RESET,
    (State.ENDED, Input.RECV_RESET): State.RESET,
}

WRITABLE = frozenset({State.OPEN, State.REMOTE_ENDED})
_LOCAL_ENDED = frozenset({State.LOCAL_ENDED, State.ENDED})


class Event(enum.Enum):
    """What came besides data."""

    # The peer sends no more.
    ENDED = "ended"
    # The peer has dropped the connection.
    RESET = "reset"


class Link:
    """
    One end.

    ``sent`` and ``received`` count bytes since the beginning, and an end as one byte
    more, so that an end is acknowledged and repeated as bytes are. Only
    :meth:`_move` changes the state.
    """

    __slots__ = (
        "_acknowledged",
        "_kept",
        "_output",
        "_reader",
        "_told",
        "received",
        "sent",
        "state",
    )

    def __init__(self) -> None:
        self.state = State.OPEN
        self.sent = 0
        self.received = 0
        self._acknowledged = 0
        # What the peer has told us that it has of ours is gone from here.
        self._kept: deque[bytes | memoryview] = deque()
        # Of what has come, how much the peer knows that we have.
        self._told = 0
        self._output: list[bytes | memoryview] = []
        # None while nothing carries it.
        self._reader: frames.FrameReader | None = None

    # What is asked.

    @property
    def is_carried(self) -> bool:
        return self._reader is not None

    @property
    def unacknowledged(self) -> int:
        """Bytes that would have to be sent again."""
        return self.sent - self._acknowledged

    @property
    def owes_acknowledgement(self) -> bool:
        """Whether something came of which the peer does not know that we have it."""
        return self.is_carried and self.received > self._told

    @property
    def is_writable(self) -> bool:
        return self.state in WRITABLE

    @property
    def is_over(self) -> bool:
        """Whether neither end has anything to say or to hear any more."""
        return self.state is State.RESET or (self.state is State.ENDED and not self.unacknowledged)

    def could_have_sent(self, count: int) -> bool:
        """Whether a peer may say that it has so many of our bytes."""
        return self._acknowledged <= count <= self.sent

    # What this end says.

    def send(self, data: bytes | memoryview) -> None:
        """
        Send bytes, now and as often as it takes; they may not be changed any more.

        :raises LocalResumeError: after the end, or beyond what may wait.
        """
        self._move(Input.SEND)
        if self.unacknowledged + len(data) > LIMIT:
            raise LocalResumeError("the writer of a resumable connection does not wait")
        if not data:
            return
        self._kept.append(data)
        self.sent += len(data)
        if self._reader is not None:
            if self.received - self._told >= ACKNOWLEDGED_ALONG_AT:
                self.acknowledge()
            self._emit(data)

    def finish(self) -> None:
        """Say that no more bytes come."""
        self._move(Input.FINISH)
        self.sent += 1
        if self._reader is not None:
            self._output.append(frames.end())

    def reset(self) -> None:
        """Drop the connection, for good."""
        self._move(Input.RESET)
        self._kept.clear()
        if self._reader is not None:
            self._output.append(frames.reset())

    def acknowledge(self) -> None:
        """Tell the peer what has come, if it does not know."""
        if self.owes_acknowledgement:
            self._told = self.received
            self._output.append(frames.acknowledgement(self.received))

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self._reader is not None:
            self._output.append(frames.ping())

    def take_output(self) -> list[bytes | memoryview]:
        """What is to be written now, in this order."""
        output, self._output = self._output, []
        return output

    # What carries it.

    def carried(self, received: int) -> None:
        """
        Something carries it from now on; its greeting is over.

        :param received: how many bytes of ours the peer said that it has.
        :raises RemoteResumeError: if that cannot be.
        """
        self._drop(received)
        self._reader = frames.FrameReader()
        # The greeting has told it.
        self._told = self.received
        self._output = []
        for data in self._kept:
            self._emit(data)
        if self.state in _LOCAL_ENDED and self.unacknowledged:
            self._output.append(frames.end())

    def cut(self) -> None:
        """What carried it does not any more; what was on its way is sent again."""
        self._reader = None
        self._output = []

    def receive(
        self, data: bytes | memoryview, *, answers: bool = True
    ) -> list[memoryview | Event]:
        """
        Take what came, and tell what it was.

        The memory of ``data`` is handed on; nothing of it is kept.

        :param answers: whether a ping is answered. Where what was said before still waits to
            leave it needs none; and who asks on and on, and reads nothing, gets none kept.
        :raises RemoteResumeError: what carries it is then to be dropped.
        """
        if self._reader is None:
            raise LocalResumeError("nothing carries this connection")
        events: list[memoryview | Event] = []
        is_asked = False
        for kind, payload in self._reader.receive(data):
            if kind == frames.DATA:
                self._move(Input.RECV_DATA)
                self.received += len(payload)
                events.append(payload)
            elif kind == frames.ACK:
                self._drop(frames.count_in(bytes(payload)))
            elif kind == frames.PING:
                # A flood of them gets one answer.
                is_asked = True
            elif kind == frames.END:
                self._move(Input.RECV_END)
                self.received += 1
                events.append(Event.ENDED)
                self.acknowledge()
            elif kind == frames.RESET:
                self._move(Input.RECV_RESET)
                self._kept.clear()
                events.append(Event.RESET)
                break
        if is_asked and answers:
            self._output.append(frames.pong())
        if self.received - self._told >= ACKNOWLEDGED_AT:
            self.acknowledge()
        return events

    # How it is done.

    def _move(self, by: Input) -> None:
        after = TRANSITIONS.get((self.state, by))
        if after is None:
            kind = RemoteResumeError if by in _OF_PEER else LocalResumeError
            raise kind(f"a connection that is {self.state.value} does not {by.value}")
        self.state = after

    def _emit(self, data: bytes | memoryview) -> None:
        for start in range(0, len(data), frames.DATA_LENGTH):
            piece = data
            if len(data) > frames.DATA_LENGTH:
                piece = memoryview(data)[start : start + frames.DATA_LENGTH]
            head = frames.header(frames.DATA, len(piece))
            if len(piece) < _JOIN_BELOW:
                self._output.append(b"".join((head, piece)))
            else:
                self._output += (head, piece)

    def _drop(self, count: int) -> None:
        """The peer has so many of our bytes."""
        if not self.could_have_sent(count):
            raise RemoteResumeError(
                f"{count} bytes are said to have come, of {self.sent} sent"
                f" and {self._acknowledged} known to be there"
            )
        left = count - self._acknowledged
        self._acknowledged = count
        kept = self._kept
        # The end is counted, too, and is no byte.
        while left and kept:
            piece = kept[0]
            if len(piece) <= left:
                left -= len(kept.popleft())
            else:
                kept[0] = memoryview(piece)[left:]
                left = 0
