"""
Whether anybody is still there at the other end of a connection that says nothing.

A :class:`Silence` owns the waits. What is asked, and what is done about nobody, is its
owner's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

# After so much silence the other end is asked whether it is there.
ASK_SECONDS: Final = 6.0
# Without an answer within so long, what carries the connection is taken for dead.
ANSWER_SECONDS: Final = 9.0
_LOOK_SECONDS: Final = 3.0


class Silence:
    """
    That of one connection.

    :param is_heard: whether anybody listens; if not, silence means nothing.
    :param ask: asks for a sign of life.
    :param over: told that there was none, once for each :meth:`watch`.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        is_heard: Callable[[], bool],
        ask: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._is_heard = is_heard
        self._ask = ask
        self._over = over
        self._heard_at = 0.0
        self._asked_at: float | None = None
        self._looking: IDelayedCall | None = None

    def watch(self) -> None:
        """Count from now on."""
        self.stop()
        self.heard()
        self._look_later()

    def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def heard(self) -> None:
        """Something came."""
        self._heard_at = self._clock.seconds()
        self._asked_at = None

    def _look_later(self) -> None:
        self._looking = self._clock.callLater(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._look_later()
        if not self._is_heard():
            return
        now = self._clock.seconds()
        # A process that was stopped for an hour asks before it believes that.
        if self._asked_at is None:
            if now - self._heard_at >= ASK_SECONDS:
                self._asked_at = now
                self._ask()
        elif now - self._asked_at >= ANSWER_SECONDS:
            self._log.info("nothing came for {seconds:.0f} s", seconds=now - self._heard_at)
            self.stop()
            self._over()
