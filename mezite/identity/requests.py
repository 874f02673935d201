"""
Access requests: what they may ask for, who may decide, and what becomes of them.

An :class:`AccessRequest` owns its states, and :data:`TRANSITIONS` is the only
list of what may follow what. Where requests are kept is for
:mod:`mezite.store`, what an approved one opens for :mod:`mezite.identity.roles`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Self

from attrs import evolve, frozen

from mezite.identity.builtinroles import ADMIN, AUDITOR
from mezite.identity.error import BadRequestText, NotPossible
from mezite.identity.roles import UserRights
from mezite.identity.terms import Anything, Person, Term, expand
from mezite.names import AgentId, InvalidName, NodeName, RoleName, UserName

# More than this belongs into a role of its own.
ROLES_LIMIT: Final = 16
NODES_LIMIT: Final = 64
# A few sentences. Four octets for each character, twice, and the rest of a request are below
# 20 KB: a hundred of them, a page of a list, fit into the 4 MiB that stock gRPC clients take.
REASON_LENGTH: Final = 1000
# What nobody has looked at in a day was not urgent.
PENDING_SECONDS: Final = 24 * 3600.0
DEFAULT_WINDOW: Final = 4 * 3600.0
# The bounds of a certificate's life (mezite.auth.issuing).
SHORTEST_WINDOW: Final = 60.0
LONGEST_WINDOW: Final = 24 * 3600.0
# Those over Mezite itself open no node, and what decides about requests is not requested.
NOT_REQUESTED: Final = frozenset([ADMIN, AUDITOR])


class State(enum.Enum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REVOKED = "revoked"

    @property
    def is_final(self) -> bool:
        return all(state is not self for state, _ in TRANSITIONS)


class Step(enum.Enum):
    """What can be done to a request."""

    APPROVE = "approve"
    DENY = "deny"
    CANCEL = "cancel"
    REVOKE = "revoke"
    EXPIRE = "expire"


TRANSITIONS: Final[Mapping[tuple[State, Step], State]] = {
    (State.PENDING, Step.APPROVE): State.APPROVED,
    (State.PENDING, Step.DENY): State.DENIED,
    (State.PENDING, Step.CANCEL): State.CANCELLED,
    (State.PENDING, Step.EXPIRE): State.EXPIRED,
    (State.APPROVED, Step.REVOKE): State.REVOKED,
    (State.APPROVED, Step.EXPIRE): State.EXPIRED,
}


@frozen
class Change:
    """A step that was done: to which state, when, by whom and why."""

    state: State
    time: float
    by: str
    reason: str = ""


@frozen
class AccessRequest:
    """
    One wish for roles.

    ``expires`` is when the present state ends by itself: a pending request is not
    looked at any more then, and the rights of an approved one end. ``window`` is
    how long these are to last, in seconds. ``changes`` begins with the creation;
    the table above bounds it to three.
    """

    id: str
    user: UserName
    roles: tuple[RoleName, ...]
    nodes: tuple[str, ...]
    window: float
    expires: float
    changes: tuple[Change, ...]

    @classmethod
    def create(
        cls,
        id: str,
        user: UserName,
        *,
        roles: Iterable[RoleName],
        nodes: Iterable[str] = (),
        reason: str,
        window: float | None = None,
        longest: float = LONGEST_WINDOW,
        now: float,
    ) -> Self:
        """
        A request that waits for its review.

        :param window: shortened to ``longest``.
        :raises BadRequestText: something is missing, too much or too long.
        """
        wanted = tuple(dict.fromkeys(roles))
        if not 1 <= len(wanted) <= ROLES_LIMIT:
            raise BadRequestText(f"a request names 1 to {ROLES_LIMIT} roles")
        if refused := NOT_REQUESTED.intersection(wanted):
            raise BadRequestText(f"the role {min(refused)} cannot be requested: it opens no node")
        if not reason.strip():
            raise BadRequestText("a request gives a reason")
        return cls(
            id,
            user,
            wanted,
            check_nodes(nodes),
            check_window(window, longest),
            now + PENDING_SECONDS,
            (Change(State.PENDING, now, user.text, check_reason(reason)),),
        )

    @property
    def state(self) -> State:
        """The state that was written down last; see :meth:`state_at`."""
        return self.changes[-1].state

    @property
    def created(self) -> float:
        return self.changes[0].time

    @property
    def reason(self) -> str:
        return self.changes[0].reason

    def state_at(self, now: float) -> State:
        """The state now: what has ended has, whether or not somebody wrote it down."""
        return State.EXPIRED if self.is_due(now) else self.state

    def is_due(self, now: float) -> bool:
        """Whether :attr:`Step.EXPIRE` is what must be done."""
        return not self.state.is_final and now >= self.expires

    def gives_rights(self, now: float) -> bool:
        return self.state_at(now) is State.APPROVED

    def step(
        self,
        step: Step,
        *,
        now: float,
        by: str,
        reason: str = "",
        longest: float = LONGEST_WINDOW,
    ) -> Self:
        """
        The request after this step.

        :raises NotPossible: the request is in another state, also by time alone.
        :raises BadRequestText: the reason is too long.
        """
        state = self.state if step is Step.EXPIRE else self.state_at(now)
        after = TRANSITIONS.get((state, step))
        if after is None or (step is Step.EXPIRE and not self.is_due(now)):
            raise NotPossible(self.id, step.value, state.value)
        change = Change(after, now, by, check_reason(reason))
        expires = now + min(self.window, longest) if after is State.APPROVED else self.expires
        return evolve(self, expires=expires, changes=(*self.changes, change))


def check_reason(text: str) -> str:
    """
    This reason, without space around it.

    :raises BadRequestText:
    """
    kept = text.strip()
    if len(kept) > REASON_LENGTH or not kept.isprintable():
        raise BadRequestText(f"a reason is one line of at most {REASON_LENGTH} characters")
    return kept


def check_nodes(names: Iterable[str]) -> tuple[str, ...]:
    """
    Host names and agent ids, in their canonical spelling, each once.

    :raises BadRequestText: too many; or InvalidName.
    """
    kept = []
    for number, name in enumerate(names):
        if number >= NODES_LIMIT:
            raise BadRequestText(f"a request names at most {NODES_LIMIT} nodes")
        try:
            kept.append(AgentId.parse(name).text)
        except InvalidName:
            kept.append(NodeName.parse(name).text)
    return tuple(dict.fromkeys(kept))


def check_window(seconds: float | None, longest: float) -> float:
    """
    How long approved rights are to last, at most ``longest``.

    :raises BadRequestText: less than a certificate can live.
    """
    wanted = DEFAULT_WINDOW if seconds is None else seconds
    # Written so that what is not a number fails, too.
    if not wanted >= SHORTEST_WINDOW:
        raise BadRequestText(f"requested access lasts for {SHORTEST_WINDOW:.0f} s at least")
    return min(wanted, longest)


def may_request(rights: UserRights, role: RoleName) -> bool:
    """
    Whether this person may ask for the role.

    Only roles that they have anyhow are asked: what was requested gives no right
    to request more.
    """
    return role not in NOT_REQUESTED and _is_named(
        rights,
        role,
        allowed=[each.allow.request_roles for each in rights.roles],
        denied=[each.deny.request_roles for each in rights.roles],
    )


def may_review(rights: UserRights, request: AccessRequest) -> bool:
    """
    Whether this person may decide about the request: about all of its roles, and
    never about their own.

    As with :func:`may_request`, a requested role does not make a reviewer. An
    administrator reviews whatever no role denies.
    """
    if rights.user == request.user:
        return False
    everything = [(Anything(),)] if rights.is_admin else []
    return all(
        _is_named(
            rights,
            role,
            allowed=[*everything, *(each.allow.review_roles for each in rights.roles)],
            denied=[each.deny.review_roles for each in rights.roles],
        )
        for role in request.roles
    )


def _is_named(
    rights: UserRights,
    role: RoleName,
    *,
    allowed: Collection[tuple[Term, ...]],
    denied: Collection[tuple[Term, ...]],
) -> bool:
    person = Person(rights.user, rights.logins, rights.traits)

    def named(lists: Iterable[tuple[Term, ...]]) -> bool:
        return any(
            condition.holds(role.text)
            for terms in lists
            for term in terms
            for condition in expand(term, person)
        )

    return named(allowed) and not named(denied)
