"""
Steps on the database, done in threads and answered on the reactor.

:class:`Transactions` owns the threads and the order of writes. All writes that
wait are committed together, so that one flush of the disk serves ten thousand
heartbeats as it serves one; each is still its own step, undone alone when it
is refused.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from attrs import define, field, frozen
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mezite.audit.events import AuditEvent
from mezite.error import MeziteError
from mezite.store.auditrows import append
from mezite.store.error import StoreUnavailable, StoreUnwritable
from mezite.store.opening import is_unwritable, reason_of

_log = Logger()

# One writes, the others read. More would only wait for each other: SQLite has one writer.
THREADS: Final = 4
# Ten thousand agents that beat in the same second fit; what is beyond can be tried again.
WAITING: Final = 16_384
# A commit of so many takes some tens of milliseconds, which is what the next ones wait.
_BATCH: Final = 512

T = TypeVar("T")
Step = Callable[[Connection], T]
_DATABASE_ERRORS: Final = (SQLAlchemyError, sqlite3.Error)


class Threads(Protocol):
    """Where work that blocks is done."""

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Do this in a thread, and fire with its answer on the reactor."""

    def stop(self) -> None:
        """Let the threads end; nothing is given to them any more."""


class IReactorOfThreads(IReactorCore, IReactorFromThreads):
    """What a reactor must provide to have threads."""


@define(eq=False)
class PoolThreads:
    """Threads of a pool that nothing else uses, so that nothing else delays it."""

    _reactor: IReactorOfThreads
    _number: int = THREADS
    _name: str = "mezite-store"
    _pool: ThreadPool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pool = ThreadPool(0, self._number, name=self._name)
        self._pool.start()
        # An idle thread that was forgotten would keep the process from ending.
        self._reactor.addSystemEventTrigger("after", "shutdown", self.stop)

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, work)

    def stop(self) -> None:
        if self._pool.started:
            self._pool.stop()


@frozen(eq=False)
class _Write:
    """A step that waits, and who waits for it."""

    step: Step[Any]
    event: AuditEvent | None
    answer: Deferred[Any]


@define(eq=False)
class Transactions:
    """Reads and writes of one database."""

    _engine: Engine
    _threads: Threads
    _waiting: deque[_Write] = field(init=False, factory=deque)
    _is_writing: bool = field(init=False, default=False)
    _reads: int = field(init=False, default=0)
    _closed: Deferred[None] | None = field(init=False, default=None)

    def read(self, step: Step[T]) -> Deferred[T]:
        """Do a step that changes nothing; it sees every write that was acknowledged."""
        if self._closed is not None:
            return fail(StoreUnavailable("the store is closed"))
        if self._reads >= WAITING:
            return fail(StoreUnavailable("too many reads wait already"))
        self._reads += 1

        def done(answer: T | Failure) -> T | Failure:
            self._reads -= 1
            self._close_if_idle()
            return answer

        return self._threads.run(lambda: self._read(step)).addBoth(done)

    def write(self, step: Step[T], event: AuditEvent | None = None) -> Deferred[T]:
        """
        Do a step in a transaction that is committed before the answer.

        The event that it is becomes part of the audit with it, or neither happens.

        A :class:`MeziteError` that the step raises undoes it and is the answer.
        Cancelling gives up the answer, not the step.
        """
        if self._closed is not None:
            return fail(StoreUnavailable("the store is closed"))
        if len(self._waiting) >= WAITING:
            return fail(StoreUnavailable("too many writes wait already"))
        answer: Deferred[T] = Deferred()
        self._waiting.append(_Write(step, event, answer))
        self._write_next()
        return answer

    def write_now(self, step: Step[T]) -> T:
        """
        Do a step and wait for its commit, before there is a reactor that others wait for.

        :raises StoreUnavailable:
        """
        try:
            with self._engine.execution_options(writes=True).begin() as connection:
                return step(connection)
        except _DATABASE_ERRORS as error:
            raise _unavailable(error) from None

    def close(self) -> Deferred[None]:
        """Take no more steps, finish those that were taken, then let go of the database."""
        if self._closed is None:
            self._closed = Deferred()
            self._close_if_idle()
        answer: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _: answer.callback(None))
        return answer

    def _write_next(self) -> None:
        if self._is_writing or not self._waiting:
            return
        self._is_writing = True
        size = min(len(self._waiting), _BATCH)
        writes = [self._waiting.popleft() for _ in range(size)]

        def done(outcomes: Sequence[Any]) -> None:
            self._is_writing = False
            self._write_next()
            for write, outcome in zip(writes, outcomes, strict=True):
                write.answer.callback(outcome)
            self._close_if_idle()

        def broken(failure: Failure) -> None:
            done([failure] * size)

        self._threads.run(lambda: self._commit(writes)).addCallbacks(done, broken)

    def _close_if_idle(self) -> None:
        closed = self._closed
        if closed is None or closed.called or self._is_writing or self._waiting or self._reads:
            return
        # The last connection puts what is left of the WAL into the database.
        self._engine.dispose()
        self._threads.stop()
        closed.callback(None)

    # The rest is done in threads.

    def _read(self, step: Step[T]) -> T:
        try:
            with self._engine.connect() as connection:
                return step(connection)
        except _DATABASE_ERRORS as error:
            raise _unavailable(error) from None

    def _commit(self, writes: Sequence[_Write]) -> Sequence[Any]:
        """The answer of each step, or the failure; all are committed, or none was done."""
        try:
            with self._engine.execution_options(writes=True).begin() as connection:
                return [_attempt(connection, write) for write in writes]
        except Exception as error:
            if len(writes) > 1:
                # One of them spoiled it for all; alone, it spoils it for itself.
                return [outcome for write in writes for outcome in self._commit([write])]
            if isinstance(error, _DATABASE_ERRORS):
                return [Failure(_unavailable(error))]
            return [Failure()]


def _unavailable(error: Exception) -> StoreUnavailable:
    """The error for peers, once the reason is in the log."""
    reason = reason_of(error)
    _log.warn("the database {reason}", reason=reason)
    return StoreUnwritable(reason) if is_unwritable(error) else StoreUnavailable(reason)


def _attempt(connection: Connection, write: _Write) -> Any:
    savepoint = connection.begin_nested()
    try:
        answer = write.step(connection)
        if write.event is not None:
            append(connection, write.event)
    except MeziteError:
        savepoint.rollback()
        return Failure()
    savepoint.commit()
    return answer
