"""
The two SSH connections of one person's session: theirs to the hub, and the hub's to the server.

:class:`UserConnection` decides by the person's certificate what may be opened
and asked for; :class:`ServerConnection` lets the server open what was asked for
before. Each passes on what the other gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mezite.error import TimedOut
from mezite.hub.openssh.relay import RelayedChannel
from mezite.hub.openssh.session import SessionHalf, SessionSetting
from mezite.identity.grants import PORT_FORWARDING
from mezite.recording.forwardrecord import Flow, ForwardRecord
from mezite.ssh.channel import FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import (
    BY_APPLICATION,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_TYPE,
    ChannelRefused,
)
from mezite.ssh.fields import FieldReader, printable
from mezite.ssh.sessionwatch import SessionBounds, say_goodbye
from mezite.ssh.watchedconnection import ALIVE_SECONDS, WatchedConnection

# As an agent's: VS Code holds some ten.
SESSIONS: Final = 64
# As an agent's.
LISTENERS: Final = 32
# As ssh's ServerAliveCountMax: a server that is gone is noticed within 100 s.
UNHEARD: Final = 3
_NOT_PERMITTED: Final = "your certificate does not permit port forwarding"
_BY_SERVER: Final = {
    b"forwarded-tcpip": "forwarded-tcpip",
    b"forwarded-streamlocal@openssh.com": "forwarded-streamlocal",
}
_AGENT: Final = b"auth-agent@openssh.com"
# Requests for listeners, and by how much each changes their number.
_LISTENING: Final[Mapping[bytes, int]] = {
    b"tcpip-forward": 1,
    b"streamlocal-forward@openssh.com": 1,
    b"cancel-tcpip-forward": -1,
    b"cancel-streamlocal-forward@openssh.com": -1,
}


class ForwardHalf(RelayedChannel):
    """
    The half of a forwarded connection that was opened to us.

    :param back: the connection on which the other half is opened.
    """

    def __init__(self, kind: bytes, back: Any, record: ForwardRecord, *, is_users: bool) -> None:
        super().__init__(kind)
        self._back = back
        self._record = record
        self._is_users = is_users
        self._flow: Flow | None = None

    def open_requested(self, data: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(self._open(data, *_ends(self.name, data)))

    async def _open(self, data: bytes, kind: str, target: str, origin: str) -> None:
        await self._record.ready()
        across = RelayedChannel(self.name)
        await self.open_across(across, self._back, data)
        self._flow = flow = self._record.flow(kind, target, origin)

        def sent(_: int, data: bytes) -> None:
            flow.sent += len(data)

        def received(_: int, data: bytes) -> None:
            flow.received += len(data)

        self.tap, across.tap = (sent, received) if self._is_users else (received, sent)

    def gone(self) -> None:
        if self._flow is not None:
            self._flow.close()


class ServerConnection(FlowConnection):
    """The hub's connection to a server; ``user`` is set once both are there."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self.user: UserConnection | None = None
        self.passed = 0
        self._clock = clock
        self._alive: IDelayedCall | None = None
        # How many questions are not answered yet.
        self._unheard = 0

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self._alive = self._clock.callLater(ALIVE_SECONDS, self._ask)

    def serviceStopped(self) -> None:
        if self._alive is not None and self._alive.active():
            self._alive.cancel()
        super().serviceStopped()

    def _ask(self) -> None:
        """Whether the server is there, and that whatever stands between does not forget us."""
        if self._unheard >= UNHEARD:
            self.transport.fail(TimedOut("it does not answer any more"), BY_APPLICATION)
            return
        self._unheard += 1
        asked: Deferred[Any] = self.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)
        asked.addBoth(self._heard)
        self._alive = self._clock.callLater(ALIVE_SECONDS, self._ask)

    def _heard(self, _: Any) -> None:
        self._unheard = 0

    def make_channel(self, kind: bytes) -> FlowChannel:
        user = self.user
        if user is not None:
            if kind == _AGENT and user.has_agent:
                return ForwardHalf(kind, user, user.forwards, is_users=False)
            if kind in _BY_SERVER and user.listeners > 0:
                return ForwardHalf(kind, user, user.forwards, is_users=False)
        raise ChannelRefused("nobody asked for this", OPEN_UNKNOWN_TYPE)


class UserConnection(WatchedConnection):
    """
    A person's channels.

    :param back: the connection to the server.
    :param bounds: what ends the connection from without.
    """

    def __init__(
        self,
        setting: SessionSetting,
        back: ServerConnection,
        *,
        bounds: SessionBounds,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        super().__init__(setting.certificate.valid_before, bounds, clock, wall_clock)
        self._setting = setting
        self._back = back
        self._takes_sessions = True
        self.has_agent = False
        # How many ports and sockets the server listens on for this person.
        self.listeners = 0
        self.passed = 0
        self.forwards = ForwardRecord(
            setting.recordings,
            lambda error: say_goodbye(
                self.transport, f"this session ends, because its recording cannot go on: {error}"
            ),
            ChannelRefused,
        )

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind == b"session":
            return self._session()
        if kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com"):
            if not self._setting.permits(PORT_FORWARDING):
                raise ChannelRefused(_NOT_PERMITTED)
            return ForwardHalf(kind, self._back, self.forwards, is_users=True)
        return super().make_channel(kind)

    def _session(self) -> FlowChannel:
        if not self._takes_sessions:
            raise ChannelRefused("this connection was to have no more sessions")
        if sum(isinstance(each, SessionHalf) for each in self.channels.values()) >= SESSIONS:
            raise ChannelRefused(
                f"a connection has {SESSIONS} sessions at most", OPEN_RESOURCE_SHORTAGE
            )
        return SessionHalf(self._setting, self._back, self._answers.settled, self._agent_asked)

    def _agent_asked(self) -> None:
        self.has_agent = True

    # Global requests.

    def answer(self, name: bytes, data: bytes) -> bytes | Deferred[bytes | None] | None:
        if name not in _LISTENING:
            return super().answer(name, data)
        if not self._setting.permits(PORT_FORWARDING):
            self.tell_why(_NOT_PERMITTED)
            return None
        if _LISTENING[name] > 0 and self.listeners >= LISTENERS:
            self.tell_why(f"a connection has {LISTENERS} forwarded ports at most")
            return None
        _address(name, data, b"")  # as it should be read
        # Counted from now on: what connects may be faster than the answer.
        self.listeners += max(0, _LISTENING[name])
        return Deferred.fromCoroutine(self._listen(name, data))

    async def _listen(self, name: bytes, data: bytes) -> bytes | None:
        change = _LISTENING[name]
        try:
            await self.forwards.ready()
        except ChannelRefused as error:
            self.tell_why(str(error))
            self.listeners -= max(0, change)
            return None
        answer = await self._ask_server(name, data)
        if answer is None:
            self.listeners -= max(0, change)
            return None
        self.listeners = max(0, self.listeners + min(0, change))
        what = "listen" if change > 0 else "cancel"
        address = _address(name, data, answer)
        self.forwards.note(f"forward.{what}", {"address": address}, f"{what} {address}")
        return answer

    async def _ask_server(self, name: bytes, data: bytes) -> bytes | None:
        if self._has_ended or self._back.transport is None:
            return None
        asked: Deferred[Any] = self._back.sendGlobalRequest(name, data, wantReply=1)
        answer: bytes | None = await asked.addErrback(lambda _: None)
        return answer

    def got_global_request(self, name: bytes, data: bytes) -> bytes | None:
        if name == b"no-more-sessions@openssh.com":
            self._takes_sessions = False
            return b""
        return super().got_global_request(name, data)

    def serviceStopped(self) -> None:
        super().serviceStopped()
        self.forwards.close()


def _ends(kind: bytes, data: bytes) -> tuple[str, str, str]:
    """How a recording names what is forwarded, where to, and where from."""
    reader = FieldReader(data)
    if kind == b"direct-tcpip":
        target = f"{printable(reader.string())}:{reader.uint32()}"
        return "direct-tcpip", target, f"{printable(reader.string())}:{reader.uint32()}"
    if kind == b"direct-streamlocal@openssh.com":
        return "direct-streamlocal", printable(reader.string()), ""
    if kind == b"forwarded-tcpip":
        _, port = reader.string(), reader.uint32()
        origin = f"{printable(reader.string())}:{reader.uint32()}"
        return "forwarded-tcpip", "the client", f"{origin} at port {port}"
    if kind == b"forwarded-streamlocal@openssh.com":
        return "forwarded-streamlocal", "the client", printable(reader.string())
    return "auth-agent", "the client's agent", "the session"


def _address(name: bytes, data: bytes, answer: bytes) -> str:
    reader = FieldReader(data)
    place = printable(reader.string())
    if b"tcpip" not in name:
        return place
    # Who asks for any port is told which it was.
    return f"{place}:{reader.uint32() or int.from_bytes(answer[:4], 'big')}"
