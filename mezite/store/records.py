"""
What the store keeps, one value per row.

Records own their fields and no rule: whether a token is spent or a user may
log in is decided by those who ask. Times are POSIX seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

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
