"""
The auth service's methods about sessions that go on: asked and told by agents.

What was begun is read in the audit, where an agent cannot have written it; so
a hub that was restarted takes up what another had begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen
from google.protobuf.message import Message
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from mezite.audit.events import HUB, EventType
from mezite.auth.access import AccessService, Ruling
from mezite.auth.trail import AuditTrail
from mezite.error import BadInput, LocalError, Unavailable
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.livesessions import LiveSession, LiveSessions, Visitor
from mezite.hub.nodes import NodeDirectory
from mezite.hub.resumption import ParkedSessions
from mezite.hub.sessionservice import is_open_to
from mezite.names import LoginName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.records import AuditQuery, NodeRecord

# As many as a tunnel has streams, and as many as an agent keeps that nothing carries.
REPORTED: Final = 2048
_BEGUN: Final = (EventType.SESSION_START.text, EventType.SESSION_END.text)
_UNKNOWN: Final = "the hub does not know this session any more: connect again"
_NO_WAY: Final = "the hub has no such connection on which a session could go on: connect again"


class WayGone(Unavailable):
    """What was decided about is gone meanwhile; the session itself may well go on."""

    def __init__(self, session_id: str) -> None:
        super().__init__("the connection on which the session was to go on has ended")
        self.session_id = session_id


@frozen
class ResumptionMethods:
    """The methods, by what they are called."""

    access: AccessService
    live: LiveSessions
    parked: ParkedSessions
    directory: NodeDirectory
    # An IAuditLog.
    audit: Any
    trail: AuditTrail
    # One for each session that is being looked for, by its id.
    _looking: dict[str, DeferredLock] = field(init=False, factory=dict, repr=False)

    _log = Logger()

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "ResumeSession": self.resume_session,
            "ReportSessions": self.report_sessions,
        }

    async def resume_session(
        self, who: Subject, _call: Call, request: pb.ResumeSessionRequest
    ) -> Message:
        """
        Let a session go on over another way, as if it were begun now.

        An agent can only name a session that the hub once let begin on its node, and a
        way that the hub has opened to it for the same user.

        :raises WayGone: when the client has given that way up, which the agent may not
            have heard yet, or has come by another one meanwhile.
        """
        node, user = _node(who), UserName.parse(request.session.user)
        opened = self.live.find(request.session_id)
        if opened is None or opened.ending is not None:
            self._log.info(
                "{node} asked to go on over {session_id}, which is gone",
                node=who.name,
                session_id=request.session_id[:80],
            )
            raise WayGone(request.session_id)
        if not (opened.is_resumable and is_open_to(opened, node, user)):
            await self._note_forgery(who, user, request.session_id)
            return pb.ResumeSessionResponse(allowed=False, reason=_NO_WAY)
        session = await self._known(node, request.session)
        if session is None or session is opened:
            return pb.ResumeSessionResponse(allowed=False, reason=_UNKNOWN)
        reason = session.ending or await self._refusal(session, opened.visitor)
        if not reason:
            await self.trail.record(
                self.trail.event(
                    EventType.SESSION_RESUMED,
                    opened.visitor.actor,
                    target=node.agent_id,
                    node=node.name,
                    login=session.login or "",
                    session_id=session.session_id,
                )
            )
            # From here to the end nothing waits, so that nothing is decided on what was.
            reason = opened.ending or session.ending or ""
        if reason:
            return pb.ResumeSessionResponse(allowed=False, reason=reason)
        for each in (opened, session):
            if self.live.find(each.session_id) is not each:
                raise WayGone(each.session_id)
        self.parked.replace(session, opened)
        return pb.ResumeSessionResponse(allowed=True)

    async def _refusal(self, session: LiveSession, visitor: Visitor) -> str:
        """Why a session may not go on; empty if it may. One that may not is over."""
        ruling = await self._judge(session, visitor)
        if ruling.allowed:
            session.roles = ruling.roles
            return ""
        reason = f"your access has ended: {ruling.sentence}"
        session.ending = session.ending or reason
        # The agent ends it; whatever still led there does so no more.
        if session in self.parked:
            self.parked.forget(session, reason)
        else:
            session.way.cut()
        return reason

    async def _judge(self, session: LiveSession, visitor: Visitor) -> Ruling:
        if session.login is None:
            raise LocalError("a session that was not begun cannot go on")
        return await self.access.authorize_session(
            session.user,
            session.login,
            session.node.agent_id,
            session_id=session.session_id,
            address=visitor.address,
            issued=visitor.issued,
            carried=session.carried or (),
        )

    async def report_sessions(
        self, who: Subject, _call: Call, request: pb.ReportSessionsRequest
    ) -> Message:
        """Learn which sessions live on at a node, and say which of them must not."""
        node = _node(who)
        if len(request.sessions) + len(request.beginning) > REPORTED:
            raise BadInput(f"a node has {REPORTED} sessions at most")
        # One that we let in may be cut before our answer is there: the agent knows best whether
        # it goes on, and says so when it has heard of both.
        named = {each.session_id for each in request.sessions} | set(request.beginning)
        for session in self.parked.of(node.agent_id):
            if session.session_id not in named:
                self.parked.forget(session, "its agent does not know it any more")
        ended: list[pb.EndedSession] = []
        for each in request.sessions:
            reason = await self._why_not(node, each)
            if reason:
                ended.append(pb.EndedSession(session_id=each.session_id, reason=reason))
        return pb.ReportSessionsResponse(ended=ended)

    async def _why_not(self, node: NodeRecord, living: pb.LivingSession) -> str:
        is_news = self.live.find(living.session_id) is None
        session = await self._known(node, living)
        if session is None:
            return _UNKNOWN
        if session.ending is not None:
            self.parked.forget(session, session.ending)
            return session.ending
        if not is_news:
            return ""
        reason = await self._refusal(session, session.visitor)
        if reason:
            await self.trail.record(
                self.trail.event(
                    EventType.SESSION_TERMINATED,
                    HUB,
                    target=session.user,
                    node=node.name,
                    login=session.login or "",
                    session_id=session.session_id,
                    reason=reason,
                )
            )
        return reason

    async def _known(self, node: NodeRecord, living: pb.LivingSession) -> LiveSession | None:
        """The session that an agent means: among the live ones now, if it ever was."""
        session = self.live.find(living.session_id)
        if session is None:
            session = await self._once_begun(node, living)
        if (
            session is None
            or session.login is None
            or session.user.text != living.user
            or session.node.agent_id != node.agent_id
        ):
            return None
        return session

    async def _once_begun(self, node: NodeRecord, living: pb.LivingSession) -> LiveSession | None:
        """
        A session that another hub began, among the live ones from now on.

        Its agent and its client come together after a restart, and it may go on and end while
        the slower of the two is answered: only one looks at a time, and none while an end is
        being written, or it would come to life from what the audit said before that.
        """
        lock = self._looking.setdefault(living.session_id, DeferredLock())
        await lock.acquire()
        try:
            session = self.live.find(living.session_id)
            if session is None and not self.live.is_leaving(living.session_id):
                session = await self._begun(node, living)
            return session
        finally:
            lock.release()
            if not lock.locked and self._looking.get(living.session_id) is lock:
                del self._looking[living.session_id]

    async def _begun(self, node: NodeRecord, living: pb.LivingSession) -> LiveSession | None:
        query = AuditQuery(types=_BEGUN, session_id=living.session_id)
        found = await self.audit.search(query, limit=1, newest_first=True)
        event = found[0].event if living.session_id and found else None
        if (
            event is None
            or event.type is not EventType.SESSION_START
            or event.target != node.agent_id.text
            or event.actor.name != living.user
            or event.login != living.login
        ):
            return None
        record = await self.directory.find(node.agent_id.text)
        self.live.check_room()
        visitor = Visitor(
            user=UserName.parse(living.user),
            address=event.actor.address,
            # It was good then: what was issued before a later change is as old as the session.
            issued=event.time,
            ends=float(living.certificate_expires),
        )
        session = LiveSession(
            session_id=living.session_id,
            visitor=visitor,
            node=record,
            way=None,
            since=event.time,
            login=LoginName.parse(living.login),
            carried=frozenset(living.request_ids),
            is_recorded=True,
            is_resumable=True,
        )
        self.live.add(session)
        self.parked.keep(session, record.labels)
        self._log.info(
            "session {session_id} of {user} lives on at {node}",
            session_id=session.session_id,
            user=session.user,
            node=node.name,
        )
        return session

    async def _note_forgery(self, who: Subject, user: UserName, session_id: str) -> None:
        self._log.warn(
            "{node} asked to go on over {session_id}, which is not its to use",
            node=who.name,
            session_id=session_id[:80],
        )
        await self.trail.record(
            self.trail.event(
                EventType.AUTHZ_DENIED,
                who.actor,
                target=user,
                node=who.name,
                session_id=session_id[:80],
                success=False,
                error="no such connection is open to this node and waits for a session",
            )
        )


def _node(who: Subject) -> NodeRecord:
    if who.node is None:
        raise LocalError("a method for nodes was admitted without one")
    return who.node
