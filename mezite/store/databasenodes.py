"""
Nodes and join tokens in a database.

A token is used up in the same step in which its node comes in, by an update
that finds it only while uses are left: of many who show one token at once, as
many are admitted as it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
from attrs import Factory, define, field
from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.names import AgentId, NodeName
from mezite.store import rows, schema
from mezite.store.error import (
    NodeExists,
    NodeKeyReplaced,
    NodeNameTaken,
    NoSuchNode,
    NoSuchToken,
    TokenExists,
    TokenRefused,
)
from mezite.store.interfaces import IJoining, IJoinTokens, INodes
from mezite.store.nodelookups import Found, NodeLookups
from mezite.store.records import JoinTokenRecord, NodeRecord, NodeWord
from mezite.store.transactions import Transactions

_nodes: Final = schema.nodes
_tokens: Final = schema.join_tokens


@implementer(INodes)
@define(eq=False)
class DatabaseNodes:
    """The table ``nodes``."""

    _transactions: Transactions
    _lookups: NodeLookups = field(
        init=False, default=Factory(lambda self: NodeLookups(self._some), takes_self=True)
    )

    def add(self, record: NodeRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            chosen = select(_nodes.c.agent_id).where(_nodes.c.name == record.name.text)
            holder = connection.execute(chosen).scalar()
            if holder is not None:
                raise NodeExists(record.name, AgentId(holder))
            connection.execute(insert(_nodes).values(rows.of_node(record)))

        return self._transactions.write(step, event)

    def get(self, agent_id: AgentId) -> Deferred[NodeRecord | None]:
        return self._lookups.get(agent_id)

    def _some(self, agent_ids: Sequence[AgentId]) -> Deferred[Found]:
        def step(connection: Connection) -> Found:
            ids = [agent_id.text for agent_id in agent_ids]
            found = connection.execute(select(_nodes).where(_nodes.c.agent_id.in_(ids)))
            nodes = [rows.node_of(row) for row in found]
            return {node.agent_id: node for node in nodes}

        return self._transactions.read(step)

    def by_name(self, name: NodeName) -> Deferred[NodeRecord | None]:
        def step(connection: Connection) -> NodeRecord | None:
            row = connection.execute(select(_nodes).where(_nodes.c.name == name.text)).first()
            return None if row is None else rows.node_of(row)

        return self._transactions.read(step)

    def list(self) -> Deferred[tuple[NodeRecord, ...]]:
        def step(connection: Connection) -> tuple[NodeRecord, ...]:
            ordered = select(_nodes).order_by(_nodes.c.name)
            return tuple(rows.node_of(row) for row in connection.execute(ordered))

        return self._transactions.read(step)

    def remove(self, agent_id: AgentId, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            chosen = delete(_nodes).where(_nodes.c.agent_id == agent_id.text)
            if not connection.execute(chosen).rowcount:
                raise NoSuchNode(agent_id)
            connection.execute(delete(_tokens).where(_tokens.c.rejoins == agent_id.text))

        return self._transactions.write(step, event)

    def touch(
        self, agent_id: AgentId, word: NodeWord, *, last_seen: float, address: str
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            told = _there(connection, agent_id).told(word)
            _write(connection, attrs.evolve(told, last_seen=last_seen, address=address))

        return self._transactions.write(step)

    def see(self, seen: Mapping[AgentId, float]) -> Deferred[None]:
        def step(connection: Connection) -> None:
            change = (
                update(_nodes)
                .where(_nodes.c.agent_id == bindparam("its"))
                .values(last_seen=bindparam("at"))
            )
            rows = [{"its": agent_id.text, "at": at} for agent_id, at in seen.items()]
            if rows:
                connection.execute(change, rows)

        return self._transactions.write(step)

    def bind_key(
        self, agent_id: AgentId, old: bytes | None, new: bytes, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            record = _there(connection, agent_id)
            if record.tls_key != old:
                raise NodeKeyReplaced(record.name)
            _write(connection, attrs.evolve(record, tls_key=new))

        return self._transactions.write(step, event)


@implementer(IJoinTokens)
@define(eq=False)
class DatabaseJoinTokens:
    """The table ``join_tokens``."""

    _transactions: Transactions

    def add(self, record: JoinTokenRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            connection.execute(delete(_tokens).where(_tokens.c.expires <= record.created))
            if record.rejoins is not None:
                _there(connection, record.rejoins)
                connection.execute(delete(_tokens).where(_tokens.c.rejoins == record.rejoins.text))
            statement = insert_or(_tokens).values(rows.of_token(record))
            if not connection.execute(statement.on_conflict_do_nothing()).rowcount:
                raise TokenExists(record.token_id)

        return self._transactions.write(step, event)

    def list(self) -> Deferred[tuple[JoinTokenRecord, ...]]:
        def step(connection: Connection) -> tuple[JoinTokenRecord, ...]:
            ordered = select(_tokens).order_by(_tokens.c.created, _tokens.c.token_id)
            return tuple(rows.token_of(row) for row in connection.execute(ordered))

        return self._transactions.read(step)

    def remove(self, token_id: str, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            chosen = delete(_tokens).where(_tokens.c.token_id == token_id)
            if not connection.execute(chosen).rowcount:
                raise NoSuchToken(token_id)

        return self._transactions.write(step, event)

    def find(self, secret_hash: bytes, now: float) -> Deferred[JoinTokenRecord | None]:
        def step(connection: Connection) -> JoinTokenRecord | None:
            chosen = select(_tokens).where(
                _tokens.c.secret_hash == secret_hash, _tokens.c.expires > now
            )
            row = connection.execute(chosen).first()
            return None if row is None else rows.token_of(row)

        return self._transactions.read(step)

    def purge(self, now: float) -> Deferred[int]:
        def step(connection: Connection) -> int:
            return connection.execute(delete(_tokens).where(_tokens.c.expires <= now)).rowcount

        return self._transactions.write(step)


@implementer(IJoining)
@define(eq=False)
class DatabaseJoining:
    """From ``join_tokens`` to ``nodes``."""

    _transactions: Transactions

    def admit(
        self, secret_hash: bytes, node: NodeRecord, now: float, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            _spend(connection, secret_hash, now, None)
            chosen = select(_nodes.c.agent_id).where(_nodes.c.name == node.name.text)
            holder = connection.execute(chosen).scalar()
            if holder is not None:
                raise NodeNameTaken(node.name, AgentId(holder))  # which undoes the spending
            connection.execute(insert(_nodes).values(rows.of_node(node)))

        return self._transactions.write(step, event)

    def readmit(
        self,
        secret_hash: bytes,
        agent_id: AgentId,
        now: float,
        *,
        tls_key: bytes,
        version: str,
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            _spend(connection, secret_hash, now, agent_id)
            record = _there(connection, agent_id)
            _write(connection, attrs.evolve(record, tls_key=tls_key, version=version, rejoined=now))

        return self._transactions.write(step, event)


def _there(connection: Connection, agent_id: AgentId) -> NodeRecord:
    row = connection.execute(select(_nodes).where(_nodes.c.agent_id == agent_id.text)).first()
    if row is None:
        raise NoSuchNode(agent_id)
    return rows.node_of(row)


def _write(connection: Connection, record: NodeRecord) -> None:
    chosen = update(_nodes).where(_nodes.c.agent_id == record.agent_id.text)
    connection.execute(chosen.values(rows.of_node(record)))


def _spend(connection: Connection, secret_hash: bytes, now: float, rejoins: AgentId | None) -> None:
    """Take one use off a token; a token without uses is forgotten."""
    statement = (
        update(_tokens)
        .where(
            _tokens.c.secret_hash == secret_hash,
            _tokens.c.expires > now,
            _tokens.c.uses_left > 0,
            _tokens.c.rejoins.is_(None) if rejoins is None else _tokens.c.rejoins == rejoins.text,
        )
        .values(uses_left=_tokens.c.uses_left - 1)
        .returning(_tokens.c.uses_left)
    )
    uses_left = connection.execute(statement).scalar()
    if uses_left is None:
        raise TokenRefused
    if uses_left <= 0:
        connection.execute(delete(_tokens).where(_tokens.c.secret_hash == secret_hash))
