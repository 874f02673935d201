"""
The decision about access, asked over what is stored.

:func:`mezite.identity.roles.decide` is the rule; here it gets the user's
rights and the node's labels as they are now.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.rights import Rights
from mezite.auth.trail import AuditTrail
from mezite.identity.explain import Explanation, explain
from mezite.identity.roles import AccessRules, Decision, decide
from mezite.names import AgentId, LoginName, UserName
from mezite.store.error import NoSuchUser
from mezite.store.interfaces import INodes
from mezite.store.records import NodeRecord


class AccessService:
    """Answers who may reach which node, under which login."""

    _log = Logger()

    def __init__(self, rights: Rights, nodes: INodes, trail: AuditTrail) -> None:
        self._rights = rights
        self._trail = trail
        self._nodes = nodes

    async def may_reach(self, user: UserName, node: NodeRecord, *, address: str = "") -> Decision:
        """Whether the user may log in on this node under any login; a refusal is audited."""
        rights = await self._rights.of(user)
        decision = decide(rights, node_labels=node.labels, login=None)
        return await self._noted(Actor(str(user), address), node, None, "", decision)

    async def reachable(self, user: UserName, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
        """Those of these nodes that the user may reach, in their order."""
        rights = await self._rights.of(user)
        if rights is None:
            return []
        rules = AccessRules.of(rights)
        return [node for node in nodes if rules.decide(node.labels, None).allowed]

    async def authorize_session(
        self,
        user: UserName,
        login: LoginName,
        agent_id: AgentId,
        *,
        session_id: str = "",
        address: str = "",
    ) -> Decision:
        """Whether the user may become this login on the node; a refusal is audited."""
        node = await self._nodes.get(agent_id)
        if node is None:
            return Decision(False, "this node is not part of the cluster any more")
        rights = await self._rights.of(user)
        decision = decide(rights, node_labels=node.labels, login=login)
        return await self._noted(Actor(str(user), address), node, login, session_id, decision)

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

    async def _noted(
        self,
        by: Actor,
        node: NodeRecord,
        login: LoginName | None,
        session_id: str,
        decision: Decision,
    ) -> Decision:
        if not decision.allowed:
            await self._trail.record(
                self._trail.event(
                    EventType.AUTHZ_DENIED,
                    by,
                    target=node.agent_id,
                    node=node.name,
                    login=login or "",
                    session_id=session_id,
                    success=False,
                    error=decision.reason,
                )
            )
            self._log.info(
                "{user} denied on {node}: {reason}",
                user=by.name,
                node=node.name,
                reason=decision.reason,
            )
        return decision
