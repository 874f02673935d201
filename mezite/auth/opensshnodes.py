"""
Nodes without an agent, as administrators add them.

They come in by an administrator's word and by no token. How the hub reaches
them is :mod:`mezite.hub.openssh`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest, NodeNameReserved
from mezite.auth.nodenames import refuse_reserved
from mezite.auth.trail import AuditTrail
from mezite.identity.hostproof import parse_facts
from mezite.names import AgentId, ClusterName, NodeName, check_labels
from mezite.store.interfaces import INodes
from mezite.store.records import NodeRecord


@frozen
class OpenSshNodeService:
    """Adds servers that are reached at an address, and known by their host keys."""

    _log = Logger()

    nodes: INodes
    trail: AuditTrail
    cluster: ClusterName
    hub_names: Sequence[str]
    wall_clock: Callable[[], float]

    async def create(
        self,
        name: str,
        *,
        address: str,
        labels: Mapping[str, str],
        host_keys: Iterable[str],
        host_authorities: Iterable[str],
        by: Actor,
    ) -> NodeRecord:
        """
        :raises BadRequest: the name means something else here.
        :raises InvalidName:
        :raises BadPublicKey: nothing says how the server proves itself, or not well.
        :raises NodeExists: the name is taken.
        """
        node = NodeName.parse(name)
        try:
            refuse_reserved(node, (*self.hub_names, self.cluster.text), self.cluster)
        except NodeNameReserved:
            raise BadRequest(f"the name {node} has another meaning here: give another") from None
        facts = parse_facts(address, host_keys, host_authorities)
        kept = check_labels(labels)
        record = NodeRecord(
            agent_id=AgentId.new(),
            name=node,
            labels=kept,
            version="",
            joined=self.wall_clock(),
            hub_labels=kept,
            address=str(facts.address),
            sshd=facts,
        )
        event = self.trail.event(
            EventType.NODE_CREATED,
            by,
            target=record.agent_id,
            node=node,
            address=str(facts.address),
            host_keys=facts.host_keys,
            host_authorities=facts.authorities,
        )
        await self.nodes.add(record, event=event)
        self._log.info("{by} added the server {node}", by=by.name, node=node)
        return record
