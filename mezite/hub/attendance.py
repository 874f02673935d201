"""
When nodes come and go, for the audit.

An :class:`Attendance` is told of each tunnel that is up or down, and records
what lasts: a tunnel that is back within a minute has not left, and a node that
flaps all day is recorded every ten minutes, with how often it did so meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mezite.audit.chain import time_text
from mezite.audit.events import Actor, EventType
from mezite.auth.trail import AuditTrail
from mezite.hub.presence import SAVE_SECONDS
from mezite.hub.tunnels import TunnelRegistry
from mezite.identity.x509 import NodeIdentity
from mezite.names import AgentId
from mezite.tasks import background

# An agent that is restarted, or whose network blinked, is back in half of this.
LEFT_SECONDS: Final = 60.0
# A node may have so many events at once, and one more after each of these times: ten
# thousand that flap all day make less than twenty events in a second.
BURST: Final = 4.0
HOLD_SECONDS: Final = 600.0


@define(eq=False)
class _Node:
    """
    One node, from its first tunnel until nothing of it needs to be remembered.

    ``is_told`` is whether the audit has it as connected, ``changed`` when its
    tunnel came up or went down last, in POSIX seconds, and ``credit`` how many
    events it may have, as of ``credited`` by the clock that nobody sets.
    """

    identity: NodeIdentity
    address: str
    is_told: bool
    credited: float
    changed: float = 0.0
    credit: float = BURST
    changes: int = 0
    timer: IDelayedCall | None = field(default=None, repr=False)

    def earn(self, now: float) -> None:
        self.credit = min(BURST, self.credit + (now - self.credited) / HOLD_SECONDS)
        self.credited = now


class Attendance:
    """Records in the audit which nodes are connected."""

    def __init__(
        self,
        trail: AuditTrail,
        registry: TunnelRegistry,
        *,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        self._trail = trail
        self._registry = registry
        self._clock = clock
        self._wall_clock = wall_clock
        self._nodes: dict[AgentId, _Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def came(self, identity: NodeIdentity, address: str, last_seen: float | None) -> None:
        """
        A tunnel is up.

        A node that was seen a moment ago has not been away: after a restart
        of the hub they all come back, and none of them had left.
        """
        now = self._wall_clock()
        node = self._nodes.get(identity.agent_id)
        if node is None:
            was_there = last_seen is not None and now - last_seen < SAVE_SECONDS + LEFT_SECONDS
            node = self._nodes[identity.agent_id] = _Node(
                identity, address, was_there, self._clock.seconds()
            )
        node.identity, node.address = identity, address
        self._changed(node, 0.0)

    def went(self, identity: NodeIdentity) -> None:
        """A tunnel is down, and no other took its place."""
        node = self._nodes.get(identity.agent_id)
        if node is not None:
            self._changed(node, LEFT_SECONDS)

    def stop(self) -> None:
        """The hub stops; no node has left because of that."""
        for node in self._nodes.values():
            if node.timer is not None:
                node.timer.cancel()
        self._nodes.clear()

    def _changed(self, node: _Node, wait: float) -> None:
        node.changes += 1
        node.changed = self._wall_clock()
        node.earn(self._clock.seconds())
        if node.timer is not None:
            node.timer.cancel()
            node.timer = None
        if node.is_told == self._is_there(node):
            # As the audit has it: nothing to tell, but what the next event counts.
            return
        delay = max(wait, (1.0 - node.credit) * HOLD_SECONDS)
        if delay > 0:
            node.timer = self._clock.callLater(delay, self._settle, node)
        else:
            self._settle(node)

    def _settle(self, node: _Node) -> None:
        """What was waited for has lasted."""
        node.timer = None
        node.is_told = self._is_there(node)
        node.earn(self._clock.seconds())
        node.credit -= 1.0
        kind = EventType.NODE_CONNECTED if node.is_told else EventType.NODE_LEFT
        event = self._trail.event(
            kind,
            Actor(str(node.identity.node), node.address),
            target=node.identity.agent_id,
            node=node.identity.node,
            since=time_text(node.changed),
            changes=node.changes,
        )
        background(self._trail.record(event), doing=f"recording {kind.text}")
        node.changes = 0
        if not node.is_told:
            # It need not be remembered once it may have as many events as any other.
            left = (BURST - node.credit) * HOLD_SECONDS
            node.timer = self._clock.callLater(left, self._forget, node)

    def _forget(self, node: _Node) -> None:
        node.timer = None
        self._nodes.pop(node.identity.agent_id, None)

    def _is_there(self, node: _Node) -> bool:
        return self._registry.find(node.identity.agent_id) is not None
