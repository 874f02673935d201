"""
Sessions that began and whose end nobody wrote down: their hub was killed.

A :class:`UnendedSessions` looks for them in the audit when a hub starts, waits
until it is known that they do not go on, and writes how far that is known. What
ends under this hub is :mod:`mezite.hub.sessions`' to write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mezite.audit.events import AuditEvent, EventType
from mezite.auth.trail import AuditTrail
from mezite.hub.livesessions import LiveSessions
from mezite.hub.tunnels import TunnelRegistry
from mezite.names import AgentId, InvalidName
from mezite.store.interfaces import INodes
from mezite.tasks import background

LOOK_SECONDS: Final = 10.0
# An agent that came back has said by then which of its sessions go on, if any can.
TOLD_SECONDS: Final = 30.0
# No session outlives its hub for longer, wherever its agent is.
OUTLIVED_SECONDS: Final = 360.0
# What is older, and no hub has ended yet, is left as it is.
_SINCE_SECONDS: Final = 30 * 86400.0
# Of those that are there together, so many at one time.
_AT_ONCE: Final = 500
_REASON: Final = "the hub went down while it was open"


@define(eq=False)
class UnendedSessions:
    """
    Ends in the audit what a hub before this one began.

    ``audit`` is an :class:`~mezite.store.interfaces.IAuditLog`.
    """

    _log = Logger()

    audit: Any
    nodes: INodes
    live: LiveSessions
    registry: TunnelRegistry
    trail: AuditTrail
    clock: IReactorTime
    wall_clock: Callable[[], float]
    _looking: LoopingCall = field(init=False)
    _began: float = field(init=False, default=0.0)
    # The number of the last event from before this hub.
    _upto: int | None = field(init=False, default=None)
    # Those that the look before found, too: whoever ends one just now has the time to.
    _found: frozenset[int] = field(init=False, default=frozenset())

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(self._look)
        self._looking.clock = self.clock

    def start(self) -> None:
        self._began = self.clock.seconds()
        self._looking.start(LOOK_SECONDS, now=True)

    def stop(self) -> None:
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> Deferred[None]:
        return background(self.look(), doing="ending sessions that a hub before this one began")

    async def look(self) -> None:
        """End what is over for certain; after the last one, look no more."""
        if self._upto is None:
            self._upto = (await self.audit.chain()).last_seq
        found = await self._unended(self._upto)
        if not found:
            self.stop()
            return
        before, self._found = self._found, frozenset(found)
        for seq, event in found.items():
            if seq in before:
                await self._end_if_over(event)

    async def _unended(self, upto: int) -> dict[int, AuditEvent]:
        since, after = self.wall_clock() - _SINCE_SECONDS, 0
        found: dict[int, AuditEvent] = {}
        while True:
            page = await self.audit.unended(since, upto=upto, after=after, limit=_AT_ONCE)
            # What somebody changed by hand is no session of anybody's.
            found.update((each.seq, each.event) for each in page if each.event is not None)
            if len(page) < _AT_ONCE:
                return found
            after = page[-1].seq

    async def _end_if_over(self, begun: AuditEvent) -> None:
        if self.live.find(begun.session_id) is not None or not await self._is_over(begun.target):
            return
        await self.trail.record(
            self.trail.event(
                EventType.SESSION_END,
                begun.actor,
                target=begun.target,
                node=begun.node,
                login=begun.login,
                session_id=begun.session_id,
                at_most_seconds=max(0, round(self.wall_clock() - begun.time)),
                reason=_REASON,
            )
        )

    async def _is_over(self, agent_id: str) -> bool:
        """Whether no session that this node had before goes on, or ever will."""
        since = self.clock.seconds() - self._began
        if since >= OUTLIVED_SECONDS:
            return True
        try:
            record = await self.nodes.get(AgentId.parse(agent_id))
        except InvalidName:
            return True
        if record is None or not record.has_agent:
            # Its SSH ended at the hub that is gone.
            return True
        tunnel = self.registry.find(record.agent_id)
        return tunnel is not None and self.wall_clock() - tunnel.since >= TOLD_SECONDS
