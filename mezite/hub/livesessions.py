"""
The sessions that are open now: whose they are, where they lead, and how each is ended.

:class:`LiveSessions` owns the table and the way to end one. Sessions come into
it and leave it by :mod:`mezite.hub.sessions`; who may see or end them is
:mod:`mezite.hub.sessionservice`'s to say, and which must end because a right is
gone, :mod:`mezite.hub.sessionreview`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.auth.trail import AuditTrail
from mezite.error import LimitReached
from mezite.identity.locks import Attempt
from mezite.names import LoginName, RoleName, UserName
from mezite.store.records import NodeRecord
from mezite.wire.splice import Spliced

# Each has a TLS connection of its own: no hub has more sockets.
SESSIONS_LIMIT: Final = 65_536
# An agent that was asked to end a session has so long to say goodbye to the person.
GOODBYE_SECONDS: Final = 1.0


@frozen
class Visitor:
    """
    Somebody who has proved by a certificate who they are.

    ``issued`` and ``ends`` are the certificate's, in POSIX seconds.
    """

    user: UserName
    address: str
    issued: float
    ends: float

    @property
    def actor(self) -> Actor:
        return Actor(self.user.text, self.address)


@define(eq=False)
class LiveSession:
    """
    One connection of a person's to a node's SSH server.

    ``roles`` are the user's as of the last decision. ``login`` is None until the
    agent asked for it; a session that has one is in the audit.
    """

    session_id: str
    visitor: Visitor
    node: NodeRecord
    # An IWay (mezite.hub.ways).
    way: Any = field(repr=False)
    since: float
    roles: frozenset[RoleName] = frozenset()
    login: LoginName | None = None
    # The access requests in the user's SSH certificate, once the agent has told them.
    carried: frozenset[str] | None = None
    is_recorded: bool = False
    # Its agent keeps it when its way is cut (mezite.hub.resumption).
    is_resumable: bool = False
    # It is kept, and nothing carries it; then it may give way to another of its user's.
    is_cut: bool = False
    # Bytes that went each way over ways that are gone: to the node, to the user.
    carried_before: tuple[int, int] = (0, 0)
    # Why it is being ended, once it is.
    ending: str | None = None

    def count(self, relayed: Spliced | None) -> None:
        """A way of it is gone, over which these bytes went."""
        if relayed is not None:
            to_node, to_user = self.carried_before
            self.carried_before = to_node + relayed.from_left, to_user + relayed.from_right

    @property
    def user(self) -> UserName:
        return self.visitor.user

    @property
    def attempt(self) -> Attempt:
        """What locks are compared with."""
        return Attempt(self.user, self.roles, self.node.name, self.node.agent_id, self.login)


class LiveSessions:
    """The live sessions of this hub, by id and by user."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._sessions: dict[str, LiveSession] = {}
        self._by_user: dict[UserName, dict[str, LiveSession]] = {}
        # Ids of those whose end is being written.
        self._leaving: set[str] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(tuple(self._sessions.values()))

    def find(self, session_id: str) -> LiveSession | None:
        return self._sessions.get(session_id)

    def is_leaving(self, session_id: str) -> bool:
        """Whether it was one of these, and the audit may not say yet that it has ended."""
        return session_id in self._leaving

    @contextmanager
    def leaving(self, session: LiveSession) -> Iterator[None]:
        """While its end is written."""
        self._leaving.add(session.session_id)
        try:
            yield
        finally:
            self._leaving.discard(session.session_id)

    def of(self, user: UserName) -> tuple[LiveSession, ...]:
        """Those of one user, the oldest first."""
        return tuple(self._by_user.get(user, {}).values())

    def make_room(self, user: UserName, most: int, but: LiveSession | None = None) -> bool:
        """
        Make room for one more session of a user who may have so many at once, or say False.

        What may go on as another one does not count. Those that nothing carries are
        ended for it, the oldest first: mostly, it is who lost them that comes now.
        """
        others = [
            each
            for each in self.of(user)
            if each is not but
            and (each.login is not None or not each.is_resumable)
            and not (each.is_cut and each.ending is not None)
        ]
        surplus = len(others) + 1 - most
        giving_way = [each for each in others if each.is_cut][: max(surplus, 0)]
        if len(giving_way) < surplus:
            return False
        for each in giving_way:
            self.end(each, "a newer session has taken its place")
        return True

    def check_room(self) -> None:
        """:raises LimitReached: when there is none for one more."""
        if len(self._sessions) >= SESSIONS_LIMIT:
            raise LimitReached("the hub has as many sessions as it can have: try again later")

    def add(self, session: LiveSession) -> None:
        self._sessions[session.session_id] = session
        self._by_user.setdefault(session.user, {})[session.session_id] = session

    def remove(self, session: LiveSession) -> None:
        if self._sessions.get(session.session_id) is not session:
            return
        del self._sessions[session.session_id]
        theirs = self._by_user[session.user]
        del theirs[session.session_id]
        if not theirs:
            del self._by_user[session.user]

    def end(self, session: LiveSession, reason: str) -> bool:
        """
        Have a session end, with a sentence that the person reads; False if it does already.

        Whoever ends the person's SSH is asked to, since only they can speak to the person.
        Whether they do or not, the way is cut after :data:`GOODBYE_SECONDS`.
        """
        if session.ending is not None or self.find(session.session_id) is not session:
            return False
        session.ending = reason
        self._log.info(
            "ending session {session_id} of {user}: {reason}",
            session_id=session.session_id,
            user=session.user,
            reason=reason,
        )
        take_back = session.way.ask_to_end(session.session_id, reason)
        if take_back is None:
            self._cut(session)
        else:
            self._clock.callLater(GOODBYE_SECONDS, self._cut, session, take_back)
        return True

    def _cut(self, session: LiveSession, take_back: Callable[[], None] | None = None) -> None:
        if take_back is not None:
            take_back()
        if self._sessions.get(session.session_id) is session:
            session.way.cut()


def limit_event(
    trail: AuditTrail, visitor: Visitor, record: NodeRecord, error: Exception
) -> AuditEvent:
    """What the audit says of a session too many."""
    return trail.event(
        EventType.AUTHZ_DENIED,
        visitor.actor,
        target=record.agent_id,
        node=record.name,
        success=False,
        error=str(error),
    )
