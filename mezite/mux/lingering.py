"""
Streams that nobody here holds any more, and that the peer has not ended yet.
"""

from __future__ import annotations

from typing import Final

from mezite.mux.connection import Connection

# The peer may be reading slowly what we sent, which a reset would destroy, so that
# time alone is no reason for one.
LINGERING: Final = 256


class Lingering:
    """The streams of one tunnel that were left; beyond so many, the oldest is reset."""

    __slots__ = ("_connection", "_stream_ids")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Oldest first, with those that have ended since.
        self._stream_ids: dict[int, None] = {}

    def add(self, stream_id: int) -> None:
        self._stream_ids[stream_id] = None
        if len(self._stream_ids) <= LINGERING:
            return
        has_stream = self._connection.has_stream
        self._stream_ids = {left: None for left in self._stream_ids if has_stream(left)}
        if len(self._stream_ids) > LINGERING:
            oldest = next(iter(self._stream_ids))
            del self._stream_ids[oldest]
            self._connection.reset(oldest)

    def remove(self, stream_id: int) -> None:
        """The peer has reset it."""
        self._stream_ids.pop(stream_id, None)

    def clear(self) -> None:
        self._stream_ids.clear()
