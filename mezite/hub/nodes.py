"""
The nodes as a person asks for them: known to the store, live in the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import evolve, frozen

from mezite.hub.error import NodeOffline, UnknownNode
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.names import AgentId, InvalidName, NodeName
from mezite.store.interfaces import INodes
from mezite.store.records import NodeRecord

# Fewer letters of an id are hardly meant as one, and would tell many apart from few.
ID_LETTERS: Final = 8
# With their ids they fit into the one line that SSH has for a refusal.
_CANDIDATES: Final = 4


@frozen
class NodeStatus:
    """A node with what its tunnel, if one is up, knows better than the store."""

    record: NodeRecord
    # When the tunnel that is up came up; None while the node is offline.
    online_since: float | None = None

    @property
    def is_online(self) -> bool:
        return self.online_since is not None

    @property
    def offline_since(self) -> float | None:
        """
        The last sign of life, or else when it joined; None while it is online.

        Nobody knows it of a machine without an agent.
        """
        if self.is_online or not self.record.has_agent:
            return None
        return self.record.joined if self.record.last_seen is None else self.record.last_seen


class NodeDirectory:
    """Finds nodes by host name or agent id, and tells which are online."""

    def __init__(
        self, nodes: INodes, registry: TunnelRegistry, wall_clock: Callable[[], float]
    ) -> None:
        self._nodes = nodes
        self._registry = registry
        self._wall_clock = wall_clock

    async def listing(self) -> list[NodeStatus]:
        """Every node that has joined and was not removed, by name."""
        records = await self._nodes.list()
        return sorted((self._status(record) for record in records), key=lambda s: s.record.name)

    async def find(self, wanted: str) -> NodeRecord:
        """
        The node that a person means by this host name or agent id, as it is now.

        :raises UnknownNode: if there is none; the sentence names what was perhaps meant.
        """
        return (await self.find_status(wanted)).record

    async def find_status(self, wanted: str) -> NodeStatus:
        """
        The same, with whether it is online; the beginning of an agent id will do
        if no other begins so.

        :raises UnknownNode:
        """
        record = await self.find_exactly(wanted)
        if record is None:
            records = await self._nodes.list()
            begun = [each for each in records if begins_id(wanted, each)]
            if len(begun) != 1:
                meant = did_you_mean(wanted, records)
                raise UnknownNode(f"there is no node {shown(wanted)}{meant}")
            record = begun[0]
        return self._status(record)

    async def find_exactly(self, wanted: str) -> NodeRecord | None:
        """The node of this host name or agent id, as it is now."""
        try:
            record = await self._nodes.get(AgentId.parse(wanted))
        except InvalidName:
            try:
                record = await self._nodes.by_name(NodeName.parse(wanted))
            except InvalidName:
                return None
        return None if record is None else self._status(record).record

    async def stored(self) -> tuple[NodeRecord, ...]:
        """Every node, as the store knows it."""
        return await self._nodes.list()

    def is_online(self, agent_id: AgentId) -> bool:
        """Whether a live tunnel leads to the node of this agent."""
        return self._registry.find(agent_id) is not None

    def hang_up(self, agent_id: AgentId) -> None:
        """Close the tunnel of this agent, if there is one."""
        tunnel = self._registry.find(agent_id)
        if tunnel is not None:
            tunnel.close()

    def tunnel_to(self, record: NodeRecord, now: float) -> Tunnel:
        """
        The live tunnel to this node.

        :raises NodeOffline: with a sentence that says when it was last seen.
        """
        tunnel = self._registry.find(record.agent_id)
        if tunnel is None:
            raise NodeOffline(f"{record.name} is not connected; {last_seen(record, now)}")
        return tunnel

    def _status(self, record: NodeRecord) -> NodeStatus:
        tunnel = self._registry.find(record.agent_id)
        if tunnel is None:
            return NodeStatus(record)
        live = evolve(
            record.told(tunnel.word),
            address=tunnel.address,
            last_seen=tunnel.seen(self._wall_clock()),
        )
        return NodeStatus(live, online_since=tunnel.since)


def shown(wanted: str) -> str:
    """What a person asked for, fit to be repeated to them."""
    is_plain = bool(wanted) and wanted.isprintable() and " " not in wanted
    return wanted[:80] if is_plain else repr(wanted[:40])


def begins_id(wanted: str, record: NodeRecord) -> bool:
    """Whether this is the beginning of the node's id, and long enough to be meant as one."""
    return len(wanted) >= ID_LETTERS and record.agent_id.text.startswith(wanted)


def did_you_mean(wanted: str, records: Iterable[NodeRecord]) -> str:
    """
    The end of a sentence that there is no such node: those that may be meant, if any.

    ``db`` may mean ``db1``; ``db1`` may mean ``db1.eu`` or ``db1.us``; ``db1.eu``
    may mean ``db1``; and the beginning of an id means who has it.
    """
    short = wanted.strip().lower()
    if not short:
        return ""
    first = short.partition(".")[0]
    near = [
        record
        for record in records
        if record.name.text.startswith(short)
        or record.name.text == first
        or begins_id(short, record)
    ]
    if not near:
        return ""
    near.sort(key=lambda record: record.name)
    named = [f"{record.name} ({record.agent_id})" for record in near[:_CANDIDATES]]
    if len(near) > _CANDIDATES:
        named.append(f"one of {len(near) - _CANDIDATES} more")
    *others, last = named
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def last_seen(record: NodeRecord, now: float) -> str:
    """When a node was last heard of, as the second half of a sentence."""
    if record.last_seen is None:
        return "it has never been seen"
    seconds = max(0, int(now - record.last_seen))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"it was last seen {seconds // size} {unit}s ago"
    return f"it was last seen {seconds} s ago"
