"""
The nodes as a person asks for them: known to the store, live in the registry.
"""

from __future__ import annotations

from attrs import frozen

from mezite.hub.error import NodeOffline, UnknownNode
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.names import AgentId, InvalidName, NodeName
from mezite.store.interfaces import INodes
from mezite.store.records import NodeRecord


@frozen
class NodeStatus:
    """A node with what its tunnel, if one is up, knows better than the store."""

    record: NodeRecord
    is_online: bool


class NodeDirectory:
    """Finds nodes by host name or agent id, and tells which are online."""

    def __init__(self, nodes: INodes, registry: TunnelRegistry) -> None:
        self._nodes = nodes
        self._registry = registry

    async def listing(self) -> list[NodeStatus]:
        """Every node that has joined and was not removed, by name."""
        records = await self._nodes.list()
        return sorted((self._status(record) for record in records), key=lambda s: s.record.name)

    async def find(self, wanted: str) -> NodeRecord:
        """
        The node that a person means by this host name or agent id.

        :raises UnknownNode: if there is none.
        """
        record: NodeRecord | None = None
        try:
            record = await self._nodes.get(AgentId.parse(wanted))
        except InvalidName:
            try:
                record = await self._nodes.by_name(NodeName.parse(wanted))
            except InvalidName:
                raise UnknownNode(f"there is no node {wanted[:80]!r}") from None
        if record is None:
            raise UnknownNode(f"there is no node {wanted}")
        return self._status(record).record

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
            return NodeStatus(record, is_online=False)
        live = NodeRecord(
            agent_id=record.agent_id,
            name=record.name,
            labels=dict(tunnel.labels),
            version=tunnel.version,
            joined=record.joined,
            last_seen=max(tunnel.last_seen, record.last_seen or 0.0),
        )
        return NodeStatus(live, is_online=True)


def last_seen(record: NodeRecord, now: float) -> str:
    """When a node was last heard of, as the second half of a sentence."""
    if record.last_seen is None:
        return "it has never been seen"
    seconds = max(0, int(now - record.last_seen))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"it was last seen {seconds // size} {unit}s ago"
    return f"it was last seen {seconds} s ago"
