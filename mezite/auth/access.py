"""
The decision about access, asked over what is stored.

:func:`mezite.identity.roles.decide` is the rule; here it gets the user's
rights and the node's labels as they are now.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from mezite.identity.roles import Decision, UserRights, decide
from mezite.names import AgentId, LoginName, UserName
from mezite.store.interfaces import INodes, IUsers
from mezite.store.records import NodeRecord, UserRecord


class AccessService:
    """Answers who may reach which node, under which login."""

    _log = Logger()

    def __init__(self, users: IUsers, nodes: INodes) -> None:
        self._users = users
        self._nodes = nodes

    async def may_reach(self, user: UserName, node: NodeRecord) -> Decision:
        """Whether the user may log in on this node under any login."""
        rights = rights_of(await self._users.get(user))
        return self._noted(user, node, decide(rights, node_labels=node.labels, login=None))

    async def reachable(self, user: UserName, nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
        """Those of these nodes that the user may reach, in their order."""
        rights = rights_of(await self._users.get(user))
        return [
            node for node in nodes if decide(rights, node_labels=node.labels, login=None).allowed
        ]

    async def authorize_session(
        self, user: UserName, login: LoginName, agent_id: AgentId
    ) -> Decision:
        """Whether the user may become this login on the node of this agent."""
        node = await self._nodes.get(agent_id)
        if node is None:
            return Decision(False, "this node is not part of the cluster any more")
        rights = rights_of(await self._users.get(user))
        return self._noted(user, node, decide(rights, node_labels=node.labels, login=login))

    def _noted(self, user: UserName, node: NodeRecord, decision: Decision) -> Decision:
        if not decision.allowed:
            self._log.info(
                "{user} denied on {node}: {reason}",
                user=user,
                node=node.name,
                reason=decision.reason,
            )
        return decision


def rights_of(record: UserRecord | None) -> UserRights | None:
    """What a user may; None, which is nothing, for one who is not there or disabled."""
    if record is None or record.disabled:
        return None
    return UserRights(
        user=record.name,
        logins=frozenset(record.logins),
        node_labels=record.node_labels,
        is_admin=record.is_admin,
    )
