"""
What ends a person's SSH connection from without: silence, a clock, somebody's word.

A :class:`SessionWatch` ends its connection when a bound is reached. Whatever
ends one, :func:`say_goodbye` has the person read why, on the terminal and in
SSH's goodbye.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mezite.ssh.error import BY_APPLICATION

# A clock may be set while a session runs: it is looked at this often.
_CLOCK_SECONDS: Final = 60.0


@frozen
class SessionBounds:
    """
    What ends a session from without; lengths of time in seconds.

    ``idle_timeout`` is how long nothing may move either way.
    """

    idle_timeout: float | None = None
    ends_with_certificate: bool = False


def say_goodbye(transport: Any, sentence: str) -> None:
    """Show a sentence wherever somebody may read it, and end the SSH connection."""
    tell = getattr(transport.service, "tell_sessions", None)
    if tell is not None:
        tell(sentence)
    transport.disconnect(BY_APPLICATION, sentence)


@define(eq=False)
class SessionWatch:
    """
    Ends one person's connection when it is silent for too long, or when the
    certificate ends.

    :param ends: when the certificate does, in POSIX seconds.
    :param last_moved: when something last moved, by the clock.
    """

    _bounds: SessionBounds
    _ends: float
    _clock: IReactorTime
    _wall_clock: Callable[[], float]
    _last_moved: Callable[[], float]
    _end: Callable[[str], None]
    _timer: IDelayedCall | None = field(init=False, default=None)

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self._timer = None
        waits: list[float] = []
        idle_timeout = self._bounds.idle_timeout
        if idle_timeout is not None:
            silent = self._clock.seconds() - self._last_moved()
            if silent >= idle_timeout:
                self._end(f"nothing moved for {_length(idle_timeout)}: the session was ended")
                return
            waits.append(idle_timeout - silent)
        if self._bounds.ends_with_certificate:
            left = self._ends - self._wall_clock()
            if left <= 0:
                self._end("your certificate has expired: log in again with msh login")
                return
            waits.append(min(left, _CLOCK_SECONDS))
        if waits:
            self._timer = self._clock.callLater(min(waits), self._look)


def _length(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
