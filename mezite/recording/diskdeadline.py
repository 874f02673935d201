"""
How long a disk may take, counted while this process runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

# A timer that comes so late says that it was us who did nothing: a machine that was suspended,
# or a process that was stopped. Whoever was to write did nothing either.
_LATE: Final = 2.0


class DiskDeadline:
    """
    Calls ``expired`` after so many seconds, unless it is cancelled before.

    Where this process was stopped meanwhile, they are counted from its return.
    """

    __slots__ = ("_call", "_clock", "_due", "_expired", "_seconds")

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = expired
        self._begin()

    def cancel(self) -> None:
        """The disk has answered, which may be too late."""
        if self._call.active():
            self._call.cancel()

    def _begin(self) -> None:
        self._due = self._clock.seconds() + self._seconds
        self._call: IDelayedCall = self._clock.callLater(self._seconds, self._on_time)

    def _on_time(self) -> None:
        if self._clock.seconds() - self._due > _LATE:
            self._begin()
        else:
            self._expired()
