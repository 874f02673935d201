"""
What is known of recordings, in a database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define
from sqlalchemy import Connection, Row, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as insert_or
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.names import AgentId, LoginName, NodeName, UserName
from mezite.recording.chunks import Position
from mezite.recording.events import Kind
from mezite.store import schema
from mezite.store.error import NoSuchRecording, NoSuchSession, RecordingExists
from mezite.store.recordings import (
    CLOSED,
    SESSIONS_PURGED_AT_ONCE,
    Extent,
    Hold,
    IRecordings,
    RecordedSession,
    RecordingQuery,
    RecordingRecord,
    RecordingState,
)
from mezite.store.transactions import Transactions

_sessions: Final = schema.recorded_sessions
_recordings: Final = schema.recordings
# The session's id is in both.
_ALL: Final = [*_recordings.c, *(each for each in _sessions.c if each.name != "session_id")]


@implementer(IRecordings)
@define(eq=False)
class DatabaseRecordings:
    """The tables ``recordings`` and ``recorded_sessions``."""

    _transactions: Transactions

    def begin_session(
        self, session: RecordedSession, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            statement = insert_or(_sessions).values(_session_values(session))
            connection.execute(statement.on_conflict_do_nothing())

        return self._transactions.write(step, event)

    def session(self, session_id: str) -> Deferred[RecordedSession | None]:
        def step(connection: Connection) -> RecordedSession | None:
            chosen = select(_sessions).where(_sessions.c.session_id == session_id)
            row = connection.execute(chosen).first()
            return None if row is None else _session(row)

        return self._transactions.read(step)

    def purge_sessions(self, before: float) -> Deferred[int]:
        def step(connection: Connection) -> int:
            recorded = select(_recordings.c.session_id)
            oldest = (
                select(_sessions.c.session_id)
                .where(_sessions.c.started < before, _sessions.c.session_id.not_in(recorded))
                .order_by(_sessions.c.started)
                .limit(SESSIONS_PURGED_AT_ONCE)
            )
            statement = delete(_sessions).where(_sessions.c.session_id.in_(oldest))
            return connection.execute(statement).rowcount

        return self._transactions.write(step)

    def add(self, record: RecordingRecord) -> Deferred[None]:
        def step(connection: Connection) -> None:
            session_id = record.session.session_id
            known = select(_sessions.c.session_id).where(_sessions.c.session_id == session_id)
            if connection.execute(known).first() is None:
                raise NoSuchSession(session_id)
            if _row(connection, record.id) is not None:
                raise RecordingExists(record.id)
            connection.execute(insert(_recordings).values(_values(record)))

        return self._transactions.write(step)

    def get(self, recording_id: str) -> Deferred[RecordingRecord | None]:
        def step(connection: Connection) -> RecordingRecord | None:
            row = _row(connection, recording_id)
            return None if row is None else _record(row)

        return self._transactions.read(step)

    def change(
        self,
        recording_id: str,
        change: Callable[[RecordingRecord], RecordingRecord],
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[RecordingRecord]:
        def step(connection: Connection) -> RecordingRecord:
            row = _row(connection, recording_id)
            if row is None:
                raise NoSuchRecording(recording_id)
            after = change(_record(row))
            statement = update(_recordings).where(_recordings.c.id == recording_id)
            connection.execute(statement.values(_values(after)))
            return after

        return self._transactions.write(step, event)

    def list(
        self, query: RecordingQuery, limit: int, *, oldest_first: bool = False
    ) -> Deferred[tuple[RecordingRecord, ...]]:
        place = _recordings.c.created, _recordings.c.id
        order = place if oldest_first else tuple(each.desc() for each in place)
        chosen = _joined().where(*_conditions(query)).order_by(*order).limit(limit)
        return self._transactions.read(lambda connection: _records(connection, chosen))

    def removable(self, before: float, limit: int) -> Deferred[tuple[RecordingRecord, ...]]:
        chosen = (
            _joined()
            .where(
                _recordings.c.state.in_([state.value for state in CLOSED]),
                _recordings.c.ended < before,
                _recordings.c.held_by.is_(None),
            )
            .order_by(_recordings.c.ended, _recordings.c.id)
            .limit(limit)
        )
        return self._transactions.read(lambda connection: _records(connection, chosen))

    def total(self) -> Deferred[int]:
        def step(connection: Connection) -> int:
            summed = select(func.coalesce(func.sum(_recordings.c.stored_size), 0))
            return int(connection.execute(summed).scalar_one())

        return self._transactions.read(step)

    def remove(self, recording_id: str) -> Deferred[None]:
        def step(connection: Connection) -> None:
            connection.execute(delete(_recordings).where(_recordings.c.id == recording_id))

        return self._transactions.write(step)


def _joined() -> Any:
    on = _recordings.c.session_id == _sessions.c.session_id
    return select(*_ALL).select_from(_recordings.join(_sessions, on))


def _conditions(query: RecordingQuery) -> list[Any]:
    found: list[Any] = [_recordings.c.state.in_([state.value for state in query.states])]
    if query.user is not None:
        found.append(_sessions.c.user == query.user.text)
    if query.node:
        found.append(or_(_sessions.c.node == query.node, _sessions.c.agent_id == query.node))
    if query.agent_id is not None:
        found.append(_sessions.c.agent_id == query.agent_id.text)
    if query.session_id:
        found.append(_recordings.c.session_id == query.session_id)
    if query.is_stored is not None:
        found.append(_recordings.c.is_stored.is_(query.is_stored))
    if query.since is not None:
        found.append(_recordings.c.created >= query.since)
    if query.until is not None:
        found.append(_recordings.c.created < query.until)
    if query.before is not None:
        found.append(tuple_(_recordings.c.created, _recordings.c.id) < tuple_(*query.before))
    return found


def _row(connection: Connection, recording_id: str) -> Row[Any] | None:
    found: Row[Any] | None = connection.execute(
        _joined().where(_recordings.c.id == recording_id)
    ).first()
    return found


def _records(connection: Connection, chosen: Any) -> tuple[RecordingRecord, ...]:
    return tuple(_record(row) for row in connection.execute(chosen))


def _session_values(session: RecordedSession) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "user": session.user.text,
        "login": session.login.text,
        "node": session.node.text,
        "agent_id": session.agent_id.text,
        "address": session.address,
        "started": session.started,
    }


def _session(row: Row[Any]) -> RecordedSession:
    return RecordedSession(
        session_id=row.session_id,
        user=UserName(row.user),
        login=LoginName(row.login),
        node=NodeName(row.node),
        agent_id=AgentId(row.agent_id),
        address=row.address,
        started=row.started,
    )


def _values(record: RecordingRecord) -> dict[str, Any]:
    extent, hold = record.extent, record.hold
    return {
        "id": record.id,
        "session_id": record.session.session_id,
        "number": record.number,
        "created": record.created,
        "touched": record.touched,
        "kind": record.kind.value,
        "command": record.command,
        "state": record.state.value,
        "chunks": None if extent is None else extent.position.number,
        "chain": None if extent is None else extent.position.chain,
        "size": None if extent is None else extent.size,
        "seconds": None if extent is None else extent.seconds,
        "ended": record.ended,
        "is_stored": record.is_stored,
        "is_sealed": record.is_sealed,
        "stored_size": record.stored_size,
        "reason": record.reason,
        "may_return": record.may_return,
        "held_by": None if hold is None else hold.by,
        "held_since": None if hold is None else hold.since,
        "held_reason": None if hold is None else hold.reason,
    }


def _record(row: Row[Any]) -> RecordingRecord:
    extent = hold = None
    if row.chunks is not None:
        extent = Extent(Position(row.chunks, row.chain), row.size, row.seconds)
    if row.held_by is not None:
        hold = Hold(row.held_by, row.held_since, row.held_reason)
    return RecordingRecord(
        id=row.id,
        session=_session(row),
        number=row.number,
        created=row.created,
        touched=row.touched,
        kind=Kind(row.kind),
        command=row.command,
        state=RecordingState(row.state),
        extent=extent,
        ended=row.ended,
        is_stored=row.is_stored,
        is_sealed=row.is_sealed,
        stored_size=row.stored_size,
        reason=row.reason,
        may_return=row.may_return,
        hold=hold,
    )
