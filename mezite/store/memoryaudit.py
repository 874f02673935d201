"""
The audit in a list.
"""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.chain import ChainedLine, decode_event
from mezite.audit.events import AuditEvent, EventType
from mezite.store.interfaces import PRUNED_AT_ONCE, IAuditLog
from mezite.store.memorytables import Tables, step
from mezite.store.records import AuditChain, AuditQuery, AuditRecord, pruning


@implementer(IAuditLog)
@define(eq=False)
class MemoryAudit:
    """Lines and the ends of their chain."""

    _tables: Tables

    def record(self, event: AuditEvent) -> Deferred[None]:
        return self._record(event=event)

    @step
    def _record(self, *, event: AuditEvent) -> None:
        """The step keeps it."""

    @step
    def chain(self) -> AuditChain:
        return self._tables.chain

    @step
    def lines(self, after: int, limit: int) -> tuple[ChainedLine, ...]:
        return tuple([line for line in self._tables.audit if line.seq > after][:limit])

    @step
    def search(
        self, query: AuditQuery, *, after: int = 0, limit: int, newest_first: bool = False
    ) -> tuple[AuditRecord, ...]:
        kept = [AuditRecord.of(each) for each in self._lines]
        if newest_first:
            kept = [each for each in reversed(kept) if not after or each.seq < after]
        else:
            kept = [each for each in kept if each.seq > after]
        return tuple([each for each in kept if each.event and _matches(query, each.event)][:limit])

    @step
    def unended(
        self, since: float, *, upto: int, after: int = 0, limit: int
    ) -> tuple[AuditRecord, ...]:
        kept = [AuditRecord.of(each) for each in self._lines]
        ends = AuditQuery(types=(EventType.SESSION_END.text,))
        begins = AuditQuery(types=(EventType.SESSION_START.text,), since=since)
        ended = {e.event.session_id for e in kept if e.event and _matches(ends, e.event)}
        found = [e for e in kept if e.event and _matches(begins, e.event) and after < e.seq <= upto]
        return tuple([e for e in found if e.event and e.event.session_id not in ended][:limit])

    def prune(
        self, before: float, *, limit: int = PRUNED_AT_ONCE, event: AuditEvent | None = None
    ) -> Deferred[int]:
        return self._prune(before, limit, event)

    @step
    def _prune(self, before: float, limit: int, then: AuditEvent | None) -> int:
        old = 0
        for each in self._lines[:limit]:
            if decode_event(each.line)[1].time >= before:
                break
            old += 1
        if not old:
            return 0
        chain, last = self._tables.chain, self._lines[old - 1]
        self._tables.chain = AuditChain(last.seq, last.hash, chain.last_seq, chain.last_hash)
        del self._lines[:old]
        if then is not None:
            self._tables.append(pruning(then, chain, self._tables.chain))
        return old

    @property
    def _lines(self) -> list[ChainedLine]:
        return self._tables.audit


def _matches(query: AuditQuery, event: AuditEvent) -> bool:
    return (
        (not query.types or any(_is_of(event, text) for text in query.types))
        and query.user in ("", event.actor.name, event.target)
        and query.node in ("", event.node)
        and query.session_id in ("", event.session_id)
        and (query.since is None or event.time >= query.since)
        and (query.until is None or event.time < query.until)
    )


def _is_of(event: AuditEvent, text: str) -> bool:
    if text.endswith(".*"):
        return event.type.text.startswith(text[:-1])
    return event.type.text == text
