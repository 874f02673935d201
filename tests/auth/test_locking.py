"""Tests of the locks in memory: that they follow the store, and end in time."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import BadRequest, Locked, NodeLocked
from mezite.auth.locking import LockService
from mezite.error import BadInput, Unavailable
from mezite.identity.locks import Attempt, Lock, LockTarget
from mezite.names import AgentId, NodeName, UserName
from mezite.store.error import NoSuchLock, StoreUnavailable
from tests.auth.world import ADA, LOCAL, World

T = TypeVar("T")
ON_ADA = LockTarget(user=ADA)
ADAS = Attempt(user=ADA)


class LockingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.locks = self.world.locks
        self.changes = 0
        self.locks.when_changed(self.changed)

    def changed(self) -> None:
        self.changes += 1

    def done(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, work: Coroutine[Any, Any, Any], kind: type[Exception]) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(work), kind).value)

    def create(
        self, target: LockTarget = ON_ADA, ttl: float | None = None, message: str = "lost laptop"
    ) -> Lock:
        return self.done(self.locks.create(target, ttl=ttl, message=message, by=LOCAL))

    def advance(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.clock.advance(seconds)

    def kinds(self) -> list[str]:
        return [event.type.text for event in self.world.audited()]

    def test_at_once(self) -> None:
        """A lock holds from the moment that it is there, and says why; without it, nobody is."""
        self.done(self.locks.check(ADAS))
        lock = self.create()
        self.assertEqual(self.refused(self.locks.check(ADAS), Locked), "ada is locked: lost laptop")
        self.done(self.locks.check(Attempt(user=UserName("eve"))))
        self.done(self.locks.remove(lock.lock_id, by=LOCAL))
        self.done(self.locks.check(ADAS))
        self.assertEqual(self.changes, 2)
        self.assertEqual(self.kinds(), ["lock.created", "lock.deleted"])

    def test_nodes(self) -> None:
        """A locked node hears that it may try again: the kind of what is not for good."""
        self.create(LockTarget(node=NodeName("db1")), message="")
        said = self.refused(self.locks.check_node(NodeName("db1"), AgentId.new()), NodeLocked)
        self.assertEqual(said, "the node db1 is locked")
        self.assertTrue(issubclass(NodeLocked, Unavailable))
        self.done(self.locks.check_node(NodeName("db2")))

    def test_expires(self) -> None:
        """A lock that is over holds no more, is gone, and its end is in the audit."""
        self.create(ttl=3600.0)
        self.advance(3599.5)
        self.refused(self.locks.check(ADAS), Locked)
        self.advance(1)
        self.done(self.locks.check(ADAS))
        self.assertEqual(self.done(self.locks.holding()), ())
        self.assertEqual(self.kinds(), ["lock.created", "lock.expired"])
        self.assertEqual(self.changes, 2)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def test_several_ends(self) -> None:
        """Each lock ends at its own time."""
        self.create(ttl=50.0)
        self.create(LockTarget(user=UserName("eve")), ttl=10.0)
        self.create(LockTarget(user=UserName("bob")))
        self.advance(10)
        self.assertEqual(len(self.done(self.locks.holding())), 2)
        self.advance(40)
        (left,) = self.done(self.locks.holding())
        self.assertEqual(left.target.user, UserName("bob"))

    def test_clock_set(self) -> None:
        """A wall clock that is set forward ends locks within a minute."""
        self.create(ttl=86400.0)
        self.world.now += 90_000
        self.done(self.locks.check(ADAS))
        self.assertEqual(self.done(self.locks.holding()), ())
        self.world.clock.advance(60)
        self.assertEqual(self.kinds()[-1], "lock.expired")

    def again(self) -> LockService:
        """Another process over the same store."""
        trail = self.world.locks._trail
        return LockService(
            self.world.store.locks,
            trail,
            clock=self.world.clock,
            wall_clock=self.world.time,
        )

    def test_restart(self) -> None:
        """Locks outlive the process; what ended meanwhile is noted by the next."""
        self.create(ttl=10.0)
        self.create(LockTarget(user=UserName("eve")))
        self.locks.stop()
        self.advance(20)
        self.locks = self.again()
        self.refused(self.locks.check(Attempt(user=UserName("eve"))), Locked)
        self.done(self.locks.check(ADAS))
        self.world.clock.advance(0)
        self.assertEqual(self.kinds()[-1], "lock.expired")

    def test_not_read_yet(self) -> None:
        """Before the locks are known, nothing is open."""
        locks = self.again()
        self.assertRaises(Unavailable, locks.find, ADAS)
        self.patch(type(self.world.store.locks), "list", lambda _: fail(StoreUnavailable("busy")))
        self.refused(locks.check(ADAS), StoreUnavailable)

    def test_not_stored(self) -> None:
        """A lock that is not stored does not hold, and one that stays stored does."""
        lock = self.create()

        def refuse(*_: Any, **__: Any) -> Any:
            return fail(StoreUnavailable("disk full"))

        for name in ("add", "remove"):
            self.patch(type(self.world.store.locks), name, refuse)
        eve = LockTarget(user=UserName("eve"))
        creating = self.locks.create(eve, ttl=None, message="", by=LOCAL)
        self.refused(creating, StoreUnavailable)
        self.refused(self.locks.remove(lock.lock_id, by=LOCAL), StoreUnavailable)
        self.assertEqual(self.done(self.locks.holding()), (lock,))

    def test_nobody_waits(self) -> None:
        """A lock whose maker gives up waiting holds as soon as it is stored."""
        stored: Deferred[None] = Deferred()
        self.patch(type(self.world.store.locks), "add", lambda *_, **__: stored)
        creating = Deferred.fromCoroutine(self.locks.create(ON_ADA, ttl=None, message="", by=LOCAL))
        creating.cancel()
        self.failureResultOf(creating, CancelledError)
        self.done(self.locks.check(ADAS))
        stored.callback(None)
        self.refused(self.locks.check(ADAS), Locked)

    def test_expiry_not_stored(self) -> None:
        """A lock that is over holds no more, even if that cannot be stored yet."""
        self.create(ttl=10.0)
        store = type(self.world.store.locks)
        remove = store.remove
        self.patch(store, "remove", lambda *_, **__: fail(StoreUnavailable("busy")))
        self.advance(10)
        self.done(self.locks.check(ADAS))
        self.patch(store, "remove", remove)
        self.advance(10)
        self.assertEqual(self.kinds(), ["lock.created", "lock.expired"])

    def test_refused(self) -> None:
        """Times and messages that cannot be are refused, and so is a lock that is not there."""
        for ttl in (0.0, -1.0, 1e12, float("nan")):
            creating = self.locks.create(ON_ADA, ttl=ttl, message="", by=LOCAL)
            self.refused(creating, BadRequest)
        creating = self.locks.create(ON_ADA, ttl=None, message="\x1b[2J", by=LOCAL)
        self.refused(creating, BadInput)
        self.refused(self.locks.remove("none", by=LOCAL), NoSuchLock)
        self.assertEqual(self.kinds(), [])

    def test_stop(self) -> None:
        """A hub that stops waits for nothing."""
        self.create(ttl=10.0)
        self.locks.stop()
        self.assertEqual(self.world.clock.getDelayedCalls(), [])
