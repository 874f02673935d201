"""
Which stream ids are used, and by whom.

The client's are odd and the server's even; 0 is the tunnel's own. Each is used
once.
"""

from __future__ import annotations

from typing import Final

from mezite.mux.error import MuxClosed, RemoteMuxError
from mezite.mux.frames import MAX_STREAM_ID, Role

# hashicorp's SYNs may overtake one another by as many as it opens at once.
_REORDERED: Final = 256


class StreamIds:
    """What both ends of one tunnel have used."""

    def __init__(self, role: Role) -> None:
        self._next = 1 if role is Role.CLIENT else 2
        # One step before the first that the peer may use.
        self._highest_of_peer = 0 if role is Role.CLIENT else -1
        # Below the highest, skipped by the peer, and still to be used.
        self._skipped: dict[int, None] = {}

    def take(self) -> int:
        """
        The next id of ours.

        :raises MuxClosed: when all are used up.
        """
        taken = self._next
        if taken > MAX_STREAM_ID:
            raise MuxClosed("the tunnel has used up its stream ids")
        self._next += 2
        return taken

    def use(self, stream_id: int) -> None:
        """
        The peer opens a stream with this id.

        :raises RemoteMuxError: if it is ours, or was used before.
        """
        if self._is_ours(stream_id):
            raise RemoteMuxError(f"stream {stream_id} is not the peer's to open")
        if stream_id > self._highest_of_peer:
            first = max(self._highest_of_peer + 2, stream_id - 2 * _REORDERED)
            for skipped in range(first, stream_id, 2):
                self._skipped[skipped] = None
            while len(self._skipped) > _REORDERED:
                del self._skipped[next(iter(self._skipped))]
            self._highest_of_peer = stream_id
        elif stream_id in self._skipped:
            del self._skipped[stream_id]
        else:
            raise RemoteMuxError(f"stream {stream_id} was opened twice")

    def check_was_used(self, stream_id: int) -> None:
        """
        Frames may cross our reset or our FIN, but not come out of nowhere.

        :raises RemoteMuxError: if no stream ever had this id.
        """
        if self._is_ours(stream_id):
            was_used = stream_id < self._next
        else:
            was_used = stream_id <= self._highest_of_peer and stream_id not in self._skipped
        if not was_used:
            raise RemoteMuxError(f"stream {stream_id} was never opened")

    def _is_ours(self, stream_id: int) -> bool:
        return stream_id % 2 == self._next % 2
