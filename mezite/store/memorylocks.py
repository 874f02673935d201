"""
Locks in a dictionary.
"""

from __future__ import annotations

from attrs import define
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.locks import Lock
from mezite.store.error import LockExists, NoSuchLock, TooManyLocks
from mezite.store.locks import LOCKS_LIMIT, ILocks
from mezite.store.memorytables import Tables, step


@implementer(ILocks)
@define(eq=False)
class MemoryLocks:
    """Locks by their ids."""

    _tables: Tables

    @step
    def add(self, lock: Lock, *, event: AuditEvent | None = None) -> None:
        locks = self._tables.locks
        if lock.lock_id in locks:
            raise LockExists(lock.lock_id)
        if len(locks) >= LOCKS_LIMIT:
            raise TooManyLocks(LOCKS_LIMIT)
        locks[lock.lock_id] = lock

    @step
    def list(self) -> tuple[Lock, ...]:
        locks = self._tables.locks.values()
        return tuple(sorted(locks, key=lambda lock: (lock.created, lock.lock_id)))

    @step
    def remove(self, lock_id: str, *, event: AuditEvent | None = None) -> None:
        if self._tables.locks.pop(lock_id, None) is None:
            raise NoSuchLock(lock_id)
