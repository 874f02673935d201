"""
The streams that have something to send, and the order of their turns.

A :class:`SendQueue` owns the round and the sum of what waits; which frames a
stream may send is the stream's.
"""

from __future__ import annotations

from typing import Final

from mezite.mux.error import StreamOverflow
from mezite.mux.events import Event, FinishSent, SendBufferDrained
from mezite.mux.frames import FIN, HEADER_LENGTH, encode_data
from mezite.mux.limits import MuxLimits
from mezite.mux.stream import Input, State, Stream

_ENDING = (State.FINISHING, State.CLOSING)


# The smallest quantum: a TLS record.
_LEAST: Final = 16 * 1024


class SendQueue:
    """
    Round-robin, a quantum of bytes for each stream that can send.

    A stream that begins to send goes before those that have had a turn, and
    then takes its place behind them: a key that was pressed does not wait for
    a round of copies, and nobody can come first all the time.
    """

    def __init__(self, limits: MuxLimits) -> None:
        self._limits = limits
        # A list, since the first of a few is soon taken, and an empty deque takes 760 bytes.
        self._round: list[Stream] = []
        # How many at its beginning have not had a turn yet.
        self._fresh = 0
        # The bytes of all streams that wait.
        self.unsent = 0

    def __bool__(self) -> bool:
        return bool(self._round)

    def put(self, stream: Stream, data: bytes) -> bool:
        """
        Let these bytes wait, and say whether there is room for more.

        :raises StreamOverflow: if that would be beyond what may wait; nothing
            was put.
        """
        limits = self._limits
        unsent = stream.unsent.size + len(data)
        if unsent > limits.stream_unsent or self.unsent + len(data) > limits.tunnel_unsent:
            raise StreamOverflow("the reader at the other end is too slow for what was written")
        if data:
            stream.unsent.append(data)
            self.unsent += len(data)
            self.join(stream)
        is_crowded = self.unsent > limits.tunnel_unsent_high
        if unsent >= (limits.unsent_low + 1 if is_crowded else limits.unsent_high):
            stream.is_full = True
        return not stream.is_full

    def join(self, stream: Stream) -> None:
        """Give the stream a place in the round, if it can use one and has none."""
        if not stream.is_queued and stream.has_output:
            stream.is_queued = True
            self._round.insert(self._fresh, stream)
            self._fresh += 1

    def drop(self, stream: Stream) -> None:
        """The stream is gone, with all that waited; its place is skipped."""
        self.unsent -= stream.unsent.size
        stream.unsent.clear()

    def pull(
        self, length: int, pieces: list[bytes | memoryview], events: list[Event]
    ) -> list[Stream]:
        """
        Add about ``length`` bytes of frames to ``pieces``, and what their
        leaving made happen to ``events``; say which streams sent their FIN.
        """
        finished: list[Stream] = []
        waiting = self._round
        # On a slow line little is asked for at once, and it is for more than one.
        quantum = min(self._limits.quantum, max(_LEAST, length // 4))
        while waiting and length > 0:
            stream = waiting.pop(0)
            is_fresh = self._fresh > 0
            self._fresh -= is_fresh
            if not stream.has_output:
                stream.is_queued = False
                continue
            unsent = stream.unsent
            # A stream that is alone needs no second header; nor a frame of its own for
            # twelve bytes, so that the header goes on top of the length asked for.
            share = quantum if waiting else max(quantum, length)
            count = min(unsent.size, stream.sending.left, share)
            is_last = count == unsent.size and stream.state in _ENDING
            pieces.append(encode_data(FIN if is_last else 0, stream.stream_id, count))
            pieces += unsent.take(count)
            stream.sending.left -= count
            self.unsent -= count
            length -= HEADER_LENGTH + count
            if stream.is_full and unsent.size <= self._limits.unsent_low:
                stream.is_full = False
                events.append(SendBufferDrained(stream.stream_id))
            if is_last:
                stream.move(Input.SEND_FIN)
                events.append(FinishSent(stream.stream_id))
                finished.append(stream)
                stream.is_queued = False
            elif (unsent.size and stream.sending.left) or (is_fresh and waiting):
                # Even with nothing left, until the others have had their turns.
                waiting.append(stream)
            else:
                stream.is_queued = False
        return finished
