"""
The audit's chain in a database, one step at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select, update

from mezite.audit.chain import ChainedLine, decode_event, encode_event, link
from mezite.audit.events import AuditEvent, EventType
from mezite.store import schema
from mezite.store.records import AuditChain, AuditQuery, AuditRecord, pruning

_events: Final = schema.audit_events
_chain: Final = schema.audit_chain
_OF_HUBS: Final = AuditQuery(types=(EventType.HUB_STARTED.text, EventType.HUB_STOPPED.text))
# Larger than what is left of any page, so that keeping it needs room on the disk.
_PROBE: Final = " " * 16_384


def append(connection: Connection, event: AuditEvent) -> None:
    """Add an event to the chain, in the transaction of what it is about."""
    chain = read_chain(connection)
    seq = chain.last_seq + 1
    line = encode_event(event, seq)
    hashed = link(chain.last_hash, line)
    connection.execute(insert(_events).values(line=line, hash=hashed, **_columns(seq, event)))
    connection.execute(update(_chain).values(last_seq=seq, last_hash=hashed))


def read_chain(connection: Connection) -> AuditChain:
    """Both ends of the chain; whoever reads them to write them has them for itself."""
    row = connection.execute(select(_chain).with_for_update()).one()
    return AuditChain(row.first_seq, row.first_hash, row.last_seq, row.last_hash)


def read_lines(connection: Connection, after: int, limit: int) -> Sequence[ChainedLine]:
    """
    The next lines of the chain, as they are kept.

    A row whose columns say something else than its line comes with a hash that
    cannot be right, so that whoever checks the chain finds it.
    """
    ordered = select(_events).where(_events.c.seq > after).order_by(_events.c.seq).limit(limit)
    return [_line_of(row) for row in connection.execute(ordered)]


def search(
    connection: Connection, query: AuditQuery, *, after: int, limit: int, newest_first: bool
) -> Sequence[AuditRecord]:
    """Events that match, beyond the number ``after``."""
    seq = _events.c.seq
    if newest_first:
        beyond, order = (seq < after if after else seq > 0), seq.desc()
    else:
        beyond, order = seq > after, seq.asc()
    chosen = select(_events).where(beyond, *_conditions(query)).order_by(order).limit(limit)
    return [_record_of(row) for row in connection.execute(chosen)]


def unended(
    connection: Connection, since: float, *, upto: int, after: int, limit: int
) -> Sequence[AuditRecord]:
    """The beginnings of sessions that have no end."""
    ends = _events.alias("ends")
    has_end = (
        select(ends.c.seq)
        .where(ends.c.session_id == _events.c.session_id)
        .where(ends.c.event_type == EventType.SESSION_END.text)
        .exists()
    )
    chosen = (
        select(_events)
        .where(_events.c.event_type == EventType.SESSION_START.text)
        .where(_events.c.time >= since, _events.c.seq <= upto, _events.c.seq > after, ~has_end)
        .order_by(_events.c.seq)
        .limit(limit)
    )
    return [_record_of(row) for row in connection.execute(chosen)]


def prune(connection: Connection, before: float, limit: int, event: AuditEvent | None) -> int:
    """
    Forget the oldest events, up to the first that is not older than this.

    The chain begins after them from then on, with the hash of the last one;
    the event that is given says so.
    """
    chain = read_chain(connection)
    kept = select(_events.c.seq).where(_events.c.time >= before).order_by(_events.c.seq).limit(1)
    first_kept = connection.execute(kept).scalar()
    end = chain.last_seq if first_kept is None else first_kept - 1
    end = min(end, chain.first_seq + limit)
    if end <= chain.first_seq:
        return 0
    anchor = connection.execute(select(_events.c.hash).where(_events.c.seq == end)).scalar()
    if anchor is None:
        # Somebody has removed a row: what is left is not made to look whole.
        return 0
    connection.execute(delete(_events).where(_events.c.seq <= end))
    connection.execute(update(_chain).values(first_seq=end, first_hash=anchor))
    if event is not None:
        append(connection, pruning(event, chain, read_chain(connection)))
    return end - chain.first_seq


def begin(connection: Connection, event: AuditEvent) -> bool:
    """Add the event of a hub that starts; whether the one before it came to its end."""
    found = search(connection, _OF_HUBS, after=0, limit=1, newest_first=True)
    last = found[0].event if found else None
    is_clean = not found or (last is not None and last.type is EventType.HUB_STOPPED)
    if not is_clean:
        event = evolve(event, details={**event.details, "unclean_end": True})
    append(connection, event)
    return is_clean


def probe(connection: Connection) -> None:
    """Write what an event would, and take it away again."""
    row = dict.fromkeys(("event_type", "user", "target", "node", "session_id"), "")
    connection.execute(insert(_events).values(seq=0, time=0.0, line=_PROBE, hash=b"", **row))
    connection.execute(delete(_events).where(_events.c.seq == 0))


def _columns(seq: int, event: AuditEvent) -> dict[str, object]:
    return {
        "seq": seq,
        "time": event.time,
        "event_type": event.type.text,
        "user": event.actor.name,
        "target": event.target,
        "node": event.node,
        "session_id": event.session_id,
    }


def _line_of(row: Row[tuple[object, ...]]) -> ChainedLine:
    line = ChainedLine(row.seq, row.line, row.hash)
    try:
        seq, event = decode_event(row.line)
    except ValueError:
        return line
    said = _columns(seq, event)
    agree = all(row._mapping[name] == value for name, value in said.items())
    return line if agree else ChainedLine(row.seq, row.line, b"")


def _record_of(row: Row[tuple[object, ...]]) -> AuditRecord:
    return AuditRecord.of(ChainedLine(row.seq, row.line, row.hash))


def _conditions(query: AuditQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.types:
        conditions.append(or_(*(_of_type(text) for text in query.types)))
    if query.user:
        conditions.append(or_(_events.c.user == query.user, _events.c.target == query.user))
    if query.node:
        conditions.append(_events.c.node == query.node)
    if query.session_id:
        conditions.append(_events.c.session_id == query.session_id)
    if query.since is not None:
        conditions.append(_events.c.time >= query.since)
    if query.until is not None:
        conditions.append(_events.c.time < query.until)
    return conditions


def _of_type(text: str) -> ColumnElement[bool]:
    """A type, or with ``.*`` at its end all types below it."""
    kind = _events.c.event_type
    if not text.endswith(".*"):
        return kind == text
    stem = text[:-1]
    # Between the stem and the next string that does not begin with it: no LIKE to escape.
    return and_(kind >= stem, kind < stem[:-1] + chr(ord(stem[-1]) + 1))
