"""
The decision about access, asked over what is stored.

:func:`mezite.identity.roles.decide` is the rule; here it gets the user's
rights and the node's labels as they are now.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from mezite.auth.rights import Rights
from mezite.identity.explain import Explanation, explain
from mezite.identity.roles import AccessRules, Decision, decide
from mezite.names import AgentId, LoginName, UserName
from mezite.store.error import NoSuchUser
from mezite.store.interfaces import INodes
from mezite.store.records import NodeRecord


class AccessService:
    """Answers who may reach which node, under which login."""

    _log = Logger()

    def __init__(self, rights: Rights, nodes: INodes) -> None:
        self._rights = rights
        self._nodes = nodes

    async def may_reach(self, user: UserName, node: NodeRecord) -> Decision:
        """Whether the user may log in on this node under any login."""
        rights = await self._rights.of(user)
        return self._noted(user, node, decide(rights, node_labels=node.labels, login=None))

    async def reachable(self, user: UserName, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
        """Those of these nodes that the user may reach, in their order."""
        rights = await self._rights.of(user)
        if rights is None:
            return []
        rules = AccessRules.of(rights)
        return [node for node in nodes if rules.decide(node.labels, None).allowed]

    async def authorize_session(
        self, user: UserName, login: LoginName, agent_id: AgentId
    ) -> Decision:
        """Whether the user may become this login on the node of this agent."""
        node = await self._nodes.get(agent_id)
        if node is None:
            return Decision(False, "this node is not part of the cluster any more")
        rights = await self._rights.of(user)
        return self._noted(user, node, decide(rights, node_labels=node.labels, login=login))

    async def explain(
        self, user: UserName, login: LoginName | None, node: NodeRecord
    ) -> Explanation:
        """
        What would be decided, and which rule of which role decides it.

        :raises NoSuchUser: also for a user who is disabled, and so has no rights.
        """
        rights = await self._rights.of(user)
        if rights is None:
            raise NoSuchUser(user)
        return explain(rights, node_labels=node.labels, login=login)

    def _noted(self, user: UserName, node: NodeRecord, decision: Decision) -> Decision:
        if not decision.allowed:
            self._log.info(
                "{user} denied on {node}: {reason}",
                user=user,
                node=node.name,
                reason=decision.reason,
            )
        return decision
