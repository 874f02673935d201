"""
Who may see whose recordings, asked over what is stored.

:mod:`mezite.identity.recordingreview` is the rule; here it gets the person's roles
and the nodes' labels as they are now. One's own recordings are nobody else's matter.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen

from mezite.auth.rights import Rights, is_auditor
from mezite.identity.recordingreview import ReviewRules
from mezite.identity.roles import UserRights
from mezite.names import AgentId
from mezite.store.interfaces import INodes
from mezite.store.recordings import RecordedSession
from mezite.store.records import NodeRecord, UserRecord


@define(eq=False)
class Reviewer:
    """
    One person, and what of others' recordings they may see at this moment.

    ``rights`` are None for who has none.
    """

    record: UserRecord
    rights: UserRights | None
    _nodes: INodes
    # As far as they were asked for.
    _known: dict[AgentId, NodeRecord | None] = field(init=False, factory=dict)
    # One for all nodes on which the same requested roles hold.
    _rules: dict[frozenset[str], ReviewRules] = field(init=False, factory=dict)

    @property
    def sees_any(self) -> bool:
        """Whether there can be a recording of somebody else's that they may see."""
        return self.rights is not None and bool(self._rules_of(self.rights.anywhere()).allowed)

    @property
    def _sees_all(self) -> bool:
        """Whether nothing is kept from them, on no node."""
        if self.rights is None or not is_auditor(self.record):
            return False
        return not self._rules_of(self.rights.anywhere()).denied

    async def may_see(self, session: RecordedSession) -> bool:
        """Whether they may see recordings of this session, if it is not their own."""
        if self.rights is None or self._sees_all:
            return self._sees_all
        node = await self._node(session.agent_id)
        there = self.rights.on_node((session.node.text, session.agent_id.text))
        return self._rules_of(there).allows(session.user, _labels_of(node))

    async def _node(self, agent_id: AgentId) -> NodeRecord | None:
        if agent_id not in self._known:
            self._known[agent_id] = await self._nodes.get(agent_id)
        return self._known[agent_id]

    def _rules_of(self, rights: UserRights) -> ReviewRules:
        holding = frozenset(each.name for each in rights.requested if not each.nodes)
        made = self._rules.get(holding)
        if made is None:
            made = ReviewRules.of(rights, sees_all=is_auditor(self.record))
            self._rules[holding] = made
        return made


@frozen
class Reviewing:
    """Answers who may see whose recordings."""

    rights: Rights
    nodes: INodes

    async def reviewer(self, record: UserRecord) -> Reviewer:
        """This person, with their rights as they are now."""
        return Reviewer(record, await self.rights.of_record(record), self.nodes)


def _labels_of(node: NodeRecord | None) -> Mapping[str, str] | None:
    return None if node is None else node.labels
