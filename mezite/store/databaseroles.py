"""
Roles in a database, and the promise that no user has one that is not there.

Roles stand in their users' rows as lists of names, which no foreign key
watches: what would break the promise is refused here, in the same step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from attrs import define
from sqlalchemy import Connection, delete, func, insert, select, update
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.builtinroles import BUILT_IN
from mezite.names import RoleName, UserName
from mezite.store import rows, schema
from mezite.store.error import NoSuchRole, RoleExists, RoleInUse, TooManyRoles
from mezite.store.interfaces import ROLES_LIMIT, IRoles
from mezite.store.records import RoleRecord
from mezite.store.transactions import Transactions

_roles: Final = schema.roles
_users: Final = schema.users


@implementer(IRoles)
@define(eq=False)
class DatabaseRoles:
    """The table ``roles``."""

    _transactions: Transactions

    def put(
        self, record: RoleRecord, *, replace: bool, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            name = record.role.name
            if name in BUILT_IN:
                raise RoleExists(name, is_built_in=True)
            values = rows.of_role(record)
            if _there(connection, [name]):
                if not replace:
                    raise RoleExists(name)
                del values["created"]
                chosen = update(_roles).where(_roles.c.name == name.text)
                connection.execute(chosen.values(values))
                return
            number = connection.execute(select(func.count()).select_from(_roles)).scalar_one()
            if number >= ROLES_LIMIT:
                raise TooManyRoles(ROLES_LIMIT)
            connection.execute(insert(_roles).values(values))

        return self._transactions.write(step, event)

    def get(self, name: RoleName) -> Deferred[RoleRecord | None]:
        def step(connection: Connection) -> RoleRecord | None:
            row = connection.execute(select(_roles).where(_roles.c.name == name.text)).first()
            return None if row is None else rows.role_of(row)

        return self._transactions.read(step)

    def named(self, names: Collection[RoleName]) -> Deferred[Mapping[RoleName, RoleRecord]]:
        wanted = [name.text for name in names]

        def step(connection: Connection) -> Mapping[RoleName, RoleRecord]:
            found = connection.execute(select(_roles).where(_roles.c.name.in_(wanted)))
            return {RoleName(row.name): rows.role_of(row) for row in found}

        return self._transactions.read(step)

    def list(self) -> Deferred[tuple[RoleRecord, ...]]:
        def step(connection: Connection) -> tuple[RoleRecord, ...]:
            ordered = select(_roles).order_by(_roles.c.name)
            return tuple(rows.role_of(row) for row in connection.execute(ordered))

        return self._transactions.read(step)

    def remove(self, name: RoleName, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            if not _there(connection, [name]):
                raise NoSuchRole(name)
            ordered = select(_users.c.name, _users.c.roles).order_by(_users.c.name)
            holders = [
                UserName(row.name) for row in connection.execute(ordered) if name.text in row.roles
            ]
            if holders:
                raise RoleInUse(name, holders)
            connection.execute(delete(_roles).where(_roles.c.name == name.text))

        return self._transactions.write(step, event)


def check_roles(connection: Connection, names: Collection[RoleName]) -> None:
    """
    Let a user have these roles, within the step that gives them.

    :raises NoSuchRole: for the first that is neither there nor built in.
    """
    written = [name for name in names if name not in BUILT_IN]
    there = _there(connection, written) if written else set()
    for name in written:
        if name.text not in there:
            raise NoSuchRole(name)


def _there(connection: Connection, names: Collection[RoleName]) -> set[str]:
    wanted = [name.text for name in names]
    return set(connection.execute(select(_roles.c.name).where(_roles.c.name.in_(wanted))).scalars())
