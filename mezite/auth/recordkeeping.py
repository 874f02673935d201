"""
Recordings from the moment they are closed: put away, shown, held, and removed.

A :class:`RecordKeeping` owns the order of steps, so that a crash between two of
them leaves nothing behind and loses nothing: bytes are there before the database
says so, and gone before it forgets them. How recordings come in is
:mod:`mezite.hub.recordingintake`'s, and when they go :mod:`mezite.auth.recordsweep`'s.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.logger import Logger

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.auth.trail import AuditTrail
from mezite.error import BadInput, NotFound
from mezite.store.error import NoSuchRecording
from mezite.store.recordingfiles import IncomingFiles, IRecordingStore, Kept, Source
from mezite.store.recordings import (
    CLOSED,
    VISIBLE,
    Hold,
    IRecordings,
    RecordedSession,
    RecordingQuery,
    RecordingRecord,
    RecordingState,
)
from mezite.store.transactions import Threads

# Whoever watches a session reads its end among the incoming, where it is not sealed yet.
_SEALED_AFTER: Final = 30.0
_REASON_LENGTH: Final = 200
# A storage that is slow, or far, must not keep recordings from coming in, nor large ones
# that are put away keep others from being read.
_STORAGE_THREADS: Final = 5
_PUTTING_THREADS: Final = 2

T = TypeVar("T")
Seal = Callable[[str, Iterator[bytes]], Iterator[bytes]]


class Turns:
    """One at a time for each recording, and no memory of those that nobody works on."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[DeferredLock, int]] = {}

    @asynccontextmanager
    async def of(self, recording: str) -> AsyncIterator[None]:
        """Be the only one who works on this recording."""
        lock, number = self._locks.get(recording, (DeferredLock(), 0))
        self._locks[recording] = lock, number + 1
        try:
            await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, number = self._locks[recording]
            if number == 1:
                del self._locks[recording]
            else:
                self._locks[recording] = lock, number - 1


class RecordKeeping:
    """The closed recordings of this hub."""

    _log = Logger()

    def __init__(
        self,
        recordings: IRecordings,
        trail: AuditTrail,
        *,
        incoming: IncomingFiles,
        stored: Any,
        threads: Threads,
        wall_clock: Callable[[], float],
        seal: Seal | None = None,
    ) -> None:
        """
        :param stored: an :class:`IRecordingStore`.
        :param seal: what encrypts a recording of this id at rest, if anything does.
        """
        self.turns = Turns()
        self.incoming = incoming
        self._recordings = recordings
        self._trail = trail
        self._stored: IRecordingStore = stored
        self._threads = threads
        self._wall_clock = wall_clock
        self._seal = seal
        self._storage = DeferredSemaphore(_STORAGE_THREADS)
        self._putting = DeferredSemaphore(_PUTTING_THREADS)

    def _in_storage(self, work: Callable[[], T]) -> Deferred[T]:
        """Do this in a thread, but leave threads to those who bring recordings."""
        answer: Deferred[T] = self._storage.run(self._threads.run, work)
        return answer

    async def expect(self, session: RecordedSession, event: AuditEvent) -> None:
        """
        Let the recordings of a session come that begins now, as the event says.

        :raises AuditUnavailable: that cannot be kept, so it must not begin.
        """
        await self._trail.kept(event, self._recordings.begin_session(session, event=event))

    # For people.

    async def find(self, recording_id: str) -> RecordingRecord:
        """:raises NoSuchRecording:"""
        found = await self._recordings.get(recording_id)
        if found is None or found.state not in VISIBLE:
            raise NoSuchRecording(recording_id)
        record: RecordingRecord = found
        return record

    async def list(self, query: RecordingQuery, limit: int) -> tuple[RecordingRecord, ...]:
        """So many at most, the newest first."""
        found: tuple[RecordingRecord, ...] = await self._recordings.list(query, limit)
        return found

    async def read(self, record: RecordingRecord, offset: int, length: int) -> bytes:
        """
        Bytes of it as they are kept: chunks, or what they were sealed to.

        :raises NoSuchRecording: it has gone meanwhile.
        :raises RecordingsUnavailable:
        """
        if record.state is RecordingState.LIVE or not record.is_stored:
            try:
                data: bytes = await self._threads.run(
                    lambda: self.incoming.read(record.id, offset, length)
                )
            except NoSuchRecording:
                if record.state is RecordingState.LIVE:
                    return b""  # nothing has come yet
                raise
            return data
        key = _key(record)
        stored: bytes = await self._in_storage(lambda: self._stored.read(key, offset, length))
        return stored

    async def hold(self, recording_id: str, reason: str, *, by: Actor) -> RecordingRecord:
        """
        Keep a recording from being removed, until it is released.

        :raises NoSuchRecording:
        """
        await self.find(recording_id)
        hold = Hold(by.name, self._wall_clock(), _checked_reason(reason))
        changed: RecordingRecord = await self._recordings.change(
            recording_id,
            lambda record: evolve(_visible(record), hold=hold),
            event=self._trail.event(
                EventType.RECORDING_HELD, by, target=recording_id, reason=hold.reason
            ),
        )
        return changed

    async def release(self, recording_id: str, *, by: Actor) -> RecordingRecord:
        """
        Let a recording go the way of others again.

        :raises NoSuchRecording:
        :raises NotFound: nobody holds it.
        """
        await self.find(recording_id)
        changed: RecordingRecord = await self._recordings.change(
            recording_id,
            _released,
            event=self._trail.event(EventType.RECORDING_RELEASED, by, target=recording_id),
        )
        return changed

    async def remove(self, recording_id: str, *, by: Actor, reason: str = "") -> None:
        """
        Remove a recording.

        :raises NoSuchRecording:
        :raises RecordingHeld:
        :raises RecordingIsLive:
        """
        record = await self.find(recording_id)
        async with self.turns.of(recording_id):
            changed = await self._recordings.change(
                recording_id,
                lambda found: _visible(found).removing(),
                event=self._deleted(record, by, reason),
            )
            await self._erase(changed)

    async def finish_removing(self, record: RecordingRecord) -> None:
        """Remove what is left of a recording whose removal was begun."""
        async with self.turns.of(record.id):
            await self._erase(record)

    def _deleted(self, record: RecordingRecord, by: Actor, reason: str) -> AuditEvent:
        session = record.session
        return self._trail.event(
            EventType.RECORDING_DELETED,
            by,
            target=record.id,
            node=session.node,
            login=session.login,
            session_id=session.session_id,
            user=session.user.text,
            recorded=_date(record.created),
            reason=reason,
        )

    async def _erase(self, record: RecordingRecord) -> None:
        def work() -> None:
            self.incoming.remove(record.id)
            self._stored.remove(_key(record))

        await self._in_storage(work)
        await self._recordings.remove(record.id)

    # For those who bring them. Whoever calls these has the recording's turn.

    async def close(
        self,
        record: RecordingRecord,
        kept: Kept,
        *,
        by: Actor,
        reason: str = "",
        may_return: bool = False,
    ) -> RecordingRecord:
        """
        Note that a recording ends here: complete, or interrupted if there is a reason.

        Its bytes are to be put away by :meth:`put_away`. One that was closed
        before with more than is kept now stays as it was then.
        """
        state = RecordingState.INTERRUPTED if reason else RecordingState.COMPLETE
        ended = self._wall_clock()
        before = record.extent
        shrank = (
            before is not None
            and state is RecordingState.INTERRUPTED
            and record.is_stored
            and kept.extent.position.number <= before.position.number
        )

        def change(found: RecordingRecord) -> RecordingRecord:
            closed = evolve(found, state=state, ended=ended, reason=reason, may_return=may_return)
            if shrank:
                return closed
            return evolve(closed, extent=kept.extent, is_stored=False)

        extent = before if shrank and before is not None else kept.extent
        session = record.session
        event = self._trail.event(
            EventType.RECORDING_INTERRUPTED if reason else EventType.RECORDING_UPLOADED,
            by,
            target=record.id,
            node=session.node,
            login=session.login,
            session_id=session.session_id,
            success=not reason,
            error=reason,
            user=session.user.text,
            chunks=extent.position.number,
            bytes=extent.size,
            chain=extent.position.chain.hex(),
        )
        changed: RecordingRecord = await self._recordings.change(record.id, change, event=event)
        return changed

    async def put_away(self, recording_id: str) -> None:
        """
        Bring a closed recording to where closed ones are, if it is not there yet.

        One that is to be sealed stays for half a minute where it can be read.

        :raises RecordingsUnavailable: it is tried again in a minute.
        """
        async with self.turns.of(recording_id):
            record = await self._recordings.get(recording_id)
            if record is None or record.state not in CLOSED:
                return
            young = self._wall_clock() < (record.ended or 0.0) + _SEALED_AFTER
            if not record.is_stored and self._seal is not None and young:
                return
            if not record.is_stored:
                await self._put_away(record)
            await self._threads.run(lambda: self.incoming.remove(recording_id))

    async def _put_away(self, record: RecordingRecord) -> None:
        stale, seal = _key(record), self._seal
        moved = evolve(record, is_stored=True, is_sealed=seal is not None)

        def work() -> int:
            source = Source(
                self.incoming.path(record.id),
                None if seal is None else lambda pieces: seal(record.id, pieces),
            )
            return self._stored.put(_key(moved), source)

        size = await self._putting.run(self._in_storage, work)
        await self._recordings.change(
            record.id,
            lambda found: evolve(
                found, is_stored=True, is_sealed=moved.is_sealed, stored_size=size
            ),
        )
        if stale != _key(moved):
            await self._in_storage(lambda: self._stored.remove(stale))


def _visible(record: RecordingRecord) -> RecordingRecord:
    if record.state not in VISIBLE:
        raise NoSuchRecording(record.id)
    return record


def _released(record: RecordingRecord) -> RecordingRecord:
    if _visible(record).hold is None:
        raise NotFound(f"nobody holds recording {record.id}")
    return evolve(record, hold=None)


def _checked_reason(text: str) -> str:
    if len(text) > _REASON_LENGTH or not text.isprintable():
        raise BadInput(f"a reason is one line of at most {_REASON_LENGTH} characters")
    return text


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _key(record: RecordingRecord) -> str:
    """Under what a closed recording is stored."""
    month = time.strftime("%Y-%m", time.gmtime(record.created))
    return f"{month}/{record.id}.{'mze' if record.is_sealed else 'mzr'}"
