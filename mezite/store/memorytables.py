"""
What the parts of :class:`mezite.store.memory.MemoryStore` share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, execute

from mezite.audit.chain import ChainedLine, encode_event, link
from mezite.audit.events import AuditEvent
from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.locks import Lock
from mezite.identity.requests import AccessRequest
from mezite.names import AgentId, RoleName, UserName
from mezite.store.apitokens import ApiTokenRecord
from mezite.store.error import NoSuchRole, StoreUnavailable
from mezite.store.proofs import InviteRecord, SecurityKeyRecord, TotpRecord
from mezite.store.recordings import RecordedSession, RecordingRecord
from mezite.store.records import (
    AuditChain,
    BearerRecord,
    JoinTokenRecord,
    NodeRecord,
    RoleRecord,
    UserRecord,
)

P = ParamSpec("P")
T = TypeVar("T")
_EVENT: Final = "event"


@define(eq=False)
class Tables:
    """Everything that is remembered."""

    users: dict[UserName, UserRecord] = field(factory=dict)
    roles: dict[RoleName, RoleRecord] = field(factory=dict)
    nodes: dict[AgentId, NodeRecord] = field(factory=dict)
    tokens: dict[str, JoinTokenRecord] = field(factory=dict)
    bearers: dict[bytes, BearerRecord] = field(factory=dict)
    locks: dict[str, Lock] = field(factory=dict)
    api_tokens: dict[str, ApiTokenRecord] = field(factory=dict)
    requests: dict[str, AccessRequest] = field(factory=dict)
    invites: dict[UserName, InviteRecord] = field(factory=dict)
    totp: dict[UserName, TotpRecord] = field(factory=dict)
    recovery_codes: dict[UserName, frozenset[bytes]] = field(factory=dict)
    security_keys: dict[bytes, SecurityKeyRecord] = field(factory=dict)
    recorded_sessions: dict[str, RecordedSession] = field(factory=dict)
    recordings: dict[str, RecordingRecord] = field(factory=dict)
    audit: list[ChainedLine] = field(factory=list)
    chain: AuditChain = field(factory=AuditChain)
    serial: int = 0
    is_closed: bool = False

    def usable(self) -> Tables:
        if self.is_closed:
            raise StoreUnavailable("the store is closed")
        return self

    def check_roles(self, record: UserRecord) -> None:
        for name in record.roles:
            if name not in self.roles and name not in BUILT_IN:
                raise NoSuchRole(name)

    def valid_token(self, secret_hash: bytes, now: float) -> JoinTokenRecord | None:
        for record in self.tokens.values():
            if record.secret_hash == secret_hash and now < record.expires and record.uses_left > 0:
                return record
        return None

    def forget_bearers(self, user: UserName) -> None:
        self.bearers = {key: record for key, record in self.bearers.items() if record.user != user}

    def forget_api_tokens(self, user: UserName) -> None:
        tokens = self.api_tokens
        self.api_tokens = {key: record for key, record in tokens.items() if record.user != user}

    def forget_proofs(self, user: UserName) -> None:
        """Second factors; an invite is none."""
        self.totp.pop(user, None)
        self.recovery_codes.pop(user, None)
        self.security_keys = {
            key: record for key, record in self.security_keys.items() if record.user != user
        }

    def append(self, event: AuditEvent) -> None:
        seq = self.chain.last_seq + 1
        line = encode_event(event, seq)
        hashed = link(self.chain.last_hash, line)
        self.audit.append(ChainedLine(seq, line, hashed))
        self.chain = AuditChain(self.chain.first_seq, self.chain.first_hash, seq, hashed)


class _OverTables(Protocol):
    _tables: Tables


S = TypeVar("S", bound=_OverTables)


def step(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Deferred[T]]:
    """
    The method, with its answer or its error in a Deferred that has fired.

    The ``event`` that it is called with is kept if it raises nothing.
    """

    def stepped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        def run() -> T:
            self._tables.usable()
            answer = method(self, *args, **kwargs)
            event = kwargs.get(_EVENT)
            if isinstance(event, AuditEvent):
                self._tables.append(event)
            return answer

        return execute(run)

    stepped.__doc__ = method.__doc__
    return stepped
