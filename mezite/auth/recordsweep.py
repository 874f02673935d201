"""
Recordings of which something is due: finished where it was left, removed in time.

A :class:`RecordSweep` decides which and when; the steps are those of
:mod:`mezite.auth.recordkeeping`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from mezite.audit.events import HUB
from mezite.auth.recordkeeping import RecordKeeping
from mezite.error import MeziteError
from mezite.store.recordings import (
    CLOSED,
    IRecordings,
    RecordingQuery,
    RecordingRecord,
    RecordingState,
)
from mezite.store.transactions import Threads

# Of those that are due, so many at one time; the rest a minute later.
_AT_ONCE: Final = 100
# For late uploads of sessions that have brought no recording, when recordings are kept for ever.
_SESSIONS_KEPT: Final = 365 * 86400.0


@frozen
class Retention:
    """
    How long recordings are kept, in seconds, and how many bytes of them.

    None means for ever, and without a bound.
    """

    keep: float | None = None
    max_size: int | None = None


class RecordSweep:
    """The recordings of one hub, gone through now and then."""

    _log = Logger()

    def __init__(
        self,
        keeping: RecordKeeping,
        recordings: IRecordings,
        *,
        threads: Threads,
        wall_clock: Callable[[], float],
        retention: Retention,
    ) -> None:
        self._keeping = keeping
        self._recordings = recordings
        self._threads = threads
        self._wall_clock = wall_clock
        self._retention = retention

    async def sweep(self) -> None:
        """Finish what a crash or an outage left half done, and remove what is due."""
        unstored = RecordingQuery(states=CLOSED, is_stored=False)
        for record in await self._recordings.list(unstored, _AT_ONCE, oldest_first=True):
            try:
                await self._keeping.put_away(record.id)
            except MeziteError as error:
                # The next would end in the same way.
                self._log.warn(
                    "recording {id} stays among the incoming: {error} ({reason})",
                    id=record.id,
                    error=error,
                    reason=getattr(error, "reason", ""),
                )
                break
        removing = RecordingQuery(states=frozenset({RecordingState.REMOVING}))
        for record in await self._recordings.list(removing, _AT_ONCE, oldest_first=True):
            await self._keeping.finish_removing(record)
        await self._remove_due()

    async def _remove_due(self) -> None:
        now, keep = self._wall_clock(), self._retention.keep
        if keep is not None:
            for record in await self._recordings.removable(now - keep, _AT_ONCE):
                await self._retire(record, f"older than {keep / 86400:g} days")
        await self._recordings.purge_sessions(now - (keep or _SESSIONS_KEPT))
        largest = self._retention.max_size
        if largest is None:
            return
        over = await self._recordings.total() - largest
        if over <= 0:
            return
        for record in await self._recordings.removable(now, _AT_ONCE):
            if over <= 0:
                break
            await self._retire(record, f"all together are larger than {largest} bytes")
            over -= record.stored_size

    async def _retire(self, record: RecordingRecord, reason: str) -> None:
        try:
            await self._keeping.remove(record.id, by=HUB, reason=reason)
        except MeziteError as error:
            # Somebody was faster, or holds it now, or it has come back.
            self._log.info("recording {id} is not removed: {error}", id=record.id, error=error)

    async def tidy(self) -> None:
        """At the start: forget incoming files of recordings that are stored."""
        for name in await self._threads.run(self._keeping.incoming.names):
            await self._tidy(name)

    async def _tidy(self, name: str) -> None:
        async with self._keeping.turns.of(name):
            record = await self._recordings.get(name)
            if record is None:
                # The database may be one from a backup: what it does not know is not lost.
                self._log.warn("nobody knows of the incoming recording {id}", id=name)
            elif record.state in CLOSED and record.is_stored:
                await self._threads.run(lambda: self._keeping.incoming.remove(name))
