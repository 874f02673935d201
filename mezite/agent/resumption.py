"""
The sessions of this node that outlive the streams of its tunnel.

A :class:`ResumableSessions` serves ``ssh-resume``: it makes the connection that is
resumed, keeps it *parked* while nothing carries it, and gives it to the stream
whose client knows its token, if the hub allows it. What is spoken inside is
:mod:`mezite.agent.sshd`'s; how bytes are counted, :mod:`mezite.resume.link`'s.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.agent.hubcalls import HubCalls, Living
from mezite.agent.sessionends import OpenSessions
from mezite.agent.sessionreports import Known, SessionReports
from mezite.agent.sshd import NodeAvatar
from mezite.error import MeziteError, TimedOut
from mezite.resume import frames
from mezite.resume.error import RemoteResumeError
from mezite.resume.frames import DENIED, GONE, NOT_NOW, GreetingReader, Hello
from mezite.resume.transport import ResumableTransport
from mezite.rpc.error import CallCancelled, ChannelClosed
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.keylife import RESUMABLE
from mezite.tasks import background, within

SERVICE: Final = "ssh-resume"
# So long a session waits for its client. Clients try for as long.
PARKED_SECONDS: Final = 300.0
# What parked sessions may hold together: as many as a tunnel has streams, so that none is lost
# with a tunnel, and of one user as many as the hub gives them.
PARKED: Final = 1024
PARKED_OF_ONE_USER: Final = 256
# A parked session keeps what its client has not acknowledged, 2 MiB and a little; an idle one
# nothing. This is 32 that were cut in the middle of a copy.
PARKED_BYTES: Final = 64 * 1024 * 1024
# The client says hello in the first bytes that it sends.
HELLO_SECONDS: Final = 10.0
# The hub decides about a session that is to go on within this time.
ASK_SECONDS: Final = 10.0
# What leaves open what the hub has done.
_UNHEARD: Final = (TimedOut, ChannelClosed, CallCancelled)
_UNKNOWN: Final = (
    "the node does not know this session any more: its agent was restarted,"
    " or the session has ended"
)


@define(eq=False)
class _Session:
    """One connection that can be resumed."""

    session_id: str
    user: str
    token: bytes = field(repr=False)
    transport: ResumableTransport = field(init=False, repr=False)
    # None until the person is in.
    living: Living | None = field(init=False, default=None)
    deadline: IDelayedCall | None = field(init=False, default=None)

    @property
    def is_parked(self) -> bool:
        return self.deadline is not None


@define(eq=False)
class ResumableSessions:
    """
    The table of them.

    :param serve: makes the SSH server of a new session.
    :param calls: what the hub can be asked with now; raises when it cannot.
    """

    _log = Logger()

    serve_ssh: Callable[[StreamHeader], Any] = field(repr=False)
    open_sessions: OpenSessions
    calls: Callable[[], HubCalls] = field(repr=False)
    clock: IReactorTime
    new_token: Callable[[], bytes] = field(
        repr=False, default=lambda: secrets.token_bytes(frames.TOKEN_LENGTH)
    )
    # By what their tokens hash to: a look-up tells nobody how much of a token was right.
    _sessions: dict[bytes, _Session] = field(init=False, factory=dict, repr=False)
    _reports: SessionReports = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._reports = SessionReports(self._known, self.calls, self.clock, self.open_sessions.end)

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def parked(self) -> int:
        """How many wait for their clients."""
        return sum(each.is_parked for each in self._sessions.values())

    def serve(self, header: StreamHeader) -> Protocol:
        """Who speaks on a stream that the hub has opened for a client that can resume."""
        return _Arrival(self, header)

    def admitted(self, avatar: NodeAvatar) -> None:
        """A person is in: from now on the session is worth being parked."""
        for session in self._sessions.values():
            if session.session_id == avatar.session_id:
                certificate = avatar.certificate
                session.transport.keeps_last_words = True
                session.living = Living(
                    session_id=session.session_id,
                    user=certificate.user.text,
                    login=avatar.account.login.text,
                    requests=certificate.requests,
                    certificate_ends=certificate.valid_before,
                )

    def tunnel_up(self) -> None:
        """The hub knows this node: tell it which sessions live on."""
        self._reports.tunnel_up()

    # Beginning and going on.

    def begin(self, header: StreamHeader, arrival: _Arrival, rest: bytes) -> None:
        """A new session, which ``arrival``'s stream carries first."""
        session = _Session(header.session_id, header.user, self.new_token())
        server = self.serve_ssh(header)
        server.key_limits = RESUMABLE
        transport = session.transport = ResumableTransport(
            self.clock, on_cut=lambda: self._cut(session), on_over=lambda: self._over(session)
        )
        self._sessions[_key(session.token)] = session
        arrival.say(frames.welcome(session.token, 0))
        # What it says before there is a leg goes first over it.
        transport.attach(server)
        transport.carry(arrival.transport, 0, rest)

    async def take_up(self, header: StreamHeader, hello: Hello, arrival: _Arrival) -> None:
        """Let a session go on over ``arrival``'s stream, if the hub allows it."""
        session = self._find(hello.token, header.user)
        if session is None or session.living is None:
            arrival.refuse(GONE, _UNKNOWN)
            return
        try:
            permit = await within(
                self.clock,
                ASK_SECONDS,
                self.calls().resume(header.session_id, session.living),
                doing="asking the hub",
            )
        except _UNHEARD as error:
            # If the hub has let it go on here, it is to see this way break, and not end.
            arrival.give_up(f"the hub did not say whether a session may go on: {error}")
            return
        except MeziteError as error:
            self._log.info("the hub was not heard about a session: {error}", error=error)
            arrival.refuse(NOT_NOW, "the hub could not be asked whether this is allowed")
            return
        if not permit.allowed:
            arrival.refuse(DENIED, permit.reason)
            self.open_sessions.end(session.session_id, permit.reason)
            session.transport.give_up(Failure(ConnectionLost()))
            return
        if self._find(hello.token, header.user) is not session:
            arrival.refuse(GONE, _UNKNOWN)
            return
        self._carry(session, header, hello, arrival)

    def _carry(
        self, session: _Session, header: StreamHeader, hello: Hello, arrival: _Arrival
    ) -> None:
        transport = session.transport
        if not transport.link.could_have_sent(hello.received):
            arrival.refuse(GONE, "the two ends do not agree on what was sent")
            transport.give_up(Failure(ConnectionLost()))
            return
        self._unpark(session)
        self._log.info(
            "session {session_id} of {user} goes on from {address}",
            session_id=session.session_id,
            user=session.user,
            address=header.client_address or "unknown",
        )
        arrival.say(frames.welcome(session.token, transport.link.received))
        transport.carry(arrival.transport, hello.received)

    def _find(self, token: bytes, user: str) -> _Session | None:
        session = self._sessions.get(_key(token))
        if session is None or not hmac.compare_digest(session.token, token):
            return None
        return session if session.user == user else None

    # Waiting, and the end.

    def _cut(self, session: _Session) -> None:
        if session.living is None:
            # Nobody was in, so nothing is lost.
            session.transport.give_up(Failure(ConnectionLost()))
            return
        self._log.info(
            "session {session_id} of {user} was cut; it is kept for {seconds:g} s",
            session_id=session.session_id,
            user=session.user,
            seconds=PARKED_SECONDS,
        )
        session.deadline = self.clock.callLater(PARKED_SECONDS, self._too_late, session)
        self._make_room(session)
        if session.transport.was_closed:
            # The hub may take that for the end of the session: then it says so.
            self._reports.changed()

    def _make_room(self, latest: _Session) -> None:
        """Those that wait longest go first."""
        parked = [each for each in self._sessions.values() if each.is_parked]
        parked.sort(key=lambda each: each.deadline.getTime() if each.deadline else 0.0)
        theirs = [each for each in parked if each.user == latest.user]
        for session in theirs[: max(0, len(theirs) - PARKED_OF_ONE_USER)]:
            self._drop(session, "too many of its user's sessions wait")
            parked.remove(session)
        held = sum(each.transport.link.unacknowledged for each in parked)
        while parked and (len(parked) > PARKED or held > PARKED_BYTES):
            session = parked.pop(0)
            held -= session.transport.link.unacknowledged
            self._drop(session, "too many sessions wait")

    def _too_late(self, session: _Session) -> None:
        self._drop(session, f"nobody came back within {PARKED_SECONDS:g} s")

    def _drop(self, session: _Session, why: str) -> None:
        self._log.info(
            "session {session_id} of {user} ends: {why}",
            session_id=session.session_id,
            user=session.user,
            why=why,
        )
        session.transport.give_up(Failure(ConnectionLost()))

    def _unpark(self, session: _Session) -> None:
        if session.deadline is not None and session.deadline.active():
            session.deadline.cancel()
        session.deadline = None

    def _over(self, session: _Session) -> None:
        was_parked = session.is_parked
        self._unpark(session)
        self._sessions.pop(_key(session.token), None)
        if was_parked or not session.transport.was_closed:
            # The hub saw a stream break, and cannot know that the session is over.
            self._reports.changed()

    def _known(self) -> Known:
        sessions = self._sessions.values()
        return Known(
            [each.living for each in sessions if each.living is not None],
            [each.session_id for each in sessions if each.living is None],
        )


@define(eq=False)
class _Arrival(Protocol):
    """A stream until its client has said hello."""

    _sessions: ResumableSessions
    _header: StreamHeader
    transport: Any = field(init=False, default=None)
    _reader: GreetingReader | None = field(init=False, factory=GreetingReader)
    _deadline: IDelayedCall | None = field(init=False, default=None)
    _asking: Deferred[None] | None = field(init=False, default=None)

    _log = Logger()

    def connectionMade(self) -> None:
        self._deadline = self._sessions.clock.callLater(HELLO_SECONDS, self._too_late)

    def dataReceived(self, data: bytes) -> None:
        if self._reader is None:
            self._break("the client speaks before it is welcome")
            return
        try:
            complete = self._reader.receive(data)
        except RemoteResumeError as error:
            self._break(str(error))
            return
        if complete is None:
            return
        self._reader = None
        self._stop_waiting()
        greeting, rest = complete
        if not isinstance(greeting, Hello) or (greeting.token and rest):
            self._break("it does not begin with a hello")
        elif greeting.token:
            self._asking = background(
                self._take_up(greeting), doing="letting a session go on over another stream"
            )
        else:
            self._sessions.begin(self._header, self, rest)

    async def _take_up(self, hello: Hello) -> None:
        try:
            await self._sessions.take_up(self._header, hello, self)
        except CancelledError:
            raise
        except Exception:
            # A bug, which is logged: nobody would ever speak on this stream.
            self.transport.abortConnection()
            raise
        finally:
            self._asking = None

    def say(self, frame: bytes) -> None:
        self.transport.write(frame)

    def refuse(self, reason: int, sentence: str) -> None:
        """Say why not, and close."""
        self.say(frames.refused(reason, sentence))
        self.transport.loseConnection()

    def give_up(self, why: str) -> None:
        """Reset the stream: another try may succeed."""
        self._asking = None
        self._log.info("a stream for a session was reset: {why}", why=why)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    def _too_late(self) -> None:
        self._deadline = None
        self._break(f"its hello did not come within {HELLO_SECONDS:g} s")

    def _break(self, why: str) -> None:
        self._stop_waiting()
        self._log.warn("a stream for a session was reset: {why}", why=why)
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


def _key(token: bytes) -> bytes:
    return sha256(token).digest()
