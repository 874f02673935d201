"""
What can be asked of a store about API tokens.

Beside :mod:`mezite.store.interfaces`, and under its rules.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from mezite.audit.events import AuditEvent
from mezite.identity.tokens import ApiAccess
from mezite.names import UserName

# One for each program of a user; a script that makes one for each run is stopped here.
API_TOKENS_PER_USER: Final = 100


@frozen
class ApiTokenRecord:
    """A program's right to speak as a user, known by the hash of its secret only."""

    token_id: str
    secret_hash: bytes = field(repr=False)
    name: str
    user: UserName
    access: ApiAccess
    created_by: str
    created: float
    expires: float
    # None until it was used; noted now and then, not for each call.
    last_used: float | None = None


class IApiTokens(Interface):
    """The tokens of programs that speak as users."""

    def add(record: ApiTokenRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Keep a token.

        :raises NoSuchUser:
        :raises TokenExists: there is one with this id or this secret.
        :raises TooManyApiTokens: the user has ``API_TOKENS_PER_USER`` that had not
            expired when this one was created.
        """

    def find(secret_hash: bytes, now: float) -> Deferred[ApiTokenRecord | None]:
        """The token with this secret, if it has not expired."""

    def list() -> Deferred[tuple[ApiTokenRecord, ...]]:
        """All tokens, by their ids; expired ones may be among them."""

    def used(token_id: str, now: float) -> Deferred[None]:
        """Note that a token was used; that it is not there is no error."""

    def remove(token_id: str, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget a token.

        :raises NoSuchApiToken:
        """

    def purge(now: float) -> Deferred[int]:
        """Forget what has expired; fires with how many there were."""
