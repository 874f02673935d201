"""
API tokens in a database.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define
from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.tokens import ApiAccess
from mezite.names import UserName
from mezite.store import schema
from mezite.store.apitokens import API_TOKENS_PER_USER, ApiTokenRecord, IApiTokens
from mezite.store.error import NoSuchApiToken, NoSuchUser, TokenExists, TooManyApiTokens
from mezite.store.transactions import Transactions

_tokens: Final = schema.api_tokens
_users: Final = schema.users


@implementer(IApiTokens)
@define(eq=False)
class DatabaseApiTokens:
    """The table ``api_tokens``."""

    _transactions: Transactions

    def add(self, record: ApiTokenRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            user = record.user.text
            there = select(_users.c.name).where(_users.c.name == user)
            if connection.execute(there).first() is None:
                raise NoSuchUser(record.user)
            counted = (
                select(func.count())
                .select_from(_tokens)
                .where(_tokens.c.user == user, _tokens.c.expires > record.created)
            )
            if connection.execute(counted).scalar_one() >= API_TOKENS_PER_USER:
                raise TooManyApiTokens(API_TOKENS_PER_USER)
            statement = insert_or(_tokens).values(_values(record))
            if not connection.execute(statement.on_conflict_do_nothing()).rowcount:
                raise TokenExists(record.token_id)

        return self._transactions.write(step, event)

    def find(self, secret_hash: bytes, now: float) -> Deferred[ApiTokenRecord | None]:
        def step(connection: Connection) -> ApiTokenRecord | None:
            chosen = select(_tokens).where(
                _tokens.c.secret_hash == secret_hash, _tokens.c.expires > now
            )
            row = connection.execute(chosen).first()
            return None if row is None else _record(row)

        return self._transactions.read(step)

    def list(self) -> Deferred[tuple[ApiTokenRecord, ...]]:
        def step(connection: Connection) -> tuple[ApiTokenRecord, ...]:
            ordered = select(_tokens).order_by(_tokens.c.token_id)
            return tuple(_record(row) for row in connection.execute(ordered))

        return self._transactions.read(step)

    def used(self, token_id: str, now: float) -> Deferred[None]:
        def step(connection: Connection) -> None:
            chosen = update(_tokens).where(_tokens.c.token_id == token_id)
            connection.execute(chosen.values(last_used=now))

        return self._transactions.write(step)

    def remove(self, token_id: str, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            chosen = delete(_tokens).where(_tokens.c.token_id == token_id)
            if not connection.execute(chosen).rowcount:
                raise NoSuchApiToken(token_id)

        return self._transactions.write(step, event)

    def purge(self, now: float) -> Deferred[int]:
        def step(connection: Connection) -> int:
            return connection.execute(delete(_tokens).where(_tokens.c.expires <= now)).rowcount

        return self._transactions.write(step)


def _values(record: ApiTokenRecord) -> dict[str, Any]:
    return {
        "token_id": record.token_id,
        "secret_hash": record.secret_hash,
        "name": record.name,
        "user": record.user.text,
        "access": record.access.value,
        "created_by": record.created_by,
        "created": record.created,
        "expires": record.expires,
        "last_used": record.last_used,
    }


def _record(row: Row[Any]) -> ApiTokenRecord:
    return ApiTokenRecord(
        token_id=row.token_id,
        secret_hash=row.secret_hash,
        name=row.name,
        user=UserName(row.user),
        access=ApiAccess(row.access),
        created_by=row.created_by,
        created=row.created,
        expires=row.expires,
        last_used=row.last_used,
    )
