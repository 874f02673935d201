"""
Sessions that live on at their node while nothing leads there.

:class:`ParkedSessions` keeps them among the live ones, so that they are listed,
counted and ended as others are, until they go on, end, or nobody came for too long.
What agents say of theirs is :mod:`mezite.hub.resumptionservice`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mezite.error import LocalError
from mezite.hub.livesessions import LiveSession, LiveSessions
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.hub.ways import IWay, ask_agent
from mezite.names import AgentId
from mezite.wire.splice import Spliceable, Spliced

# Agents keep a session for 300 s, and say when it is over; this is for those that cannot.
PARKED_SECONDS: Final = 330.0


@implementer(IWay)
@define(eq=False)
class ParkedWay:
    """No way at all; but its node may have a tunnel, by which its agent can be spoken to."""

    registry: TunnelRegistry = field(repr=False)
    agent_id: AgentId
    # What they were when there was a tunnel last.
    last_labels: Mapping[str, str]
    on_cut: Callable[[], None] = field(repr=False)

    @property
    def agent(self) -> Tunnel | None:
        return self.registry.find(self.agent_id)

    @property
    def labels(self) -> Mapping[str, str]:
        agent = self.agent
        return self.last_labels if agent is None else agent.labels

    def carry(self, transport: Spliceable) -> Deferred[Spliced]:
        raise LocalError("a parked session has no way")

    def ask_to_end(self, session_id: str, reason: str) -> Callable[[], None] | None:
        agent = self.agent
        return None if agent is None else ask_agent(agent, session_id, reason)

    def cut(self) -> None:
        self.on_cut()


class ParkedSessions:
    """Those of one hub."""

    _log = Logger()

    def __init__(
        self,
        live: LiveSessions,
        registry: TunnelRegistry,
        clock: IReactorTime,
        *,
        over: Callable[[LiveSession], None],
    ) -> None:
        """:param over: told of each that has ended."""
        self._live = live
        self._registry = registry
        self._clock = clock
        self._over = over
        self._deadlines: dict[LiveSession, IDelayedCall] = {}

    def __contains__(self, session: LiveSession) -> bool:
        return session in self._deadlines

    def of(self, agent_id: AgentId) -> tuple[LiveSession, ...]:
        """Those of one node."""
        return tuple(each for each in self._deadlines if each.node.agent_id == agent_id)

    def cut(self, session: LiveSession, relayed: Spliced | None) -> None:
        """What led to the node is gone: keep the session, if it can go on."""
        now = self._live.find(session.session_id)
        if now is not session:
            if now is not None:
                # It goes on over another way already.
                now.count(relayed)
            return
        session.count(relayed)
        if session.login is None or session.ending is not None:
            self._over(session)
            return
        self._log.info("session {session_id} was cut", session_id=session.session_id)
        self.keep(session, session.way.labels)

    def keep(self, session: LiveSession, labels: Mapping[str, str]) -> None:
        """Keep a session that stands among the live ones, and that nothing carries."""
        session.is_cut = True
        session.way = ParkedWay(
            self._registry,
            session.node.agent_id,
            dict(labels),
            on_cut=lambda: self._end(session),
        )
        self._deadlines[session] = self._clock.callLater(
            PARKED_SECONDS, self.forget, session, "nobody came back"
        )

    def replace(self, session: LiveSession, by: LiveSession) -> None:
        """A session goes on over the way of another, which takes its place and its name."""
        way: Any = session.way
        self._live.remove(session)
        self._live.remove(by)
        by.session_id, by.since = session.session_id, session.since
        by.login, by.carried, by.roles = session.login, session.carried, session.roles
        by.is_recorded, by.carried_before = session.is_recorded, session.carried_before
        self._live.add(by)
        deadline = self._deadlines.pop(session, None)
        if deadline is not None:
            deadline.cancel()
        else:
            # Half open, or its client has a new address: the newest is the one that lives.
            way.cut()

    def forget(self, session: LiveSession, why: str) -> None:
        """A session that nothing carries has ended."""
        deadline = self._deadlines.pop(session, None)
        if deadline is None:
            return
        if deadline.active():
            deadline.cancel()
        self._log.info(
            "session {session_id} is over: {why}", session_id=session.session_id, why=why
        )
        self._over(session)

    def _end(self, session: LiveSession) -> None:
        # Without its agent, nobody has heard that it is to end: it hears it when it is back.
        if self._registry.find(session.node.agent_id) is not None:
            self.forget(session, session.ending or "it was ended")
