"""
The steps of a rotation, made in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mezite.auth.rotation import RotationService
from mezite.tasks import background

# Timers are not for days: a machine that slept would wake late by as much.
_LONGEST_NAP: Final = 60.0
# After a step that could not be made, so that a full disk is not asked without a pause.
_RETRY: Final = 30.0


@define(eq=False)
class RotationClock:
    """Looks after a rotation for as long as one is under way, and has no timer otherwise."""

    _log = Logger()

    rotation: RotationService
    clock: IReactorTime
    wall_clock: Callable[[], float]
    _timer: IDelayedCall | None = field(init=False, default=None)
    _is_looking: bool = field(init=False, default=False)
    _is_stopped: bool = field(init=False, default=True)

    def start(self) -> None:
        """Begin, with what became due while the hub was down."""
        self._is_stopped = False
        self.look()

    def stop(self) -> None:
        self._is_stopped = True
        self._set(None)

    def look(self) -> None:
        """Something has changed: make what is due, and find out when to look again."""
        if not (self._is_stopped or self._is_looking):
            self._is_looking = True
            background(self._look(), doing="moving the rotation of an authority on")

    async def _look(self) -> None:
        earliest = 0.0
        try:
            await self.rotation.make_due_steps()
        except Exception as error:
            self._log.error(
                "a step of a rotation was not made, and is tried again: {error}", error=error
            )
            earliest = _RETRY
        finally:
            self._is_looking = False
            when = self.rotation.next_look()
            if when is not None and not self._is_stopped:
                self._set(min(max(when - self.wall_clock(), earliest), _LONGEST_NAP))

    def _set(self, seconds: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self.clock.callLater(seconds, self.look)
