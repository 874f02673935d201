"""
Tokens with which programs speak as users.

An :class:`ApiTokenService` owns how they are made, looked up and revoked. Which
methods a token may call follows from its access, in :mod:`mezite.hub.callers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest
from mezite.auth.trail import AuditTrail
from mezite.identity.tokens import ApiAccess, hash_token, new_api_token, token_id
from mezite.names import UserName
from mezite.store.apitokens import ApiTokenRecord, IApiTokens
from mezite.store.error import StoreUnavailable
from mezite.store.interfaces import IUsers
from mezite.store.records import UserRecord

LIFETIME: Final = 30 * 86400.0
# Who makes a token for ever forgets it; a year is noticed.
LONGEST_LIFETIME: Final = 366 * 86400.0
NAME_LENGTH: Final = 64
# "Used a minute ago" is close enough, and does not cost each call a write.
_NOTED_EVERY: Final = 60.0


@frozen
class NewApiToken:
    """A token that was made; its secret is shown once and stored nowhere."""

    record: ApiTokenRecord
    secret: str = field(repr=False)


@frozen
class Holder:
    """Whom a token speaks for, and what it is good for."""

    user: UserRecord
    token: ApiTokenRecord


class ApiTokenService:
    """Makes and revokes tokens, and says whose they are."""

    _log = Logger()

    def __init__(
        self,
        tokens: IApiTokens,
        users: IUsers,
        trail: AuditTrail,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        self._users = users
        self._trail = trail
        self._wall_clock = wall_clock

    async def create(
        self,
        user: UserName,
        *,
        name: str,
        access: ApiAccess = ApiAccess.FULL,
        ttl: float | None = None,
        by: Actor,
    ) -> NewApiToken:
        """
        Make a token for a user.

        :raises BadRequest: the name or the lifetime is out of its bounds.
        :raises NoSuchUser:
        :raises TooManyApiTokens:
        """
        if not 0 < len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
            raise BadRequest(f"a token's name has 1 to {NAME_LENGTH} printable characters")
        lifetime = LIFETIME if ttl is None else ttl
        if not 0 < lifetime <= LONGEST_LIFETIME:
            days = int(LONGEST_LIFETIME // 86400)
            raise BadRequest(f"an API token lives for {days} days at most, and at least a second")
        secret = new_api_token()
        hashed = hash_token(secret)
        now = self._wall_clock()
        record = ApiTokenRecord(
            token_id=token_id(hashed),
            secret_hash=hashed,
            name=name,
            user=user,
            access=access,
            created_by=by.name,
            created=now,
            expires=now + lifetime,
        )
        event = self._trail.event(
            EventType.API_TOKEN_CREATED,
            by,
            target=user,
            token_id=record.token_id,
            name=name,
            access=access.value,
            ttl_seconds=int(lifetime),
        )
        await self._tokens.add(record, event=event)
        self._log.info(
            "{who} made the API token {token} for {user}",
            who=by.name,
            token=record.token_id,
            user=user,
        )
        return NewApiToken(record, secret)

    async def list(self) -> tuple[ApiTokenRecord, ...]:
        """The tokens that have not expired, by their ids."""
        now = self._wall_clock()
        return tuple(record for record in await self._tokens.list() if record.expires > now)

    async def revoke(self, token_id: str, *, by: Actor) -> None:
        """
        Make a token worthless.

        :raises NoSuchApiToken:
        """
        event = self._trail.event(EventType.API_TOKEN_REVOKED, by, token_id=token_id)
        await self._tokens.remove(token_id, event=event)
        self._log.info("{who} revoked the API token {token}", who=by.name, token=token_id)

    async def holder_of(self, secret: str) -> Holder | None:
        """Whom this token speaks for; None once it expired or its user may not log in."""
        now = self._wall_clock()
        token = await self._tokens.find(hash_token(secret), now)
        user = None if token is None else await self._users.get(token.user)
        if token is None or user is None or user.disabled:
            return None
        if token.last_used is None or now - token.last_used >= _NOTED_EVERY:
            try:
                await self._tokens.used(token.token_id, now)
            except StoreUnavailable as error:
                # A disk that is full must not keep people from seeing that it is.
                self._log.warn("the use of a token is not noted: {error}", error=error)
        return Holder(user, token)
