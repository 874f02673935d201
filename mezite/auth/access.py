"""
The decision about access, asked over what is stored.

:func:`mezite.identity.roles.decide` is the rule; here it gets the user's
rights and the node's labels as they are now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import evolve
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth import hints
from mezite.auth.hints import Hints
from mezite.auth.rights import Rights
from mezite.auth.trail import AuditTrail
from mezite.identity.explain import Explanation, explain
from mezite.identity.grants import extensions_of
from mezite.identity.roles import (
    AccessRules,
    Decision,
    UserRights,
    decide,
)
from mezite.names import AgentId, LoginName, UserName
from mezite.store.error import NoSuchUser
from mezite.store.interfaces import INodes, IRoles
from mezite.store.records import NodeRecord


class AccessService:
    """Answers who may reach which node, under which login."""

    _log = Logger()

    def __init__(self, rights: Rights, nodes: INodes, roles: IRoles, trail: AuditTrail) -> None:
        self._rights = rights
        self._trail = trail
        self._nodes = nodes
        self._hints = Hints(roles)

    async def may_reach(self, user: UserName, node: NodeRecord, *, address: str = "") -> Decision:
        """Whether the user may log in on this node under any login; a refusal is audited."""
        rights = await self._rights.of(user)
        decision = await self._decided(rights, node, None)
        return await self._noted(Actor(str(user), address), node, None, "", decision)

    async def reachable(self, user: UserName, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
        """Those of these nodes that the user may reach, in their order."""
        rights = await self._rights.of(user)
        if rights is None:
            return []
        # Rules are made once for all nodes on which the same requested roles hold.
        made: dict[frozenset[str], AccessRules] = {}
        found = []
        for node in nodes:
            there = rights.on_node(_names(node))
            holding = frozenset(each.name for each in there.requested)
            rules = made[holding] = made.get(holding) or AccessRules.of(there)
            if rules.decide(node.labels, None).allowed:
                found.append(node)
        return found

    async def authorize_session(
        self,
        user: UserName,
        login: LoginName,
        agent_id: AgentId,
        *,
        session_id: str = "",
        address: str = "",
        carried: Collection[str] = (),
    ) -> Decision:
        """
        Whether the user may become this login on the node; a refusal is audited.

        :param carried: the access requests in the certificate of the session;
            no other requested role counts in it.
        """
        node = await self._nodes.get(agent_id)
        if node is None:
            return Decision(False, "this node is not part of the cluster any more")
        rights = await self._rights.of(user, carried)
        decision = await self._decided(rights, node, login)
        if not decision.allowed and (hint := await self._not_carried(user, node, login, carried)):
            decision = evolve(decision, hint=hint)
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
        return explain(rights.on_node(_names(node)), node_labels=node.labels, login=login)

    async def _decided(
        self, rights: UserRights | None, node: NodeRecord, login: LoginName | None
    ) -> Decision:
        if rights is None:
            return decide(None, node_labels=node.labels, login=login)
        there = rights.on_node(_names(node))
        decision = decide(there, node_labels=node.labels, login=login)
        if not decision.allowed:
            roles = await self._hints.requestable(rights, node, login)
            return evolve(decision, hint=hints.sentence(roles, node))
        if there.requested == rights.requested:
            return decision
        # The certificate was made for all nodes; what it permits by a role that is
        # requested for others does not hold here.
        everywhere = extensions_of(AccessRules.of(rights.anywhere()).options)
        here = extensions_of(AccessRules.of(there).options)
        return evolve(decision, withheld=everywhere - here)

    async def _not_carried(
        self, user: UserName, node: NodeRecord, login: LoginName, carried: Collection[str]
    ) -> str:
        """What to do when a request is approved that the certificate is older than."""
        rights = await self._rights.of(user)
        if rights is None:
            return ""
        for each in rights.requested:
            alone = evolve(rights, requested=(each,)).on_node(_names(node))
            if (
                each.request_id not in carried
                and decide(alone, node_labels=node.labels, login=login).allowed
            ):
                return (
                    f"your request {each.request_id} is approved:"
                    f" msh login --request {each.request_id} puts it into your certificate"
                )
        return ""

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


def _names(node: NodeRecord) -> tuple[str, str]:
    """What a request may call the node."""
    return node.name.text, node.agent_id.text
