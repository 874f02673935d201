"""
Locks in a database.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define
from sqlalchemy import Connection, Row, delete, func, insert, select
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.locks import Lock, LockTarget
from mezite.store import schema
from mezite.store.error import LockExists, NoSuchLock, TooManyLocks
from mezite.store.locks import LOCKS_LIMIT, ILocks
from mezite.store.transactions import Transactions

_locks: Final = schema.locks


@implementer(ILocks)
@define(eq=False)
class DatabaseLocks:
    """The table ``locks``."""

    _transactions: Transactions

    def add(self, lock: Lock, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            same = select(_locks.c.lock_id).where(_locks.c.lock_id == lock.lock_id)
            if connection.execute(same).first() is not None:
                raise LockExists(lock.lock_id)
            number = connection.execute(select(func.count()).select_from(_locks)).scalar_one()
            if number >= LOCKS_LIMIT:
                raise TooManyLocks(LOCKS_LIMIT)
            connection.execute(insert(_locks).values(_values(lock)))

        return self._transactions.write(step, event)

    def list(self) -> Deferred[tuple[Lock, ...]]:
        def step(connection: Connection) -> tuple[Lock, ...]:
            ordered = select(_locks).order_by(_locks.c.created, _locks.c.lock_id)
            return tuple(_lock(row) for row in connection.execute(ordered))

        return self._transactions.read(step)

    def remove(self, lock_id: str, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            statement = delete(_locks).where(_locks.c.lock_id == lock_id)
            if not connection.execute(statement).rowcount:
                raise NoSuchLock(lock_id)

        return self._transactions.write(step, event)


def _values(lock: Lock) -> dict[str, Any]:
    target = lock.target
    return {
        "lock_id": lock.lock_id,
        "user": "" if target.user is None else target.user.text,
        "node": "" if target.node is None else target.node.text,
        "role": "" if target.role is None else target.role.text,
        "login": "" if target.login is None else target.login.text,
        "message": lock.message,
        "created_by": lock.created_by,
        "created": lock.created,
        "expires": lock.expires,
    }


def _lock(row: Row[Any]) -> Lock:
    return Lock(
        lock_id=row.lock_id,
        target=LockTarget.parse(user=row.user, node=row.node, role=row.role, login=row.login),
        message=row.message,
        created_by=row.created_by,
        created=row.created,
        expires=row.expires,
    )
