"""
New certificates before the old ones end.

A :class:`RenewalService` renews at two thirds of their lifetime, or at once
when the hub has other authorities or when a clock was put right that was ahead,
and goes on asking until it has them. What
is renewed is used for what begins afterwards:
the next dial and the next SSH sessions. Nothing that runs is dropped.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import BrokenState
from mezite.agent.hubcalls import HubCalls
from mezite.agent.membership import Membership
from mezite.error import MeziteError
from mezite.tasks import background

# Of the lifetime, give or take, so that nodes that joined together part ways.
_DUE: Final = (0.62, 0.70)
# Between two tries; the last third of 24 hours has room for hundreds.
_RETRY: Final = (5.0, 60.0)
# Timers are not for days: a machine that slept would wake late by as much, and a clock
# that is set is to be noticed before somebody has to wait for it.
_LONGEST_NAP: Final = 10.0
# While the hub's clock is ahead of ours, what it issues begins in the future.
_STILL_EARLY: Final = 600.0


def due(membership: Membership, fraction: float) -> float:
    """When to renew, in POSIX seconds."""
    return membership.issued + fraction * (membership.expires - membership.issued)


class RenewalService(Service):
    """Keeps the certificates fresh while it runs."""

    _log = Logger()

    def __init__(
        self,
        current: CurrentMembership,
        calls: Callable[[], HubCalls],
        *,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._current = current
        self._calls = calls
        self._clock = clock
        self._wall_clock = wall_clock
        self._uniform = uniform
        self._running: Deferred[None] | None = None
        self._napping: Deferred[None] | None = None
        # Of the hub's authorities, as it said last; 0 as long as it has not.
        self._generation = 0
        # When it is asked again for certificates that begin now, by the clock of timers.
        self._early_again = 0.0

    def hub_has(self, generation: int) -> None:
        """The hub says that its authorities are of this generation."""
        is_news, self._generation = generation != self._generation, generation
        # Only once: where renewing fails, it is tried again as often as ever.
        if is_news and self._is_behind and self._napping is not None:
            napping, self._napping = self._napping, None
            napping.callback(None)

    @property
    def _is_behind(self) -> bool:
        return self._generation not in (0, self._current.membership.generation)

    @property
    def _is_early(self) -> bool:
        """Whether nobody believes what we show yet: some clock was ahead when it was issued."""
        begins = self._current.membership.issued
        return self._wall_clock() < begins and self._clock.seconds() >= self._early_again

    def startService(self) -> None:
        super().startService()
        self._running = background(self._run(), doing="renewing certificates")

    def stopService(self) -> None:
        super().stopService()
        if self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self) -> None:
        while True:
            await self._wait_until(due(self._current.membership, self._uniform(*_DUE)))
            renewed = False
            while not renewed:
                generation = self._generation
                renewed = await self._renew()
                # Also after a success: where the clock is a day ahead of the hub's, what
                # is new is due at once, and the hub must not be asked without a pause.
                # What it has got since then is another matter.
                await self._rest(self._uniform(*_RETRY), unless_past=generation)

    async def _wait_until(self, when: float) -> None:
        while (left := when - self._wall_clock()) > 0 and not (self._is_behind or self._is_early):
            await self._nap(min(left, _LONGEST_NAP))

    async def _rest(self, seconds: float, *, unless_past: int) -> None:
        end = self._clock.seconds() + seconds
        while (left := end - self._clock.seconds()) > 0 and unless_past == self._generation:
            await self._nap(min(left, _LONGEST_NAP))
            if self._is_early:
                return

    async def _nap(self, seconds: float) -> None:
        """So long, or until the hub says that it has other authorities."""
        napping: Deferred[None] = Deferred()
        self._napping = napping
        timer = self._clock.callLater(seconds, napping.callback, None)
        try:
            await napping
        finally:
            self._napping = None
            if timer.active():
                timer.cancel()

    async def _renew(self) -> bool:
        current = self._current.membership
        try:
            issued = await self._calls().renew(current.keys)
            self._current.replace(current.renewed(issued))
        except CancelledError:
            raise
        except BrokenState as error:
            self._log.error(
                "the renewed certificates are in use, but will be lost at the next start: {error}",
                error=error,
            )
        except MeziteError as error:
            left = current.expires - self._wall_clock()
            self._log.warn(
                "the node's certificates were not renewed: {error}; {left}, and it is tried again",
                error=error,
                left=f"they end in {left / 3600:.1f} h" if left > 0 else "they have ended",
            )
            return False
        except Exception:
            # A bug must not be the last try: without certificates nobody comes in.
            self._log.failure("renewing the node's certificates failed")
            return False
        else:
            self._log.info("the node's certificates were renewed")
        if self._is_early:
            self._early_again = self._clock.seconds() + _STILL_EARLY
            self._log.warn(
                "the hub's clock is ahead of this node's, and until they agree nobody can come in:"
                " set the one that is wrong"
            )
        elif self._wall_clock() >= self._current.membership.issued:
            # They agree; should ours have been ahead, that is to be noticed as soon as ever.
            self._early_again = 0.0
        return True
