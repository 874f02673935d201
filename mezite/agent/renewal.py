"""
New certificates before the old ones end.

A :class:`RenewalService` renews at two thirds of their lifetime and goes on
asking until it has them. What is renewed is used for what begins afterwards:
the next dial and the next SSH sessions. Nothing that runs is dropped.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mezite.agent.error import BrokenState
from mezite.agent.hubcalls import HubCalls
from mezite.agent.membership import CurrentMembership
from mezite.agent.state import Membership
from mezite.error import MeziteError
from mezite.tasks import background

# Of the lifetime, give or take, so that nodes that joined together part ways.
_DUE: Final = (0.62, 0.70)
# Between two tries; the last third of 24 hours has room for hundreds.
_RETRY: Final = (5.0, 60.0)
# Timers are not for days: a machine that slept would wake late by as much.
_LONGEST_NAP: Final = 60.0


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
                renewed = await self._renew()
                # Also after a success: where the clock is a day ahead of the hub's, what
                # is new is due at once, and the hub must not be asked without a pause.
                await deferLater(self._clock, self._uniform(*_RETRY))

    async def _wait_until(self, when: float) -> None:
        while (left := when - self._wall_clock()) > 0:
            await deferLater(self._clock, min(left, _LONGEST_NAP))

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
        return True
