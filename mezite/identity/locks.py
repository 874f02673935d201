"""
Locks: what they lock, and whether they lock what somebody is about to do.

A :class:`Lock` names a user, a node, a role or a login, or several of them,
which must then all hold at once. :class:`LockSet` finds the lock that stands
in the way without looking at all of them. Who keeps locks, and what happens
when one comes or goes, is :mod:`mezite.auth.locking`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs
from attrs import field, frozen

from mezite.error import BadInput
from mezite.names import AgentId, InvalidName, LoginName, NodeName, RoleName, UserName

# One line on a terminal, and well below what SSH can say in a disconnection (512 octets).
MESSAGE_LENGTH: Final = 200


def parse_node(text: str) -> NodeName | AgentId:
    """A node, by the host name or the agent id."""
    try:
        return AgentId.parse(text)
    except InvalidName:
        return NodeName.parse(text)


def check_message(text: str) -> str:
    """
    This message, if a terminal can show it on a line.

    :raises BadInput:
    """
    if len(text) > MESSAGE_LENGTH or not text.isprintable():
        raise BadInput(f"a message is one line of at most {MESSAGE_LENGTH} characters")
    return text.strip()


@frozen
class LockTarget:
    """What a lock locks; all that is named must hold at once, and something must be named."""

    user: UserName | None = None
    node: NodeName | AgentId | None = None
    role: RoleName | None = None
    login: LoginName | None = None

    @classmethod
    def parse(
        cls, *, user: str = "", node: str = "", role: str = "", login: str = ""
    ) -> LockTarget:
        """
        Read names, of which empty ones are not named.

        :raises BadInput: one cannot be read, or none was given.
        """
        if not (user or node or role or login):
            raise BadInput("a lock names a user, a node, a role or a login")
        return cls(
            user=UserName.parse(user) if user else None,
            node=parse_node(node) if node else None,
            role=RoleName.parse(role) if role else None,
            login=LoginName.parse(login) if login else None,
        )

    def __str__(self) -> str:
        parts = attrs.asdict(self, recurse=False)
        return ", ".join(f"{kind} {name}" for kind, name in parts.items() if name is not None)


@frozen
class Attempt:
    """
    What somebody is about to do, or does, as far as it is known.

    A lock on what is not known yet does not hold: it is asked for again when
    more is known, and always once a session's login is.
    """

    user: UserName | None = None
    roles: frozenset[RoleName] = frozenset()
    node: NodeName | None = None
    agent_id: AgentId | None = None
    login: LoginName | None = None


@frozen
class Lock:
    """One lock; times in POSIX seconds, and ``expires`` is None for one without an end."""

    lock_id: str
    target: LockTarget
    message: str
    created_by: str
    created: float
    expires: float | None = None

    def is_over(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires

    def holds(self, attempt: Attempt, now: float) -> bool:
        """Whether this lock stands in the way."""
        target = self.target
        return (
            not self.is_over(now)
            and (target.user is None or target.user == attempt.user)
            and (target.node is None or target.node in (attempt.node, attempt.agent_id))
            and (target.role is None or target.role in attempt.roles)
            and (target.login is None or target.login == attempt.login)
        )

    @property
    def sentence(self) -> str:
        """What is locked, and the message, for the person concerned."""
        match self.target:
            case LockTarget(user=UserName() as user, node=None, role=None, login=None):
                what = user.text
            case LockTarget(user=None, node=None, role=RoleName() as role, login=None):
                what = f"the role {role}"
            case LockTarget(user=None, node=None, role=None, login=LoginName() as login):
                what = f"the login {login}"
            case LockTarget(user=None, role=None, login=None, node=node):
                what = f"the node {node}"
            case target:
                what = f"this ({target})"
        return f"{what} is locked: {self.message}" if self.message else f"{what} is locked"


@frozen(eq=False)
class LockSet:
    """
    Locks, ready to be asked about many attempts.

    Each stands under one of the names of its target, so that an attempt meets
    only those that share a name with it: ten thousand nodes are asked about
    every ten seconds.
    """

    _locks: Mapping[str, Lock]
    _by_name: Mapping[object, tuple[Lock, ...]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        by_name: dict[object, tuple[Lock, ...]] = {}
        for lock in self._locks.values():
            key = _key(lock.target)
            by_name[key] = (*by_name.get(key, ()), lock)
        object.__setattr__(self, "_by_name", by_name)

    @classmethod
    def of(cls, locks: Iterable[Lock]) -> LockSet:
        return cls({lock.lock_id: lock for lock in locks})

    def __iter__(self) -> Iterator[Lock]:
        return iter(self._locks.values())

    def __len__(self) -> int:
        return len(self._locks)

    def get(self, lock_id: str) -> Lock | None:
        return self._locks.get(lock_id)

    def with_lock(self, lock: Lock) -> LockSet:
        return LockSet({**self._locks, lock.lock_id: lock})

    def without(self, lock_id: str) -> LockSet:
        return LockSet({key: lock for key, lock in self._locks.items() if key != lock_id})

    def find(self, attempt: Attempt, now: float) -> Lock | None:
        """
        The lock that stands in the way, if one does; of several, the one that lasts.

        Names of different kinds are of different types, and so are never confused.
        """
        if not self._locks:
            return None
        names = (attempt.user, attempt.node, attempt.agent_id, attempt.login, *attempt.roles)
        found = [
            lock
            for name in names
            if name is not None
            for lock in self._by_name.get(name, ())
            if lock.holds(attempt, now)
        ]
        return max(found, key=_lasting, default=None)

    def next_end(self) -> float | None:
        """When the first of them is over."""
        return min((lock.expires for lock in self if lock.expires is not None), default=None)


def _key(target: LockTarget) -> object:
    """The name of which there are fewest attempts."""
    return target.user or target.node or target.login or target.role


def _lasting(lock: Lock) -> tuple[float, float, str]:
    ends = float("inf") if lock.expires is None else lock.expires
    return ends, -lock.created, lock.lock_id
