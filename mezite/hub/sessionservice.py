"""
The auth service's methods about sessions: begun by agents, seen and ended by people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import frozen
from google.protobuf.message import Message
from twisted.logger import Logger

from mezite.audit.events import EventType
from mezite.auth.access import AccessService, Ruling
from mezite.auth.recordkeeping import RecordKeeping
from mezite.auth.reviewing import Reviewing
from mezite.auth.trail import AuditTrail
from mezite.error import LocalError, MeziteError, NotFound
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.error import SessionLimitReached
from mezite.hub.livesessions import LiveSession, LiveSessions, limit_event
from mezite.hub.paging import page
from mezite.identity.locks import check_message
from mezite.identity.roles import Decision
from mezite.identity.rolesdoc import Recording
from mezite.names import LoginName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.recordings import RecordedSession
from mezite.store.records import NodeRecord

_RECORDINGS: Final[Mapping[Recording | None, pb.SessionRecording.ValueType]] = {
    Recording.OFF: pb.SESSION_RECORDING_OFF,
    Recording.BEST_EFFORT: pb.SESSION_RECORDING_BEST_EFFORT,
    Recording.STRICT: pb.SESSION_RECORDING_STRICT,
}
# No session of this hub, of this node and of this user has this id, or it has begun.
_NO_SESSION: Final = "the hub has no such session that is to begin: connect again"


@frozen
class SessionMethods:
    """The methods, by what they are called."""

    access: AccessService
    live: LiveSessions
    recordings: RecordKeeping
    reviewing: Reviewing
    trail: AuditTrail
    wall_clock: Callable[[], float]

    _log = Logger()

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "AuthorizeSession": self.authorize_session,
            "ListSessions": self.list_sessions,
            "EndSession": self.end_session,
        }

    async def authorize_session(
        self, who: Subject, _call: Call, request: pb.AuthorizeSessionRequest
    ) -> Message:
        """
        Let a session begin, once it is in the audit.

        An agent can only begin what the hub opened to it, for the user that the
        hub knows, and once: it cannot make up sessions of others.
        """
        if who.node is None:
            raise LocalError("AuthorizeSession was admitted without a node")
        user, login = UserName.parse(request.user), LoginName.parse(request.login)
        session = self.live.find(request.session_id)
        if session is None or not is_open_to(session, who.node, user):
            await self._note_forgery(who, user, login, request.session_id)
            return pb.AuthorizeSessionResponse(allowed=False, reason=_NO_SESSION)
        ruling = await self.begin(session, login, request.request_ids)
        if not ruling.allowed:
            return pb.AuthorizeSessionResponse(allowed=False, reason=ruling.sentence)
        return _permission(ruling)

    async def begin(self, session: LiveSession, login: LoginName, carried: Iterable[str]) -> Ruling:
        """
        Let a session begin that nobody began, once it is in the audit.

        :param carried: the access requests in the user's SSH certificate.
        """
        # From now on locks of this login end it, and it cannot be begun again.
        session.login, session.carried = login, frozenset(carried)
        ruling = await self.access.authorize_session(
            session.user,
            login,
            session.node.agent_id,
            session_id=session.session_id,
            address=session.visitor.address,
            issued=session.visitor.issued,
            carried=session.carried,
        )
        if not ruling.allowed:
            return ruling
        most = ruling.options.max_sessions
        if (
            session.is_resumable
            and most is not None
            and not self.live.make_room(session.user, most, session)
        ):
            return await self._too_many(session, most)
        session.roles = ruling.roles
        if self.live.find(session.session_id) is not session:
            # Its end has been noted already, as that of one that had not begun.
            return Ruling(Decision(False, "the session has ended"))
        await self._note_start(session, login, ruling.options.record_session)
        if session.ending is not None or self.live.find(session.session_id) is None:
            return Ruling(Decision(False, session.ending or "the session has ended"))
        return ruling

    async def _too_many(self, session: LiveSession, most: int) -> Ruling:
        error = SessionLimitReached(most)
        await self.trail.record(limit_event(self.trail, session.visitor, session.node, error))
        return Ruling(Decision(False, str(error)), is_told=True)

    async def _note_start(
        self, session: LiveSession, login: LoginName, recording: Recording | None
    ) -> None:
        event = self.trail.event(
            EventType.SESSION_START,
            session.visitor.actor,
            target=session.node.agent_id,
            node=session.node.name,
            login=login,
            session_id=session.session_id,
        )
        # Set before it is true: if the session ends while this is written, its end follows.
        session.is_recorded = True
        try:
            if recording is Recording.OFF:
                await self.trail.record(event)
            else:
                # Recordings of it are taken, now and whenever its node can bring them.
                await self.recordings.expect(_expected(session, login), event)
        except MeziteError:
            session.is_recorded = False
            raise

    async def _note_forgery(
        self, who: Subject, user: UserName, login: LoginName, session_id: str
    ) -> None:
        self._log.warn(
            "{node} asked to begin session {session_id} of {user}, which is not its to begin",
            node=who.name,
            session_id=session_id[:80],
            user=user,
        )
        await self.trail.record(
            self.trail.event(
                EventType.AUTHZ_DENIED,
                who.actor,
                target=user,
                node=who.name,
                login=login,
                session_id=session_id[:80],
                success=False,
                error="no such session is open to this node and waits to begin",
            )
        )

    async def list_sessions(
        self, who: Subject, _call: Call, request: pb.ListSessionsRequest
    ) -> Message:
        """Those of all for auditors; one's own for others, and those they may watch."""
        sessions, next_token = page(
            sorted(await self._shown(who), key=_key), _key, request.page_size, request.page_token
        )
        return pb.ListSessionsResponse(
            sessions=[session_message(session) for session in sessions],
            next_page_token=next_token,
        )

    async def _shown(self, who: Subject) -> list[LiveSession]:
        everything = list(self.live)
        if who.user is None or who.is_auditor:
            return everything
        name, reviewer = who.user.name, await self.reviewing.reviewer(who.user)
        return [
            session
            for session in everything
            if session.user == name
            or (
                session.login is not None
                and await reviewer.may_see(_expected(session, session.login))
            )
        ]

    async def end_session(
        self, who: Subject, _call: Call, request: pb.EndSessionRequest
    ) -> Message:
        session = self.live.find(request.session_id)
        if session is None:
            raise NotFound(f"there is no live session {request.session_id[:80]!r}")
        message = check_message(request.message)
        reason = "an administrator ended this session"
        if message:
            reason = f"{reason}: {message}"
        await self.trail.record(
            self.trail.event(
                EventType.SESSION_TERMINATED,
                who.actor,
                target=session.user,
                node=session.node.name,
                login=session.login or "",
                session_id=session.session_id,
                reason=reason,
            )
        )
        self.live.end(session, reason)
        return pb.EndSessionResponse()


def session_message(session: LiveSession) -> pb.Session:
    """A live session as lists show it."""
    return pb.Session(
        session_id=session.session_id,
        user=session.user.text,
        node=session.node.name.text,
        agent_id=session.node.agent_id.text,
        login="" if session.login is None else session.login.text,
        client_address=session.visitor.address,
        started=int(session.since),
        certificate_expires=int(session.visitor.ends),
    )


def _expected(session: LiveSession, login: LoginName) -> RecordedSession:
    return RecordedSession(
        session_id=session.session_id,
        user=session.user,
        login=login,
        node=session.node.name,
        agent_id=session.node.agent_id,
        address=session.visitor.address,
        started=session.since,
    )


def is_open_to(session: LiveSession, node: NodeRecord, user: UserName) -> bool:
    """Whether this node may begin this session, for this user."""
    return (
        session.node.agent_id == node.agent_id
        and session.user == user
        and session.login is None
        and session.ending is None
    )


def _permission(ruling: Ruling) -> pb.AuthorizeSessionResponse:
    options = ruling.options
    return pb.AuthorizeSessionResponse(
        allowed=True,
        reason=ruling.sentence,
        withheld_extensions=sorted(ruling.withheld),
        idle_timeout_seconds=options.idle_timeout or 0,
        disconnect_expired=options.disconnect_expired,
        recording=_RECORDINGS[options.record_session],
        record_input=options.record_input,
    )


def _key(session: LiveSession) -> str:
    # By age; ids tell apart what began in the same microsecond.
    return f"{session.since:020.6f} {session.session_id}"
