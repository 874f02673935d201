"""
What the hub is told of the sessions of a node that live on.

A :class:`SessionReports` tells it all of them at once, when there is a tunnel and when
one has ended that the hub may take for living. It owns when that is said, and that it
is heard; which sessions there are is :mod:`mezite.agent.resumption`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mezite.agent.backoff import ceiling
from mezite.agent.error import TunnelDown
from mezite.agent.hubcalls import HubCalls, Living
from mezite.error import BadInput, Denied, MeziteError
from mezite.rpc.error import Unimplemented
from mezite.tasks import background

# What would be answered so once more; a hub of before there was resumption is among them.
_IN_VAIN: Final = (BadInput, Denied, Unimplemented)


@frozen
class Known:
    """
    The sessions of this moment.

    ``beginning`` are those that nobody is in yet. The hub may have heard more of them
    than we have, and is not to take them for over.
    """

    living: Sequence[Living]
    beginning: Sequence[str]


@define(eq=False)
class SessionReports:
    """
    Those of one agent, of which one is under way at a time.

    :param known: what there is to tell, when it is told.
    :param calls: what the hub can be asked with now; raises when it cannot.
    :param end: ends a session that the hub does not want, with this sentence.
    """

    _log = Logger()

    known: Callable[[], Known] = field(repr=False)
    calls: Callable[[], HubCalls] = field(repr=False)
    clock: IReactorTime
    end: Callable[[str, str], object] = field(repr=False)
    uniform: Callable[[float, float], float] = random.uniform
    # The hub may take for living what is not: so it is for an agent that was restarted, too.
    _is_due: bool = field(init=False, default=True)
    _is_running: bool = field(init=False, default=False)
    _again: IDelayedCall | None = field(init=False, default=None)
    _failures: int = field(init=False, default=0)

    def tunnel_up(self) -> None:
        """The hub knows this node, and may know nothing else."""
        self._failures = 0
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._is_due or self.known().living:
            self.changed()

    def changed(self) -> None:
        """What the hub knows is not so any more: tell it, and what changes meanwhile after that."""
        self._is_due = True
        if not self._is_running and self._again is None:
            self._start()

    def _start(self) -> None:
        self._again = None
        background(self._run(), doing="telling the hub which sessions live on")

    async def _run(self) -> None:
        self._is_running = True
        try:
            while self._is_due:
                self._is_due = False
                await self._report()
                self._failures = 0
        except TunnelDown:
            # It is told when there is one.
            self._is_due = True
        except _IN_VAIN as error:
            self._log.warn("the hub does not want to hear of sessions: {error}", error=error)
        except MeziteError as error:
            self._is_due = True
            wait = self.uniform(0, ceiling(self._failures))
            self._failures += 1
            self._log.info(
                "the hub was not told which sessions live on: {error}; again in {wait:.1f} s",
                error=error,
                wait=wait,
            )
            self._again = self.clock.callLater(wait, self._start)
        finally:
            self._is_running = False

    async def _report(self) -> None:
        known = self.known()
        for session_id, reason in await self.calls().report(known.living, known.beginning):
            self.end(session_id, reason)
