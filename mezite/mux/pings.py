"""
Pings under way, and those who wait for their answers.
"""

from __future__ import annotations

from typing import Final

from attrs import define
from twisted.internet.defer import Deferred

from mezite.error import TimedOut
from mezite.mux.error import MuxClosed
from mezite.mux.keepalive import SILENCE

# Nobody needs more at once, and each one keeps a Deferred.
_LIMIT: Final = 16


@define(eq=False)
class _Ping:
    sent: float
    # Nobody waits for those that are only to show whether the peer is alive.
    answer: Deferred[float] | None = None


class Pings:
    """Opaque value to sender; it sends nothing itself."""

    __slots__ = ("_under_way",)

    def __init__(self) -> None:
        self._under_way: dict[int, _Ping] = {}

    @property
    def is_full(self) -> bool:
        return len(self._under_way) >= _LIMIT

    def sent(self, opaque: int, now: float) -> Deferred[float]:
        """Fires with the round trip in seconds."""
        answer: Deferred[float] = Deferred()
        self._under_way[opaque] = _Ping(now, answer)
        return answer

    def asked(self, opaque: int, now: float) -> None:
        """The same, where nobody waits for the answer."""
        self._under_way[opaque] = _Ping(now)

    def answered(self, opaque: int, now: float) -> float | None:
        """The round trip, unless nobody had asked."""
        ping = self._under_way.pop(opaque, None)
        if ping is None:
            return None
        round_trip = now - ping.sent
        if ping.answer is not None:
            ping.answer.callback(round_trip)
        return round_trip

    def expire(self, now: float) -> None:
        """Give up those that are older than a silence may be."""
        for opaque, ping in list(self._under_way.items()):
            if now - ping.sent >= SILENCE:
                del self._under_way[opaque]
                if ping.answer is not None:
                    ping.answer.errback(TimedOut("the ping was not answered"))

    def fail(self) -> None:
        """The tunnel is down."""
        pings, self._under_way = self._under_way, {}
        for ping in pings.values():
            if ping.answer is not None:
                ping.answer.errback(MuxClosed("the tunnel went down"))
