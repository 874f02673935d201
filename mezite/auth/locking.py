"""
The locks that hold now, kept in memory, and what happens when one comes or goes.

:class:`LockService` owns them: it reads them from the store once, changes the
store first and the memory after, and removes each when it is over. Whoever must
act on a change says so with :meth:`LockService.when_changed`. What a lock locks is
:mod:`mezite.identity.locks`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mezite.audit.chain import time_text
from mezite.audit.events import HUB, Actor, AuditEvent, EventType
from mezite.auth.error import BadRequest, Locked, NodeLocked
from mezite.auth.trail import AuditTrail
from mezite.error import MeziteError, Unavailable
from mezite.identity.locks import Attempt, Lock, LockSet, LockTarget, check_message
from mezite.names import AgentId, NodeName
from mezite.store.error import NoSuchLock
from mezite.store.locks import ILocks
from mezite.tasks import background, regardless

# Whoever wants more wants a lock without an end.
LONGEST_LOCK: Final = 10 * 366 * 86400.0
SHORTEST_LOCK: Final = 1.0
# The wall clock may be set: it is looked at this often for what is over.
_CLOCK_SECONDS: Final = 60.0
# A lock that could not be removed from the store is over all the same.
_RETRY_SECONDS: Final = 10.0


class LockService:
    """The locks of the cluster."""

    _log = Logger()

    def __init__(
        self,
        store: ILocks,
        trail: AuditTrail,
        *,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._trail = trail
        self._clock = clock
        self._wall_clock = wall_clock
        self._locks: LockSet | None = None
        self._observers: list[Callable[[], None]] = []
        self._timer: IDelayedCall | None = None
        self._is_stopped = False

    def when_changed(self, observer: Callable[[], None]) -> None:
        """Call this whenever a lock has come or gone."""
        self._observers.append(observer)

    def stop(self) -> None:
        """Wait for the end of no lock any more."""
        self._is_stopped = True
        self._stop_waiting()

    async def load(self) -> LockSet:
        """
        The locks, read from the store at first.

        :raises StoreUnavailable: nobody knows yet what is locked, so nothing is open.
        """
        if self._locks is None:
            found = await self._store.list()
            # Somebody else may have read, and changed, them meanwhile.
            if self._locks is None:
                self._locks = LockSet.of(found)
                self._wait()
        return self._locks

    def find(self, attempt: Attempt) -> Lock | None:
        """
        The lock that stands in the way, if one does.

        :raises Unavailable: before :meth:`load` has come to an end.
        """
        if self._locks is None:
            raise Unavailable("the hub has not read its locks yet: try again")
        return self._locks.find(attempt, self._wall_clock())

    async def check(self, attempt: Attempt) -> None:
        """
        Let an attempt go on.

        :raises Locked: with the sentence for the person, who must have proved to be that.
        """
        await self.load()
        lock = self.find(attempt)
        if lock is not None:
            raise Locked(lock)

    async def check_node(self, node: NodeName, agent_id: AgentId | None = None) -> None:
        """
        Let a node go on.

        :raises NodeLocked: which it may hear, and try again later.
        """
        await self.load()
        lock = self.find(Attempt(node=node, agent_id=agent_id))
        if lock is not None:
            raise NodeLocked(lock)

    async def holding(self) -> tuple[Lock, ...]:
        """The locks that hold, the oldest first."""
        now = self._wall_clock()
        locks = [lock for lock in await self.load() if not lock.is_over(now)]
        return tuple(sorted(locks, key=lambda lock: (lock.created, lock.lock_id)))

    async def create(
        self, target: LockTarget, *, ttl: float | None, message: str, by: Actor
    ) -> Lock:
        """
        Lock this, at once.

        :param ttl: seconds; None for a lock without an end.
        :raises BadRequest: the ttl is too short or too long.
        :raises BadInput: the message is not one.
        :raises TooManyLocks:
        """
        if ttl is not None and not SHORTEST_LOCK <= ttl <= LONGEST_LOCK:
            raise BadRequest("a lock holds for a second at least and for ten years at most")
        await self.load()
        now = self._wall_clock()
        lock = Lock(
            lock_id=secrets.token_hex(6),
            target=target,
            message=check_message(message),
            created_by=by.name,
            created=now,
            expires=None if ttl is None else now + ttl,
        )
        # Whoever asked may give up; what is stored must hold all the same.
        await regardless(self._add(lock, by))
        self._log.warn("{who} locked {target}", who=by.name, target=target)
        return lock

    async def _add(self, lock: Lock, by: Actor) -> None:
        await self._store.add(lock, event=self._event(EventType.LOCK_CREATED, lock, by))
        self._replace((await self.load()).with_lock(lock))

    async def remove(self, lock_id: str, *, by: Actor) -> Lock:
        """
        Unlock.

        :raises NoSuchLock:
        """
        lock = (await self.load()).get(lock_id)
        if lock is None:
            raise NoSuchLock(lock_id)
        await regardless(self._take_away(lock, by))
        self._log.info("{who} unlocked {target}", who=by.name, target=lock.target)
        return lock

    async def _take_away(self, lock: Lock, by: Actor) -> None:
        event = self._event(EventType.LOCK_DELETED, lock, by)
        await self._store.remove(lock.lock_id, event=event)
        self._replace((await self.load()).without(lock.lock_id))

    def _replace(self, locks: LockSet) -> None:
        self._locks = locks
        self._wait()
        for observer in self._observers:
            observer()

    # What is over.

    def _wait(self) -> None:
        self._stop_waiting()
        end = None if self._locks is None else self._locks.next_end()
        if end is not None and not self._is_stopped:
            left = max(0.0, end - self._wall_clock())
            self._timer = self._clock.callLater(min(left, _CLOCK_SECONDS), self._look)

    def _stop_waiting(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        now = self._wall_clock()
        over = [lock for lock in self._locks or () if lock.is_over(now)]
        if over:
            background(self._forget(over), doing="forgetting locks that are over")
        else:
            self._wait()

    async def _forget(self, over: list[Lock]) -> None:
        for lock in over:
            try:
                event = self._event(EventType.LOCK_EXPIRED, lock, HUB)
                await self._store.remove(lock.lock_id, event=event)
            except NoSuchLock:
                pass
            except MeziteError as error:
                # It does not hold in any case; only the record of it is missing.
                self._log.warn("a lock that is over could not be removed: {error}", error=error)
                if not self._is_stopped:
                    self._timer = self._clock.callLater(_RETRY_SECONDS, self._look)
                return
            self._log.info("the lock of {target} is over", target=lock.target)
            self._replace((await self.load()).without(lock.lock_id))

    def _event(self, kind: EventType, lock: Lock, by: Actor) -> AuditEvent:
        target = lock.target
        return self._trail.event(
            kind,
            by,
            target=lock.lock_id,
            node=target.node or "",
            login=target.login or "",
            user=str(target.user or ""),
            role=str(target.role or ""),
            message=lock.message,
            expires="" if lock.expires is None else time_text(lock.expires),
        )
