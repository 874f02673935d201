"""
What can be asked of a store about locks.

Beside :mod:`mezite.store.interfaces`, and under its rules.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from zope.interface import Interface

from mezite.audit.events import AuditEvent
from mezite.identity.locks import Lock

# More cannot be overseen; the hub keeps all of them in memory.
LOCKS_LIMIT: Final = 1000


class ILocks(Interface):
    """The locks that hold, and those whose end nobody has noted yet."""

    def add(lock: Lock, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Keep a lock.

        :raises LockExists: there is one with this id.
        :raises TooManyLocks:
        """

    def list() -> Deferred[tuple[Lock, ...]]:
        """All locks, the oldest first."""

    def remove(lock_id: str, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget a lock.

        :raises NoSuchLock:
        """
