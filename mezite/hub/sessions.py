"""
The way to a node's SSH server, for a user whose identity is proved.

Decides first and acts after: finds the node, asks the access rules, takes the
live tunnel and opens a stream in it; then carries bytes until both ends have
gone. The doors by which users come are :mod:`mezite.hub.sshproxy` (SNI names the
node) and :mod:`mezite.hub.jumphost`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mezite.audit.events import EventType
from mezite.auth.access import AccessService, Ruling
from mezite.auth.trail import AuditTrail
from mezite.error import MeziteError
from mezite.hub.error import AccessRefused, HubStopping, SessionLimitReached, UnknownNode
from mezite.hub.livesessions import LiveSession, LiveSessions, Visitor, limit_event
from mezite.hub.metrics import HubMetrics
from mezite.hub.nodes import NodeDirectory, did_you_mean, shown
from mezite.hub.openssh.servers import OpenSshServers
from mezite.hub.resumption import ParkedSessions
from mezite.hub.ways import TunnelWay
from mezite.identity.roles import Decision
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.store.records import NodeRecord
from mezite.tasks import background, within
from mezite.wire.splice import Spliceable, Spliced

# Three look-ups in the database; whoever waits longer is told so.
_OPENING_SECONDS: Final = 10.0


class SessionOpener:
    """Opens streams to nodes for users who may reach them, and carries their bytes."""

    _log = Logger()

    def __init__(
        self,
        *,
        directory: NodeDirectory,
        access: AccessService,
        live: LiveSessions,
        servers: OpenSshServers,
        parking: ParkedSessions,
        trail: AuditTrail,
        metrics: HubMetrics,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._access = access
        self._live = live
        self._servers = servers
        self._parking = parking
        self._trail = trail
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._is_stopping = False

    async def open(self, visitor: Visitor, wanted: str, *, can_resume: bool = False) -> LiveSession:
        """
        A session on the node that is wanted, by name or agent id.

        With ``can_resume`` it may turn out to be one that goes on; the session that
        comes says whether its way can do that. It is to be given to :meth:`carry` or
        :meth:`abandon` at once.

        :raises UnknownNode: there is none, or the user may not reach it; which
            of the two is in the log, and not told.
        :raises AccessRefused: the user may reach it, and something is in the way.
        :raises SessionLimitReached:
        :raises NodeOffline:
        :raises TimedOut:
        """
        try:
            session = await within(
                self._clock,
                _OPENING_SECONDS,
                self._open(visitor, wanted, can_resume),
                doing="finding the node",
            )
        except MeziteError as error:
            self._metrics.sessions.labels(type(error).__name__).inc()
            self._log.info(
                "{user} from {client} does not reach {node}: {error}",
                user=visitor.user,
                client=visitor.address,
                node=wanted[:80],
                error=error,
            )
            raise
        self._metrics.sessions.labels("opened").inc()
        self._log.info(
            "session {session_id}: {user} from {client} to {node}",
            session_id=session.session_id,
            user=visitor.user,
            client=visitor.address,
            node=session.node.name,
        )
        return session

    async def _open(self, visitor: Visitor, wanted: str, can_resume: bool) -> LiveSession:
        record = await self._directory.find_exactly(wanted)
        ruling = Ruling(Decision(False, ""))
        if record is not None:
            ruling = await self._access.may_reach(
                visitor.user, record, address=visitor.address, issued=visitor.issued
            )
        if ruling.is_told:
            raise AccessRefused(ruling.sentence)
        if record is None or not ruling.allowed:
            # The same way for both, that it may not be seen from the time that it takes.
            others = await self._access.reachable(visitor.user, await self._directory.stored())
            raise out_of_reach(wanted, others, ruling.hint)
        is_resumable = can_resume and record.has_agent
        # One that goes on is not one more: of those the agent asks (mezite.hub.sessionservice).
        if not is_resumable:
            await self._check_number(visitor, record, ruling)
        if self._is_stopping:
            raise HubStopping()
        # From here to the end nothing waits, so that nothing is decided on what was.
        self._live.check_room()
        session_id = str(uuid.uuid4())
        session = LiveSession(
            session_id=session_id,
            visitor=visitor,
            node=record,
            way=self._way(session_id, visitor, record, is_resumable),
            since=self._wall_clock(),
            roles=ruling.roles,
            is_resumable=is_resumable,
        )
        self._live.add(session)
        return session

    def _way(
        self, session_id: str, visitor: Visitor, record: NodeRecord, is_resumable: bool
    ) -> Any:
        if not record.has_agent:
            return self._servers.way(session_id, visitor, record)
        tunnel = self._directory.tunnel_to(record, self._wall_clock())
        stream = tunnel.open_stream(visitor.user)
        header = StreamHeader(
            service="ssh-resume" if is_resumable else "ssh",
            session_id=session_id,
            user=visitor.user.text,
            client_address=visitor.address,
        )
        stream.write(encode(header))
        return TunnelWay(tunnel, stream)

    async def _check_number(self, visitor: Visitor, record: NodeRecord, ruling: Ruling) -> None:
        most = ruling.options.max_sessions
        if most is None or self._live.make_room(visitor.user, most):
            return
        error = SessionLimitReached(most)
        await self._trail.record(limit_event(self._trail, visitor, record, error))
        raise error

    def refuse_all(self) -> None:
        """The hub is being stopped: open no more sessions."""
        self._is_stopping = True

    async def carry(self, session: LiveSession, transport: Spliceable) -> None:
        """Join a session with its person, until both have gone."""
        relayed: Spliced | None = None
        try:
            relayed = await session.way.carry(transport)
        finally:
            if session.is_resumable and (relayed is None or not relayed.is_finished):
                self._count(relayed)
                self._parking.cut(session, relayed)
            else:
                self._over(session, relayed)

    def abandon(self, session: LiveSession) -> None:
        """Nobody came for this session."""
        session.way.cut()
        self._over(session, None)

    async def close(self) -> None:
        """The hub stops: note which sessions are over, while that can be noted."""
        for session in self._live:
            self._live.remove(session)
            # Those that can be resumed are not.
            if not session.is_resumable or session.ending is not None:
                await self._note_end(session)

    def over(self, session: LiveSession) -> None:
        """A session that nothing carries has ended."""
        self._over(session, None)

    def _count(self, relayed: Spliced | None) -> None:
        if relayed is not None:
            counters = self._metrics.relayed
            counters.labels("to_node").inc(relayed.from_left)
            counters.labels("to_user").inc(relayed.from_right)

    def _over(self, session: LiveSession, relayed: Spliced | None) -> None:
        self._count(relayed)
        # Another carries it on, or it is over already.
        if self._live.find(session.session_id) is not session:
            return
        self._live.remove(session)
        self._log.info("session {session_id} ended", session_id=session.session_id)
        session.count(relayed)
        background(self._note_end(session), doing=f"noting the end of {session.session_id}")

    async def _note_end(self, session: LiveSession) -> None:
        if not session.is_recorded:
            return
        to_node, to_user = session.carried_before
        event = self._trail.event(
            EventType.SESSION_END,
            session.visitor.actor,
            target=session.node.agent_id,
            node=session.node.name,
            login=session.login or "",
            session_id=session.session_id,
            seconds=round(self._wall_clock() - session.since),
            bytes_to_node=to_node,
            bytes_to_user=to_user,
            reason=session.ending or "",
        )
        with self._live.leaving(session):
            await self._trail.record(event)


def out_of_reach(wanted: str, reachable: Iterable[NodeRecord], hint: str = "") -> UnknownNode:
    """
    One sentence for nodes that are not there and those that are not for this user.

    It names those within their reach that may have been meant. Only who may ask
    for access to the node gets a hint, which says that it is there.
    """
    told = f"; {hint}" if hint else did_you_mean(wanted, reachable) or "; msh ls shows yours"
    return UnknownNode(f"there is no node {shown(wanted)} that you may reach{told}")
