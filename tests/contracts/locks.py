"""
What every store does with locks.
"""

from __future__ import annotations

from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.identity.locks import Lock, LockTarget
from mezite.store.error import LockExists, NoSuchLock, TooManyLocks
from mezite.store.locks import LOCKS_LIMIT, ILocks
from tests.contracts.store import StoreContract

NODE_ID = "5d0a4d5c-7a3f-4a53-9d4e-0f1b6b1f9f10"


def lock(lock_id: str, created: float = 1.0, expires: float | None = None, **target: str) -> Lock:
    parsed = LockTarget.parse(**(target or {"user": "ada"}))
    return Lock(lock_id, parsed, "a lost laptop \N{SNOWMAN}", "grace", created, expires)


class LocksContract(StoreContract):
    """What :class:`ILocks` promises."""

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(ILocks, self.store.locks)

    def test_round_trip(self) -> None:
        """Locks are kept with everything in them, and listed from the oldest on."""
        locks = (
            lock("z", 1.0, 1000.25, user="ada", node="db1", role="ops", login="root"),
            lock("a", 2.0, node=NODE_ID),
            lock("b", 2.0, role="ops"),
        )
        for each in reversed(locks):
            self.answer(self.store.locks.add(each))
        self.assertEqual(self.answer(self.store.locks.list()), locks)

    def test_remove(self) -> None:
        """A lock is removed once."""
        self.answer(self.store.locks.add(lock("a")))
        self.answer(self.store.locks.remove("a"))
        self.assertIn("no lock 'a'", self.refusal(self.store.locks.remove("a"), NoSuchLock))
        self.assertEqual(self.answer(self.store.locks.list()), ())

    def test_same_id(self) -> None:
        """A lock does not replace another."""
        self.answer(self.store.locks.add(lock("a")))
        self.refusal(self.store.locks.add(lock("a", user="eve")), LockExists)
        self.assertEqual(self.answer(self.store.locks.list()), (lock("a"),))

    def test_bound(self) -> None:
        """There are as many locks as can be overseen."""
        for number in range(LOCKS_LIMIT):
            self.answer(self.store.locks.add(lock(str(number))))
        self.refusal(self.store.locks.add(lock("more")), TooManyLocks)

    def test_audited(self) -> None:
        """A change and its event are kept together, or neither is."""

        def event(kind: EventType) -> AuditEvent:
            return AuditEvent(kind, 1.0, Actor("grace"), target="a")

        self.answer(self.store.locks.add(lock("a"), event=event(EventType.LOCK_CREATED)))
        self.refusal(
            self.store.locks.add(lock("a"), event=event(EventType.LOCK_CREATED)), LockExists
        )
        self.answer(self.store.locks.remove("a", event=event(EventType.LOCK_DELETED)))
        self.refusal(self.store.locks.remove("a", event=event(EventType.LOCK_DELETED)), NoSuchLock)
        self.assertEqual(len(self.answer(self.store.audit.lines(0, 10))), 2)
