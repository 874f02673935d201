"""
Join tokens as administrators make and revoke them.

What becomes of a token that a machine shows is :mod:`mezite.auth.joining`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import evolve
from twisted.logger import Logger

from mezite.audit.chain import time_text
from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest
from mezite.auth.trail import AuditTrail
from mezite.identity.hostpatterns import parse_patterns
from mezite.identity.tokens import hash_token, new_token, token_id
from mezite.names import check_labels
from mezite.store.interfaces import IJoinTokens
from mezite.store.records import JoinTokenRecord, NodeRecord

TOKEN_LIFETIME: Final = 3600.0
TOKEN_SHORTEST: Final = 60.0
TOKEN_LONGEST: Final = 30 * 86400.0
TOKEN_USES_LIMIT: Final = 10_000
_DESCRIPTION_LIMIT: Final = 255


class TokenService:
    """Makes join tokens, and takes them back."""

    _log = Logger()

    def __init__(
        self, join_tokens: IJoinTokens, trail: AuditTrail, *, wall_clock: Callable[[], float]
    ) -> None:
        self._join_tokens = join_tokens
        self._trail = trail
        self._wall_clock = wall_clock

    async def create(
        self,
        *,
        ttl: float = TOKEN_LIFETIME,
        uses: int = 1,
        labels: Mapping[str, str] | None = None,
        hostnames: Iterable[str] = (),
        description: str = "",
        by: Actor,
    ) -> tuple[JoinTokenRecord, str]:
        """
        Make a join token; its text is shown now and never again.

        :param labels: what its nodes are called by, whatever they say.
        :param hostnames: patterns of the names that they may claim; none for any.
        :raises BadRequest: it would live too short or too long, or admit none or too many.
        :raises InvalidName: a label is wrong.
        :raises BadPattern:
        """
        if not 1 <= uses <= TOKEN_USES_LIMIT:
            raise BadRequest(f"a join token has 1 to {TOKEN_USES_LIMIT} uses")
        if len(description) > _DESCRIPTION_LIMIT or not description.isprintable():
            raise BadRequest(
                f"a token's description is printable and has at most {_DESCRIPTION_LIMIT}"
                " characters"
            )
        record, text = self._new_token(ttl, by)
        record = evolve(
            record,
            uses_left=uses,
            max_uses=uses,
            labels=check_labels(labels or {}),
            hostnames=tuple(pattern.text for pattern in parse_patterns(hostnames)),
            description=description,
        )
        event = self._trail.event(
            EventType.TOKEN_CREATED,
            by,
            target=record.token_id,
            uses=uses,
            expires=time_text(record.expires),
            labels=label_pairs(record.labels),
            hostnames=record.hostnames,
        )
        await self._join_tokens.add(record, event=event)
        self._log.info(
            "join token {token_id} created by {by}", token_id=record.token_id, by=by.name
        )
        return record, text

    async def allow_rejoin(
        self, node: NodeRecord, *, ttl: float = TOKEN_LIFETIME, by: Actor
    ) -> tuple[JoinTokenRecord, str]:
        """
        Make a token with which this very node joins once more; an older one is gone.

        The node keeps its agent id, its name and the hub's labels. What it
        proved itself by before is of no use once the token was used.

        :raises BadRequest: the token would live too short or too long.
        :raises NoSuchNode:
        """
        record, text = self._new_token(ttl, by)
        record = evolve(record, rejoins=node.agent_id)
        event = self._trail.event(
            EventType.NODE_REJOIN_ALLOWED,
            by,
            target=node.agent_id,
            node=node.name,
            token_id=record.token_id,
            expires=time_text(record.expires),
        )
        await self._join_tokens.add(record, event=event)
        self._log.info("{by} lets node {node} join once more", by=by.name, node=node.name)
        return record, text

    async def remove(self, token_id: str, *, by: Actor) -> None:
        """
        Revoke a token, so that nobody joins with it any more.

        :raises NoSuchToken:
        """
        event = self._trail.event(EventType.TOKEN_DELETED, by, target=token_id)
        await self._join_tokens.remove(token_id, event=event)
        self._log.info("join token {token_id} removed by {by}", token_id=token_id, by=by.name)

    def _new_token(self, ttl: float, by: Actor) -> tuple[JoinTokenRecord, str]:
        if not TOKEN_SHORTEST <= ttl <= TOKEN_LONGEST:
            raise BadRequest(
                f"a join token lives for {TOKEN_SHORTEST:.0f} s to {TOKEN_LONGEST / 86400:.0f} days"
            )
        text = new_token()
        secret_hash = hash_token(text)
        now = self._wall_clock()
        record = JoinTokenRecord(
            token_id=token_id(secret_hash),
            secret_hash=secret_hash,
            created_by=by.name,
            created=now,
            expires=now + ttl,
            uses_left=1,
            max_uses=1,
        )
        return record, text


def label_pairs(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Labels as the audit writes them."""
    return tuple(f"{key}={value}" for key, value in labels.items())
