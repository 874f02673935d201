"""
Nodes and join tokens in memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from attrs import define
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.names import AgentId, NodeName
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
from mezite.store.memorytables import Tables, step
from mezite.store.records import JoinTokenRecord, NodeRecord, NodeWord


@implementer(INodes)
@define(eq=False)
class MemoryNodes:
    """Nodes in a dictionary."""

    _tables: Tables

    @step
    def add(self, record: NodeRecord, *, event: AuditEvent | None = None) -> None:
        holder = _holder(self._tables, record.name)
        if holder is not None:
            raise NodeExists(record.name, holder.agent_id)
        self._tables.nodes[record.agent_id] = attrs.evolve(record, labels=dict(record.labels))

    @step
    def get(self, agent_id: AgentId) -> NodeRecord | None:
        return self._tables.nodes.get(agent_id)

    @step
    def by_name(self, name: NodeName) -> NodeRecord | None:
        return _holder(self._tables, name)

    @step
    def list(self) -> tuple[NodeRecord, ...]:
        return tuple(sorted(self._tables.nodes.values(), key=lambda record: record.name))

    @step
    def remove(self, agent_id: AgentId, *, event: AuditEvent | None = None) -> None:
        if self._tables.nodes.pop(agent_id, None) is None:
            raise NoSuchNode(agent_id)
        _forget_rejoining(self._tables, agent_id)

    @step
    def touch(self, agent_id: AgentId, word: NodeWord, *, last_seen: float, address: str) -> None:
        told = _there(self._tables, agent_id).told(word)
        self._tables.nodes[agent_id] = attrs.evolve(told, last_seen=last_seen, address=address)

    @step
    def see(self, seen: Mapping[AgentId, float]) -> None:
        for agent_id, last_seen in seen.items():
            record = self._tables.nodes.get(agent_id)
            if record is not None:
                self._tables.nodes[agent_id] = attrs.evolve(record, last_seen=last_seen)

    @step
    def bind_key(
        self, agent_id: AgentId, old: bytes | None, new: bytes, *, event: AuditEvent | None = None
    ) -> None:
        record = _there(self._tables, agent_id)
        if record.tls_key != old:
            raise NodeKeyReplaced(record.name)
        self._tables.nodes[agent_id] = attrs.evolve(record, tls_key=new)


@implementer(IJoinTokens)
@define(eq=False)
class MemoryJoinTokens:
    """Join tokens in a dictionary."""

    _tables: Tables

    @step
    def add(self, record: JoinTokenRecord, *, event: AuditEvent | None = None) -> None:
        if record.rejoins is not None:
            _there(self._tables, record.rejoins)
        kept = {
            token_id: other
            for token_id, other in self._tables.tokens.items()
            if record.created < other.expires
            and (record.rejoins is None or other.rejoins != record.rejoins)
        }
        if record.token_id in kept or any(
            other.secret_hash == record.secret_hash for other in kept.values()
        ):
            raise TokenExists(record.token_id)
        self._tables.tokens = {**kept, record.token_id: record}

    @step
    def list(self) -> tuple[JoinTokenRecord, ...]:
        return tuple(
            sorted(
                self._tables.tokens.values(), key=lambda record: (record.created, record.token_id)
            )
        )

    @step
    def remove(self, token_id: str, *, event: AuditEvent | None = None) -> None:
        if self._tables.tokens.pop(token_id, None) is None:
            raise NoSuchToken(token_id)

    @step
    def find(self, secret_hash: bytes, now: float) -> JoinTokenRecord | None:
        return self._tables.valid_token(secret_hash, now)

    @step
    def purge(self, now: float) -> int:
        tokens = self._tables.tokens
        self._tables.tokens = {key: each for key, each in tokens.items() if now < each.expires}
        return len(tokens) - len(self._tables.tokens)


@implementer(IJoining)
@define(eq=False)
class MemoryJoining:
    """The door to :class:`MemoryNodes`."""

    _tables: Tables

    @step
    def admit(
        self, secret_hash: bytes, node: NodeRecord, now: float, *, event: AuditEvent | None = None
    ) -> None:
        token = self._token(secret_hash, now, None)
        holder = _holder(self._tables, node.name)
        if holder is not None:
            raise NodeNameTaken(node.name, holder.agent_id)
        self._spend(token)
        self._tables.nodes[node.agent_id] = attrs.evolve(node, labels=dict(node.labels))

    @step
    def readmit(
        self,
        secret_hash: bytes,
        agent_id: AgentId,
        now: float,
        *,
        tls_key: bytes,
        version: str,
        event: AuditEvent | None = None,
    ) -> None:
        token = self._token(secret_hash, now, agent_id)
        record = _there(self._tables, agent_id)
        self._spend(token)
        self._tables.nodes[agent_id] = attrs.evolve(
            record, tls_key=tls_key, version=version, rejoined=now
        )

    def _token(self, secret_hash: bytes, now: float, rejoins: AgentId | None) -> JoinTokenRecord:
        token = self._tables.valid_token(secret_hash, now)
        if token is None or token.rejoins != rejoins:
            raise TokenRefused
        return token

    def _spend(self, token: JoinTokenRecord) -> None:
        if token.uses_left == 1:
            del self._tables.tokens[token.token_id]
        else:
            self._tables.tokens[token.token_id] = attrs.evolve(token, uses_left=token.uses_left - 1)


def _there(tables: Tables, agent_id: AgentId) -> NodeRecord:
    record = tables.nodes.get(agent_id)
    if record is None:
        raise NoSuchNode(agent_id)
    return record


def _holder(tables: Tables, name: NodeName) -> NodeRecord | None:
    return next((record for record in tables.nodes.values() if record.name == name), None)


def _forget_rejoining(tables: Tables, agent_id: AgentId) -> None:
    tables.tokens = {key: each for key, each in tables.tokens.items() if each.rejoins != agent_id}
