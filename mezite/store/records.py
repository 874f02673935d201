"""
What the store keeps, one value per row.

Records own their fields and no rule: whether a token is spent or a user may
log in is decided by those who ask. Times are POSIX seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from mezite.audit.chain import GENESIS
from mezite.audit.events import AuditEvent
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import Role
from mezite.identity.traits import Traits
from mezite.names import AgentId, LoginName, NodeName, RoleName, UserName


@frozen
class UserRecord:
    """A person who may log in; ``logins`` and ``node_labels`` are their own, beside the roles."""

    name: UserName
    password_hash: str = field(repr=False)
    logins: tuple[LoginName, ...]
    node_labels: LabelSelector
    is_admin: bool
    must_change_password: bool
    created: float
    disabled: bool = False
    roles: tuple[RoleName, ...] = ()
    traits: Traits = field(factory=dict)


@frozen
class RoleRecord:
    """A role that an administrator wrote; the built-in ones are not stored."""

    role: Role
    created: float
    changed: float


@frozen
class NodeRecord:
    """A machine that has joined; ``last_seen`` is None until its first heartbeat."""

    agent_id: AgentId
    name: NodeName
    labels: Mapping[str, str]
    version: str
    joined: float
    last_seen: float | None = None


@frozen
class JoinTokenRecord:
    """A join token, known by the hash of its secret only."""

    token_id: str
    secret_hash: bytes = field(repr=False)
    created_by: str
    created: float
    expires: float
    uses_left: int
    max_uses: int


@frozen
class BearerRecord:
    """The right to speak as a user until ``expires``, known by the hash of its secret only."""

    secret_hash: bytes = field(repr=False)
    user: UserName
    expires: float


@frozen
class AuditRecord:
    """An event as it is kept: its number in the chain, and its hash."""

    seq: int
    event: AuditEvent
    hash: bytes


@frozen
class AuditChain:
    """Where the chain ends, and where it begins: after the last event that was pruned."""

    first_seq: int = 0
    first_hash: bytes = GENESIS
    last_seq: int = 0
    last_hash: bytes = GENESIS


@frozen
class AuditQuery:
    """
    Which events are wanted; what is empty matches all.

    :param types: alternatives, each ``user.login`` or, for all below, ``user.*``.
    :param user: who acted, or whom it was done to.
    :param since: POSIX seconds, included; ``until`` is not.
    """

    types: tuple[str, ...] = ()
    user: str = ""
    node: str = ""
    session_id: str = ""
    since: float | None = None
    until: float | None = None
