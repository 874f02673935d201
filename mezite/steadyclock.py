"""
The clock of a reactor's timers, which nobody can set.

Twisted takes the time of day for it. Where that is set back by an hour, every
timer comes an hour late, and where it is set forward, all come at once: a hub
would take every tunnel for dead. Nothing here tells the time of day.
"""

from __future__ import annotations

import time
from typing import Any

# On Linux it also counts while the machine sleeps, as those at the other end do.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def seconds() -> float:
    """Since some moment of this machine's past; never less than before."""
    return time.clock_gettime(_CLOCK)


def keep_steady(reactor: Any) -> None:
    """Have the reactor's timers follow :func:`seconds`, also those that are set already."""
    before = reactor.seconds
    if before is seconds:
        return
    now = before()
    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        left = call.getTime() - now
        call.seconds = seconds
        call.reset(max(0.0, left))
