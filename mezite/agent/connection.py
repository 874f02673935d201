"""
The channels of one person on this node: sessions, and what is forwarded.

A :class:`NodeConnection` decides by the person's certificate what may be opened
and asked for, and owns what listens for them. All of it ends with the
connection, whichever way that ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mezite.agent.agentforward import AgentForwarding
from mezite.agent.error import ForwardRefused
from mezite.agent.forward import ForwardedChannel, LocalForwardedChannel
from mezite.agent.remoteforward import RemoteForwards
from mezite.agent.session import SessionChannel, SessionSetting
from mezite.recording.forwardrecord import ForwardRecord
from mezite.ssh.channel import FlowChannel
from mezite.ssh.error import OPEN_RESOURCE_SHORTAGE, ChannelRefused
from mezite.ssh.fields import FieldReader, printable, uint32
from mezite.ssh.sessionwatch import SessionBounds, say_goodbye
from mezite.ssh.watchedconnection import WatchedConnection

# VS Code holds some ten; a person's tool that wants more than this has a bug.
SESSIONS: Final = 64
# RFC 1035, section 2.3.4.
_HOST_LENGTH: Final = 255
_FORWARDING: Final = "permit-port-forwarding"


class NodeConnection(WatchedConnection):
    """
    :param destinations: an :class:`~mezite.agent.forward.IDestinations`.
    :param ports: an :class:`~mezite.agent.remoteforward.IPorts`.
    :param sockets: an :class:`~mezite.agent.loginsockets.ILoginSockets`.
    :param is_gateway: whether other machines may connect to forwarded ports.
    :param bounds: what ends the connection from without.
    """

    def __init__(
        self,
        setting: SessionSetting,
        *,
        destinations: Any,
        ports: Any,
        sockets: Any,
        is_gateway: bool,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        bounds: SessionBounds = SessionBounds(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(setting.certificate.valid_before, bounds, clock, wall_clock)
        self._setting = setting
        self._destinations = destinations
        self._sockets = sockets
        self._record = ForwardRecord(
            setting.recordings,
            lambda error: say_goodbye(
                self.transport, f"this session ends, because its recording cannot go on: {error}"
            ),
            ChannelRefused,
        )
        self._agent = AgentForwarding(self, sockets, self._record)
        self._forwards = RemoteForwards(
            self,
            ports,
            sockets,
            is_root=setting.account.uid == 0,
            anywhere=is_gateway,
            record=self._record,
        )
        self._sessions = 0
        self._takes_sessions = True

    def _permits(self, extension: str) -> bool:
        return extension in self._setting.certificate.extensions

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind == b"session":
            return self._session()
        make = _CHANNELS.get(kind)
        if make is not None:
            if not self._permits(_FORWARDING):
                raise ChannelRefused("your certificate does not permit port forwarding")
            return make(self)
        return super().make_channel(kind)

    def _to_network(self) -> FlowChannel:
        return ForwardedChannel(self._destinations, self._record)

    def _to_file(self) -> FlowChannel:
        return LocalForwardedChannel(self._sockets, self._record)

    def _session(self) -> SessionChannel:
        if not self._takes_sessions:
            raise ChannelRefused("this connection was to have no more sessions")
        if self._sessions >= SESSIONS:
            raise ChannelRefused(
                f"a connection has {SESSIONS} sessions at most", OPEN_RESOURCE_SHORTAGE
            )
        self._sessions += 1
        agent = self._agent if self._permits("permit-agent-forwarding") else None
        return SessionChannel(self._setting, self._session_gone, self._answers.settled, agent)

    def _session_gone(self) -> None:
        self._sessions -= 1

    # Global requests.

    def answer(self, name: bytes, data: bytes) -> bytes | Deferred[bytes | None] | None:
        ask = _REQUESTS.get(name)
        if ask is None:
            return super().answer(name, data)
        try:
            if not self._permits(_FORWARDING):
                raise ForwardRefused("your certificate does not permit port forwarding")
            return ask(self, FieldReader(data))
        except ForwardRefused as error:
            self.tell_why(str(error))
            return None

    def got_global_request(self, name: bytes, data: bytes) -> bytes | None:
        if name == b"no-more-sessions@openssh.com":
            self._takes_sessions = False
            return b""
        return super().got_global_request(name, data)

    def global_tcpip_forward(self, reader: FieldReader) -> Deferred[bytes | None]:
        host, port = _host(reader), reader.uint32()
        reader.end()
        return Deferred.fromCoroutine(self._listen(host, port))

    async def _listen(self, host: str, port: int) -> bytes | None:
        try:
            await self._record.ready()
            if self._has_ended:
                return None
            chosen = self._forwards.listen(host, port)
        except (ForwardRefused, ChannelRefused) as error:
            self.tell_why(str(error))
            return None
        return uint32(chosen) if port == 0 else b""

    def global_cancel_tcpip_forward(self, reader: FieldReader) -> bytes | None:
        host, port = _host(reader), reader.uint32()
        reader.end()
        return b"" if self._forwards.cancel(host, port) else None

    def global_streamlocal_forward(self, reader: FieldReader) -> Deferred[bytes | None]:
        path = reader.string()
        reader.end()
        return Deferred.fromCoroutine(self._listen_on_file(path))

    async def _listen_on_file(self, path: bytes) -> bytes | None:
        try:
            await self._record.ready()
            await self._forwards.listen_on_file(path)
        except (ForwardRefused, ChannelRefused) as error:
            self.tell_why(str(error))
            return None
        return b""

    def global_cancel_streamlocal_forward(self, reader: FieldReader) -> bytes | None:
        path = reader.string()
        reader.end()
        return b"" if self._forwards.cancel_file(path) else None

    def serviceStopped(self) -> None:
        self._forwards.close()
        self._agent.close()
        self._record.close()
        self._sockets.close()
        super().serviceStopped()


_CHANNELS: Final[Mapping[bytes, Callable[[NodeConnection], FlowChannel]]] = {
    b"direct-tcpip": NodeConnection._to_network,
    b"direct-streamlocal@openssh.com": NodeConnection._to_file,
}
_Answer = bytes | Deferred[bytes | None] | None
_REQUESTS: Final[Mapping[bytes, Callable[[NodeConnection, FieldReader], _Answer]]] = {
    b"tcpip-forward": NodeConnection.global_tcpip_forward,
    b"cancel-tcpip-forward": NodeConnection.global_cancel_tcpip_forward,
    b"streamlocal-forward@openssh.com": NodeConnection.global_streamlocal_forward,
    b"cancel-streamlocal-forward@openssh.com": NodeConnection.global_cancel_streamlocal_forward,
}


def _host(reader: FieldReader) -> str:
    host = reader.string()
    name = printable(host)
    if len(host) > _HOST_LENGTH or name.encode() != host:
        raise ForwardRefused("this is not an address to listen on")
    return name
