"""
The audit in a database; what its steps are is in :mod:`mezite.store.auditrows`.
"""

from __future__ import annotations

from attrs import define
from sqlalchemy import Connection
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.chain import ChainedLine
from mezite.audit.events import AuditEvent
from mezite.store import auditrows
from mezite.store.interfaces import PRUNED_AT_ONCE, IAuditLog
from mezite.store.records import AuditChain, AuditQuery, AuditRecord
from mezite.store.transactions import Transactions


@implementer(IAuditLog)
@define(eq=False)
class DatabaseAudit:
    """The tables ``audit_events`` and ``audit_chain``."""

    _transactions: Transactions

    def record(self, event: AuditEvent) -> Deferred[None]:
        return self._transactions.write(lambda connection: None, event)

    def chain(self) -> Deferred[AuditChain]:
        return self._transactions.read(auditrows.read_chain)

    def lines(self, after: int, limit: int) -> Deferred[tuple[ChainedLine, ...]]:
        def step(connection: Connection) -> tuple[ChainedLine, ...]:
            return tuple(auditrows.read_lines(connection, after, limit))

        return self._transactions.read(step)

    def search(
        self, query: AuditQuery, *, after: int = 0, limit: int, newest_first: bool = False
    ) -> Deferred[tuple[AuditRecord, ...]]:
        def step(connection: Connection) -> tuple[AuditRecord, ...]:
            return tuple(
                auditrows.search(
                    connection, query, after=after, limit=limit, newest_first=newest_first
                )
            )

        return self._transactions.read(step)

    def unended(
        self, since: float, *, upto: int, after: int = 0, limit: int
    ) -> Deferred[tuple[AuditRecord, ...]]:
        def step(connection: Connection) -> tuple[AuditRecord, ...]:
            return tuple(auditrows.unended(connection, since, upto=upto, after=after, limit=limit))

        return self._transactions.read(step)

    def prune(
        self, before: float, *, limit: int = PRUNED_AT_ONCE, event: AuditEvent | None = None
    ) -> Deferred[int]:
        def step(connection: Connection) -> int:
            return auditrows.prune(connection, before, limit, event)

        return self._transactions.write(step)
