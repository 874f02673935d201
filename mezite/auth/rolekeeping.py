"""
The roles of the cluster, built-in ones and written ones.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BuiltInRole
from mezite.auth.trail import AuditTrail
from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.rolesdoc import Role
from mezite.names import RoleName
from mezite.store.error import NoSuchRole
from mezite.store.interfaces import IRoles
from mezite.store.records import RoleRecord


class RoleService:
    """Keeps what administrators write; who has a role is :mod:`mezite.auth.people`'s."""

    _log = Logger()

    def __init__(
        self, roles: IRoles, trail: AuditTrail, *, wall_clock: Callable[[], float]
    ) -> None:
        self._roles = roles
        self._trail = trail
        self._wall_clock = wall_clock

    async def put(self, role: Role, *, replace: bool = False, by: Actor) -> RoleRecord:
        """
        Add a role, or replace it.

        :raises RoleExists: it is there and not to be replaced, or is built in.
        :raises TooManyRoles:
        """
        now = self._wall_clock()
        is_there = replace and await self._roles.get(role.name) is not None
        kind = EventType.ROLE_UPDATED if is_there else EventType.ROLE_CREATED
        event = self._trail.event(kind, by, target=role.name)
        await self._roles.put(RoleRecord(role, now, now), replace=replace, event=event)
        self._log.info("role {role} written by {who}", role=role.name, who=by.name)
        return await self.get(role.name)

    async def get(self, name: RoleName) -> RoleRecord:
        """
        A role, built in (and then without age) or written.

        :raises NoSuchRole:
        """
        if name in BUILT_IN:
            return _built_in(BUILT_IN[name])
        record = await self._roles.get(name)
        if record is None:
            raise NoSuchRole(name)
        return record

    async def list(self) -> list[RoleRecord]:
        """All roles, by name."""
        written = await self._roles.list()
        return sorted(
            (*map(_built_in, BUILT_IN.values()), *written), key=lambda record: record.role.name
        )

    async def remove(self, name: RoleName, *, by: Actor) -> None:
        """
        Forget a role that nobody has.

        :raises NoSuchRole:
        :raises RoleInUse:
        :raises BuiltInRole:
        """
        if name in BUILT_IN:
            raise BuiltInRole(name)
        event = self._trail.event(EventType.ROLE_DELETED, by, target=name)
        await self._roles.remove(name, event=event)
        self._log.info("role {role} removed by {who}", role=name, who=by.name)


def _built_in(role: Role) -> RoleRecord:
    return RoleRecord(role, 0.0, 0.0)
