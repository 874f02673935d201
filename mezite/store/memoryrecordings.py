"""
What is known of recordings, in dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from attrs import define
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.store.error import NoSuchRecording, NoSuchSession, RecordingExists
from mezite.store.memorytables import Tables, step
from mezite.store.recordings import (
    SESSIONS_PURGED_AT_ONCE,
    IRecordings,
    RecordedSession,
    RecordingQuery,
    RecordingRecord,
)

_NEVER: Final = float("inf")


@implementer(IRecordings)
@define(eq=False)
class MemoryRecordings:
    """Recordings and their sessions, by their ids."""

    _tables: Tables

    @step
    def begin_session(self, session: RecordedSession, *, event: AuditEvent | None = None) -> None:
        self._tables.recorded_sessions.setdefault(session.session_id, session)

    @step
    def session(self, session_id: str) -> RecordedSession | None:
        return self._tables.recorded_sessions.get(session_id)

    @step
    def purge_sessions(self, before: float) -> int:
        sessions = self._tables.recorded_sessions
        recorded = {each.session.session_id for each in self._tables.recordings.values()}
        old = sorted(
            (each.started, each.session_id)
            for each in sessions.values()
            if each.started < before and each.session_id not in recorded
        )[:SESSIONS_PURGED_AT_ONCE]
        for _, session_id in old:
            del sessions[session_id]
        return len(old)

    @step
    def add(self, record: RecordingRecord) -> None:
        if record.session.session_id not in self._tables.recorded_sessions:
            raise NoSuchSession(record.session.session_id)
        if record.id in self._tables.recordings:
            raise RecordingExists(record.id)
        self._tables.recordings[record.id] = record

    @step
    def get(self, recording_id: str) -> RecordingRecord | None:
        return self._tables.recordings.get(recording_id)

    @step
    def change(
        self,
        recording_id: str,
        change: Callable[[RecordingRecord], RecordingRecord],
        *,
        event: AuditEvent | None = None,
    ) -> RecordingRecord:
        before = self._tables.recordings.get(recording_id)
        if before is None:
            raise NoSuchRecording(recording_id)
        after = change(before)
        self._tables.recordings[recording_id] = after
        return after

    @step
    def list(
        self, query: RecordingQuery, limit: int, *, oldest_first: bool = False
    ) -> tuple[RecordingRecord, ...]:
        found = [each for each in self._tables.recordings.values() if _matches(query, each)]
        return tuple(sorted(found, key=_place, reverse=not oldest_first)[:limit])

    @step
    def removable(self, before: float, limit: int) -> tuple[RecordingRecord, ...]:
        found: Iterable[RecordingRecord] = (
            each
            for each in self._tables.recordings.values()
            if each.is_closed and each.hold is None and _ended(each) < before
        )
        return tuple(sorted(found, key=lambda each: (_ended(each), each.id))[:limit])

    @step
    def total(self) -> int:
        return sum(each.stored_size for each in self._tables.recordings.values())

    @step
    def remove(self, recording_id: str) -> None:
        self._tables.recordings.pop(recording_id, None)


def _place(record: RecordingRecord) -> tuple[float, str]:
    return record.created, record.id


def _ended(record: RecordingRecord) -> float:
    return _NEVER if record.ended is None else record.ended


def _matches(query: RecordingQuery, record: RecordingRecord) -> bool:
    session = record.session
    return (
        record.state in query.states
        and query.user in (None, session.user)
        and query.node in ("", session.node.text, session.agent_id.text)
        and query.agent_id in (None, session.agent_id)
        and query.session_id in ("", session.session_id)
        and query.is_stored in (None, record.is_stored)
        and (query.since is None or record.created >= query.since)
        and (query.until is None or record.created < query.until)
        and (query.before is None or _place(record) < query.before)
    )
