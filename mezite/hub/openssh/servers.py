"""
The way to a server without an agent: an SSH server of the hub's, and a client behind it.

:class:`OpenSshServers` owns what all such sessions share. Each has a
:class:`ServerWay`, which takes the place of a tunnel's stream.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import define, evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.auth.access import host_of
from mezite.auth.nodenames import principals_of
from mezite.error import Denied
from mezite.hub.error import TooManySessions
from mezite.hub.livesessions import LiveSession, LiveSessions, Visitor
from mezite.hub.openssh.connections import ServerConnection, UserConnection
from mezite.hub.openssh.dialing import ServerDialer
from mezite.hub.openssh.session import SessionSetting
from mezite.hub.tunnels import STREAMS_OF_ONE_USER
from mezite.hub.ways import IWay
from mezite.identity import sshcert, sshissuing
from mezite.identity.authorities import Authorities
from mezite.identity.rolesdoc import Options, Recording
from mezite.identity.sshcert import FORCE_COMMAND, UserCertificate
from mezite.names import LoginName
from mezite.recording.events import Header
from mezite.recording.recordings import SessionRecord, SessionRecordings
from mezite.ssh.client import ClientTransport
from mezite.ssh.hostkeys import HostKey, ReplaceableHostKey
from mezite.ssh.server import ServerTransport, SshServerFactory
from mezite.ssh.sessionwatch import SessionBounds, say_goodbye
from mezite.ssh.userauth import IAvatar, IUserCertificates
from mezite.store.records import NodeRecord
from mezite.tasks import within
from mezite.wire.splice import Spliceable, Spliced

BEGIN_SECONDS: Final = 10.0
# A connection keeps the host key that it began with; nobody uses the certificate later.
HOST_CERTIFICATE_SECONDS: Final = 3600.0


@implementer(IAvatar)
@define(eq=False)
class _Guest:
    """Somebody who is in, at the hub and at the server."""

    certificate: UserCertificate
    options: Options
    server: ClientTransport

    def logout(self) -> None:
        self.server.close()


@implementer(IUserCertificates)
@frozen
class _Gate:
    """What a certificate is worth in one session."""

    servers: OpenSshServers
    session_id: str
    visitor: Visitor

    def check(self, blob: bytes, login: LoginName) -> UserCertificate:
        certificate = sshcert.check_user(
            blob,
            trusted=self.servers.authorities().user_blobs,
            now=self.servers.wall_clock(),
            login=login,
            source_address=host_of(self.visitor.address) or None,
            enforces=[FORCE_COMMAND],
        )
        if certificate.user != self.visitor.user:
            raise Denied(
                f"the certificate is {certificate.user}'s, but the connection to the hub is not"
            )
        return certificate

    def admit(self, certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._admit(certificate, login))

    async def _admit(self, certificate: UserCertificate, login: LoginName) -> _Guest:
        servers = self.servers
        session = servers.live.find(self.session_id)
        if session is None or session.login is not None or session.ending is not None:
            raise Denied("the session has ended")
        ruling = await within(
            servers.clock,
            BEGIN_SECONDS,
            servers.sessions.begin(session, login, certificate.requests),
            doing="deciding about access",
        )
        if not ruling.allowed:
            raise Denied(ruling.sentence)
        certificate = evolve(certificate, extensions=certificate.extensions - ruling.withheld)
        server = await servers.dialer.dial(session, login, certificate)
        # It may have been ended meanwhile, which the type checker cannot know.
        ending = servers.live.find(self.session_id)
        if ending is None or ending.ending is not None:
            server.close()
            raise Denied("the session has ended")
        return _Guest(certificate, ruling.options, server)


class _Transport(ServerTransport):
    """The hub's end of the person's connection, which says when it is over."""

    def __init__(self, host_key: HostKey, clock: IReactorTime) -> None:
        super().__init__(host_key, clock)
        self.over: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        """The person sends no more: to SSH, that is the end."""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        super().connectionLost(reason)
        if not self.over.called:
            self.over.callback(None)


class _ServerFactory(SshServerFactory):
    def buildProtocol(self, addr: IAddress | None) -> _Transport:
        host_key = self._host_key.current
        assert isinstance(host_key, HostKey)
        transport = _Transport(host_key, self._clock)
        transport.factory = self  # type: ignore[assignment]
        transport.peer = addr
        return transport


@implementer(IWay)
@define(eq=False)
class ServerWay:
    """
    One session's SSH server at the hub, and its connection to the node's.
    """

    labels: Mapping[str, str]
    _factory: _ServerFactory
    _transport: _Transport | None = field(init=False, default=None)
    user: UserConnection | None = field(init=False, default=None)
    server: ServerConnection | None = field(init=False, default=None)

    def carry(self, transport: Spliceable) -> Deferred[Spliced]:
        self._transport = own = self._factory.buildProtocol(None)
        transport.attach(own)
        transport.resumeProducing()
        return own.over.addCallback(lambda _: self._relayed())

    def _relayed(self) -> Spliced:
        from_user = 0 if self.user is None else self.user.passed
        from_server = 0 if self.server is None else self.server.passed
        return Spliced(from_user, from_server, None)

    def ask_to_end(self, session_id: str, reason: str) -> Callable[[], None] | None:
        if self._transport is None or self._transport.transport is None:
            return None
        say_goodbye(self._transport, reason)
        return lambda: None

    def cut(self) -> None:
        if self._transport is not None and self._transport.transport is not None:
            self._transport.transport.abortConnection()


@define(eq=False)
class OpenSshServers:
    """
    :param sessions: a :class:`~mezite.hub.sessionservice.SessionMethods`, which begins them.
    :param hub_names: by which people ask for nodes.
    :param recordings: the hub's own, :class:`~mezite.recording.recordings.SpooledRecordings`.
    """

    _log = Logger()

    sessions: Any
    live: LiveSessions
    dialer: ServerDialer
    recordings: Any
    authorities: Callable[[], Authorities]
    hub_names: Sequence[str]
    clock: IReactorTime
    wall_clock: Callable[[], float]
    # One key for all of them, and a certificate for each.
    _key: Ed25519PrivateKey = field(init=False, factory=Ed25519PrivateKey.generate, repr=False)

    def way(self, session_id: str, visitor: Visitor, node: NodeRecord) -> ServerWay:
        """
        The way to this node, of a session that is about to be live.

        :raises TooManySessions: at the user's share.
        """
        theirs = [
            each for each in self.live.of(visitor.user) if each.node.agent_id == node.agent_id
        ]
        if len(theirs) >= STREAMS_OF_ONE_USER:
            raise TooManySessions(visitor.user, node.name, STREAMS_OF_ONE_USER)
        factory = _ServerFactory(
            ReplaceableHostKey(self._host_key(node)),
            _Gate(self, session_id, visitor),
            lambda guest: self._connection(session_id, way, guest),
            self.clock,
        )
        way = ServerWay(node.labels, factory)
        return way

    def _host_key(self, node: NodeRecord) -> HostKey:
        public = self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        line = sshissuing.issue_host(
            self.authorities().host_ca,
            public.decode(),
            agent_id=node.agent_id,
            principals=principals_of(node, self.hub_names),
            serial=secrets.randbits(63),
            now=self.wall_clock(),
            lifetime=HOST_CERTIFICATE_SECONDS,
        )
        return HostKey.of(self._key, line)

    def _connection(self, session_id: str, way: ServerWay, guest: _Guest) -> UserConnection:
        session = self.live.find(session_id)
        assert session is not None
        server: Any = guest.server.service
        setting = SessionSetting(guest.certificate, self._recordings_of(session, guest.options))
        options = guest.options
        user = UserConnection(
            setting,
            server,
            bounds=SessionBounds(options.idle_timeout, options.disconnect_expired),
            clock=self.clock,
            wall_clock=self.wall_clock,
        )
        server.user = user
        way.user, way.server = user, server
        guest.server.ended().addCallback(lambda error: self._server_ended(session, way, error))
        return user

    def _server_ended(self, session: LiveSession, way: ServerWay, error: Exception) -> None:
        transport = way._transport
        if transport is not None and not transport.disconnecting:
            self._log.info(
                "session {session_id}: {node} ended the connection: {error}",
                session_id=session.session_id,
                node=session.node.name,
                error=error,
            )
            say_goodbye(transport, f"{session.node.name} ended the connection: {error}")

    def _recordings_of(self, session: LiveSession, options: Options) -> SessionRecordings:
        about = Header(
            timestamp=0,
            session=session.session_id,
            node=str(session.node.name),
            login="" if session.login is None else str(session.login),
            user=str(session.user),
            address=session.visitor.address,
        )
        mode = options.record_session
        if mode is None:
            mode = Recording.STRICT
        return SessionRecordings(self.recordings, SessionRecord(mode, options.record_input), about)
