"""
The decision about access, asked over what is stored.

:func:`mezite.identity.roles.decide` is the rule; here it gets the user's
rights and the node's labels as they are now, and the locks have their say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from attrs import evolve, field, frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth import hints
from mezite.auth.error import WrongAddress
from mezite.auth.hints import Hints
from mezite.auth.locking import LockService
from mezite.auth.rights import Rights
from mezite.auth.trail import AuditTrail
from mezite.error import BadInput
from mezite.identity.builtinroles import ADMIN
from mezite.identity.explain import Explanation, explain
from mezite.identity.grants import extensions_of
from mezite.identity.locks import Attempt
from mezite.identity.networks import lies_in
from mezite.identity.roles import AccessRules, Decision, UserRights, decide
from mezite.identity.rolesdoc import Options
from mezite.names import AgentId, HostPort, LoginName, RoleName, UserName
from mezite.store.error import NoSuchUser
from mezite.store.interfaces import INodes, IRoles
from mezite.store.records import NodeRecord


@frozen
class Ruling:
    """
    A decision, with what else the hub goes by.

    ``roles`` are those that the user holds on the node. ``is_told``: the reason of
    a refusal may be told to somebody who is not to know whether the node exists.
    """

    decision: Decision
    roles: frozenset[RoleName] = field(factory=frozenset)
    is_told: bool = False

    @property
    def allowed(self) -> bool:
        return self.decision.allowed

    @property
    def reason(self) -> str:
        return self.decision.reason

    @property
    def sentence(self) -> str:
        return self.decision.sentence

    @property
    def hint(self) -> str:
        return self.decision.hint

    @property
    def withheld(self) -> frozenset[str]:
        return self.decision.withheld

    @property
    def options(self) -> Options:
        return self.decision.options or Options()


class AccessService:
    """Answers who may reach which node, under which login."""

    _log = Logger()

    def __init__(
        self,
        rights: Rights,
        nodes: INodes,
        roles: IRoles,
        locks: LockService,
        trail: AuditTrail,
    ) -> None:
        self._rights = rights
        self._locks = locks
        self._trail = trail
        self._nodes = nodes
        self._hints = Hints(roles)

    async def may_reach(
        self,
        user: UserName,
        node: NodeRecord,
        *,
        address: str = "",
        issued: float | None = None,
    ) -> Ruling:
        """
        Whether the user may log in on this node under any login; a refusal is audited.

        :param address: where they come from, ``HOST:PORT``.
        :param issued: when the certificate was that proves them.
        """
        rights = await self.rights_of(user, issued=issued)
        ruling = self.judge(rights, node, None, address=address)
        ruling = await self._hinted(rights, node, None, ruling)
        return await self._noted(Actor(str(user), address), node, None, "", ruling)

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
        issued: float | None = None,
        carried: Collection[str] = (),
    ) -> Ruling:
        """
        Whether the user may become this login on the node; a refusal is audited.

        :param carried: the access requests in the certificate of the session;
            no other requested role counts in it.
        """
        node = await self._nodes.get(agent_id)
        if node is None:
            return Ruling(Decision(False, "this node is not part of the cluster any more"))
        rights = await self.rights_of(user, carried, issued=issued)
        ruling = self.judge(rights, node, login, address=address)
        if not (ruling.allowed or ruling.is_told):
            ruling = await self._hinted(rights, node, login, ruling)
            if hint := await self._not_carried(user, node, login, carried):
                ruling = evolve(ruling, decision=evolve(ruling.decision, hint=hint))
        return await self._noted(Actor(str(user), address), node, login, session_id, ruling)

    async def rights_of(
        self,
        user: UserName,
        carried: Collection[str] | None = None,
        *,
        issued: float | None = None,
    ) -> UserRights | None:
        """What :meth:`judge` needs to know of a user, and the locks with it."""
        await self._locks.load()
        return await self._rights.of(user, carried, issued=issued)

    def judge(
        self,
        rights: UserRights | None,
        node: NodeRecord,
        login: LoginName | None,
        *,
        address: str = "",
    ) -> Ruling:
        """
        The decision by these rights, and by the locks of this moment.

        What is about the user alone is looked at first. What is about the node
        is said only to those who may reach it.
        """
        if rights is None:
            return Ruling(decide(None, node_labels=node.labels, login=login))
        there = rights.on_node(_names(node))
        attempt = Attempt(user=rights.user, roles=_role_names(there))
        if (lock := self._locks.find(attempt)) is not None:
            return Ruling(Decision(False, lock.sentence), is_told=True)
        decision = decide(there, node_labels=node.labels, login=login)
        if not decision.allowed:
            return Ruling(decision)
        options, host = decision.options or Options(), host_of(address)
        if not lies_in(options.source_addresses, host):
            return Ruling(Decision(False, str(WrongAddress(rights.user, host))), is_told=True)
        attempt = evolve(attempt, node=node.name, agent_id=node.agent_id, login=login)
        if (lock := self._locks.find(attempt)) is not None:
            return Ruling(Decision(False, lock.sentence), is_told=True)
        if there.requested != rights.requested:
            # The certificate was made for all nodes; what it permits by a role that is
            # requested for others does not hold here.
            everywhere = extensions_of(AccessRules.of(rights.anywhere()).options)
            here = extensions_of(AccessRules.of(there).options)
            decision = evolve(decision, withheld=everywhere - here)
        return Ruling(decision, attempt.roles)

    async def explain(
        self, user: UserName, login: LoginName | None, node: NodeRecord
    ) -> Explanation:
        """
        What would be decided, and which rule of which role decides it.

        :raises NoSuchUser: also for a user who is disabled, and so has no rights.
        """
        rights = await self.rights_of(user)
        if rights is None:
            raise NoSuchUser(user)
        there = rights.on_node(_names(node))
        explained = explain(there, node_labels=node.labels, login=login)
        attempt = Attempt(rights.user, _role_names(there), node.name, node.agent_id, login)
        lock = self._locks.find(attempt)
        if lock is None or not explained.decision.allowed:
            return explained
        return evolve(explained, decision=Decision(False, lock.sentence), deciding=None)

    async def _hinted(
        self,
        rights: UserRights | None,
        node: NodeRecord,
        login: LoginName | None,
        ruling: Ruling,
    ) -> Ruling:
        """The ruling, with what somebody may ask for who may not go there."""
        if rights is None or ruling.allowed or ruling.is_told:
            return ruling
        roles = await self._hints.requestable(rights, node, login)
        hint = hints.sentence(roles, node)
        return evolve(ruling, decision=evolve(ruling.decision, hint=hint))

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
        ruling: Ruling,
    ) -> Ruling:
        if not ruling.allowed:
            await self._trail.record(
                self._trail.event(
                    EventType.AUTHZ_DENIED,
                    by,
                    target=node.agent_id,
                    node=node.name,
                    login=login or "",
                    session_id=session_id,
                    success=False,
                    error=ruling.reason,
                )
            )
            self._log.info(
                "{user} denied on {node}: {reason}",
                user=by.name,
                node=node.name,
                reason=ruling.reason,
            )
        return ruling


def host_of(address: str) -> str:
    """The host of ``HOST:PORT`` or ``[IPV6]:PORT``; nothing, if it is neither."""
    try:
        return HostPort.parse(address, default_port=0).host
    except BadInput:
        return ""


def _role_names(rights: UserRights) -> frozenset[RoleName]:
    requested = (each.role.name for each in rights.requested)
    names = frozenset((*(role.name for role in rights.roles), *requested))
    return names | {ADMIN} if rights.is_admin else names


def _names(node: NodeRecord) -> tuple[str, str]:
    """What a request may call the node."""
    return node.name.text, node.agent_id.text
