"""
API tokens in a dictionary.
"""

from __future__ import annotations

import attrs
from attrs import define
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.store.apitokens import API_TOKENS_PER_USER, ApiTokenRecord, IApiTokens
from mezite.store.error import NoSuchApiToken, NoSuchUser, TokenExists, TooManyApiTokens
from mezite.store.memorytables import Tables, step


@implementer(IApiTokens)
@define(eq=False)
class MemoryApiTokens:
    """Tokens by their ids."""

    _tables: Tables

    @step
    def add(self, record: ApiTokenRecord, *, event: AuditEvent | None = None) -> None:
        tokens = self._tables.api_tokens
        if record.user not in self._tables.users:
            raise NoSuchUser(record.user)
        held = [
            other
            for other in tokens.values()
            if other.user == record.user and record.created < other.expires
        ]
        if len(held) >= API_TOKENS_PER_USER:
            raise TooManyApiTokens(API_TOKENS_PER_USER)
        secrets = {other.secret_hash for other in tokens.values()}
        if record.token_id in tokens or record.secret_hash in secrets:
            raise TokenExists(record.token_id)
        tokens[record.token_id] = record

    @step
    def find(self, secret_hash: bytes, now: float) -> ApiTokenRecord | None:
        for record in self._tables.api_tokens.values():
            if record.secret_hash == secret_hash and now < record.expires:
                return record
        return None

    @step
    def list(self) -> tuple[ApiTokenRecord, ...]:
        return tuple(record for _, record in sorted(self._tables.api_tokens.items()))

    @step
    def used(self, token_id: str, now: float) -> None:
        tokens = self._tables.api_tokens
        if token_id in tokens:
            tokens[token_id] = attrs.evolve(tokens[token_id], last_used=now)

    @step
    def remove(self, token_id: str, *, event: AuditEvent | None = None) -> None:
        if self._tables.api_tokens.pop(token_id, None) is None:
            raise NoSuchApiToken(token_id)

    @step
    def purge(self, now: float) -> int:
        tokens = self._tables.api_tokens
        kept = {key: record for key, record in tokens.items() if now < record.expires}
        self._tables.api_tokens = kept
        return len(tokens) - len(kept)
