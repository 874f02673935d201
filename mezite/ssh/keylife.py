"""
How long the keys of a connection are good, and how long new ones may take.

A :class:`KeyLife` owns the count and the timers of one connection.
:mod:`mezite.ssh.transport` exchanges the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime


@frozen
class KeyLimits:
    """
    RFC 4253, section 9: new keys after each gigabyte and after each hour.

    An exchange that the peer does not finish ends the connection. It may have a
    window of 2 MiB to read before it sees ours, and to write before we see its
    answer; on a line of 300 kbit/s that takes so long.
    """

    octets: int = 1 << 30
    seconds: float = 3600.0
    exchange_seconds: float = 120.0


DEFAULT_LIMITS: Final = KeyLimits()
# An exchange may be cut in two, and its other half come when the connection is taken up again.
RESUMABLE: Final = KeyLimits(exchange_seconds=DEFAULT_LIMITS.exchange_seconds + 300.0)


class KeyLife:
    def __init__(
        self, clock: IReactorTime, limits: KeyLimits, too_late: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._too_late = too_late
        self._used = 0
        self._age: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._is_old = False

    def used(self, octets: int) -> None:
        """So much went through, in either direction."""
        self._used += octets

    def is_over(self, *, heard: bool) -> bool:
        """
        Whether new keys are due.

        :param heard: whether the peer was heard just now. Old age waits for
            that: a client that was stopped for an hour may go on later, and
            would not answer in time.
        """
        return self._used > self._limits.octets or (heard and self._is_old)

    def exchange_begun(self) -> None:
        """One side wants new keys."""
        self._cancel()
        self._deadline = self._clock.callLater(self._limits.exchange_seconds, self._too_late)

    def exchange_done(self) -> None:
        """Both sides use new keys."""
        self._cancel()
        self._used = 0
        self._is_old = False
        self._age = self._clock.callLater(self._limits.seconds, self._grow_old)

    def stop(self) -> None:
        """The connection is over."""
        self._cancel()

    def _grow_old(self) -> None:
        self._is_old = True

    def _cancel(self) -> None:
        for timer in (self._age, self._deadline):
            if timer is not None and timer.active():
                timer.cancel()
        self._age = self._deadline = None
