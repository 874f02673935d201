"""
What somebody who was refused can do about it: a request that would open the door.

It is told only to those who may ask for a role that opens it, so that nobody
else learns of the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import evolve

from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.requests import may_request
from mezite.identity.roles import RequestedRole, UserRights, decide
from mezite.identity.rolesdoc import Role
from mezite.identity.terms import Literal
from mezite.names import LoginName, RoleName
from mezite.store.interfaces import IRoles
from mezite.store.records import NodeRecord

# More are no hint.
_SHOWN: Final = 3


class Hints:
    """Looks for roles that would have changed a refusal."""

    def __init__(self, roles: IRoles) -> None:
        self._roles = roles

    async def requestable(
        self, rights: UserRights, node: NodeRecord, login: LoginName | None
    ) -> list[RoleName]:
        """The roles that this person may ask for, and that would open the node to them."""
        names = (node.name.text, node.agent_id.text)
        return [
            role.name
            for role in await self._candidates(rights)
            if may_request(rights, role.name) and _opens(rights, role, names, node, login)
        ][:_SHOWN]

    async def _candidates(self, rights: UserRights) -> Iterable[Role]:
        terms = [term for role in rights.roles for term in role.allow.request_roles]
        if not terms:
            return ()
        if all(isinstance(term, Literal) for term in terms):
            named = {RoleName(str(term)) for term in terms}
            found = await self._roles.named(sorted(named - BUILT_IN.keys()))
            built_in = [BUILT_IN[name] for name in sorted(named & BUILT_IN.keys())]
            return [*built_in, *(found[name].role for name in sorted(found))]
        return [*BUILT_IN.values(), *(record.role for record in await self._roles.list())]


def sentence(roles: Iterable[RoleName], node: NodeRecord) -> str:
    """What to type; empty if there is nothing to ask for."""
    names = [str(role) for role in roles]
    if not names:
        return ""
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    return (
        f"you may ask for the role {names[0]}{others}:"
        f" msh request create --roles {names[0]} --nodes {node.name} --reason ..."
    )


def _opens(
    rights: UserRights,
    role: Role,
    names: tuple[str, str],
    node: NodeRecord,
    login: LoginName | None,
) -> bool:
    asked = evolve(rights, requested=(*rights.requested, RequestedRole(role, "", 0.0)))
    return decide(asked.on_node(names), node_labels=node.labels, login=login).allowed
