"""
Requests of HTTP that wait for their turn.

One read may bring seven thousand requests, each of which is answered at once:
a second in which nobody else is served. :class:`Turns` begins a few in each of
the reactor's turns, in the order in which they came. A connection of HTTP/1.1
has one request here at a time, and is read no further until it is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# A page takes 0.2 ms: some 3 ms, as long as a handshake.
AT_ONCE: Final = 16


class Turns:
    """Begins what is given to it, so many in a turn; connections bound how much waits."""

    def __init__(self, clock: IReactorTime, *, at_once: int = AT_ONCE) -> None:
        self._clock = clock
        self._at_once = at_once
        self._left = at_once
        self._waiting: deque[Callable[[], None]] = deque()
        self._next: IDelayedCall | None = None

    def begin(self, request: Callable[[], None]) -> None:
        """Call this now, or when its turn has come; it sees to it whether it is still wanted."""
        if self._next is None:
            self._next = self._clock.callLater(0, self._turn)
        if self._left and not self._waiting:
            self._left -= 1
            request()
        else:
            self._waiting.append(request)

    def _turn(self) -> None:
        # What is begun here and brings the next one on finds that there is a next turn.
        self._next = self._clock.callLater(0, self._turn) if self._waiting else None
        self._left = self._at_once
        while self._waiting and self._left:
            self._left -= 1
            self._waiting.popleft()()
