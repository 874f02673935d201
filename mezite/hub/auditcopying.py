"""
How copies of the audit follow the database.

An :class:`AuditCopy` reads what its target does not have yet, and hands it
over; what that is the target itself remembers. A target that is down holds up
nobody: it is tried again, and gets then what it has missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Attribute, Interface

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import CopyPoint
from mezite.error import MeziteError
from mezite.store.interfaces import IAuditLog
from mezite.store.records import AuditChain
from mezite.tasks import background, within

# How old a copy is when all goes well.
POLL_SECONDS: Final = 1.0
LONGEST_WAIT: Final = 30.0
# Some 150 KB of usual events are in memory at a time.
BATCH: Final = 256
# What is still missing when the hub ends has this long to be copied.
FINISH_SECONDS: Final = 5.0


class ICopyTarget(Interface):
    """
    Where copies go. Its methods block, and are called in a thread, one at a time.

    They raise :class:`OSError`, or a :class:`~mezite.error.MeziteError`, while
    the target is down. After that :meth:`last` is asked again.
    """

    name: str = Attribute("one word for lists")
    where: str = Attribute("which one it is, for operators")

    def last() -> CopyPoint | None:
        """The last event that the target has, whole; None for none."""

    def write(lines: Sequence[ChainedLine]) -> None:
        """Add these lines, which follow the last one."""

    def put_aside() -> None:
        """Keep what there is, but not as this audit's: the next line will be of another."""

    def close() -> None:
        """Let go of everything."""


@frozen
class CopyStatus:
    """
    How a copy is.

    ``behind`` is how many events it lacks, ``error`` why, for operators; empty
    while all is well.
    """

    name: str
    where: str
    copied: int = 0
    behind: int = 0
    error: str = ""


@define(eq=False)
class AuditCopy:
    """One copy, from :meth:`start` to :meth:`stop`."""

    target: ICopyTarget
    _audit: IAuditLog
    _clock: IReactorTime
    _run_in_thread: Callable[..., Deferred[Any]]
    status: CopyStatus = field(init=False)
    # The last event that was copied; None if the target is to be asked.
    _point: int | None = field(init=False, default=None)
    _wait: float = field(init=False, default=POLL_SECONDS)
    _sleeping: Deferred[None] | None = field(init=False, default=None)
    _running: Deferred[None] | None = field(init=False, default=None)
    _is_stopping: bool = field(init=False, default=False)

    _log = Logger()

    @status.default
    def _fresh(self) -> CopyStatus:
        return CopyStatus(self.target.name, self.target.where)

    def start(self) -> None:
        self._running = background(self._run(), doing="copying the audit")

    async def stop(self) -> None:
        """Copy what is there, for a few seconds at most, and let go of the target."""
        self._is_stopping = True
        if self._sleeping is not None:
            self._sleeping.callback(None)
        if self._running is not None:
            await self._running
        try:
            await within(
                self._clock, FINISH_SECONDS, self._catch_up(), doing="copying the last events"
            )
        except (MeziteError, OSError) as error:
            self._failed(error)
        await self._run_in_thread(self.target.close)

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                await self._catch_up()
                self._wait = POLL_SECONDS
            except (MeziteError, OSError) as error:
                self._failed(error)
                self._wait = min(2 * self._wait, LONGEST_WAIT)
            if not self._is_stopping:
                await self._sleep(self._wait)

    async def _catch_up(self) -> None:
        while await self._copy_some():
            pass
        if self.status.error:
            self._log.info("the audit's copy {where} is up to date again", where=self.target.where)
            self.status = evolve(self.status, error="")

    async def _copy_some(self) -> bool:
        """Copy a batch; whether there was one."""
        chain: AuditChain = await self._audit.chain()
        point = await self._begin(chain) if self._point is None else self._point
        if point < chain.first_seq:
            self._log.warn(
                "the audit's copy {where} lacks {first} to {last}: retention was faster",
                where=self.target.where,
                first=point + 1,
                last=chain.first_seq,
            )
            point = chain.first_seq
        self._point = point
        self.status = evolve(self.status, copied=point, behind=chain.last_seq - point)
        if self.status.behind <= 0:
            return False
        lines: Sequence[ChainedLine] = await self._audit.lines(point, BATCH)
        # What somebody added by hand beyond the end is no event.
        lines = [line for line in lines if line.seq <= chain.last_seq]
        if not lines:
            return False
        await self._run_in_thread(self.target.write, lines)
        self._point = lines[-1].seq
        self.status = evolve(self.status, copied=self._point, behind=chain.last_seq - self._point)
        return True

    async def _begin(self, chain: AuditChain) -> int:
        """Where the target goes on: after its last line, or with all there is."""
        last: CopyPoint | None = await self._run_in_thread(self.target.last)
        if last is None:
            return chain.first_seq
        if not await self._is_ours(last, chain):
            self._log.warn(
                "the audit's copy {where} is not one of this database, which may come from a"
                " backup: it begins anew",
                where=self.target.where,
            )
            await self._run_in_thread(self.target.put_aside)
            return chain.first_seq
        return last.seq

    async def _is_ours(self, last: CopyPoint, chain: AuditChain) -> bool:
        if last.seq > chain.last_seq:
            return False
        if last.seq <= chain.first_seq:
            return last.seq < chain.first_seq or last.hash == chain.first_hash
        kept = await self._audit.lines(last.seq - 1, 1)
        if not kept or kept[0].seq != last.seq or not last.is_known:
            return True  # it was changed or removed meanwhile, and nothing can be told
        return bool(kept[0].hash == last.hash or not kept[0].hash)

    def _failed(self, error: Exception) -> None:
        self._point = None
        told = getattr(error, "strerror", None) or getattr(error, "reason", None)
        reason = told or str(error) or type(error).__name__
        if not self.status.error:
            self._log.warn(
                "the audit is not copied to {where}: {reason}; it will be, once it can",
                where=self.target.where,
                reason=reason,
            )
        self.status = evolve(self.status, error=reason)

    async def _sleep(self, seconds: float) -> None:
        self._sleeping = Deferred()
        woken = self._clock.callLater(seconds, self._sleeping.callback, None)
        try:
            await self._sleeping
        finally:
            self._sleeping = None
            if woken.active():
                woken.cancel()
