"""
The node's SSH server, one connection per stream of the tunnel.

:class:`NodeSshFactory` owns what all connections share. For each it checks the
person's certificate itself, then asks an :class:`ISessionAuthorizer` about this
login on this node; no answer means no. It listens on nothing; what people want
to listen belongs to their :class:`~mezite.agent.connection.NodeConnection`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mezite.agent.accounts import Account
from mezite.agent.banner import GreetingServerFactory
from mezite.agent.connection import NodeConnection
from mezite.agent.forward import NetworkDestinations
from mezite.agent.loginsockets import LoginSockets
from mezite.agent.permit import SessionPermit
from mezite.agent.ports import NetworkPorts
from mezite.agent.session import SessionSetting
from mezite.agent.sessionends import OpenSessions
from mezite.agent.shell import SessionProcess
from mezite.error import BadInput, Denied, TimedOut, Unavailable
from mezite.identity import sshcert
from mezite.identity.sshcert import UserCertificate
from mezite.names import HostPort, LoginName, NodeName, UserName
from mezite.recording.events import Header
from mezite.recording.recordings import SessionRecord, SessionRecordings
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.ssh.server import ServerTransport, SshServerFactory
from mezite.ssh.sessionwatch import SessionBounds
from mezite.ssh.userauth import IAvatar, IUserCertificates
from mezite.tasks import within

AUTHORIZE_SECONDS: Final = 10.0
ACCOUNT_SECONDS: Final = 10.0


class ISessionAuthorizer(Interface):
    """Who may have a session on this node now."""

    def authorize(
        user: UserName, login: LoginName, session_id: str, requests: Sequence[str] = ()
    ) -> Deferred[SessionPermit]:
        """
        Fails if there is no answer; the session is refused then.

        ``requests`` are the access requests that the user's certificate carries.
        """


@implementer(IAvatar)
@define(eq=False)
class NodeAvatar:
    """A person who may have sessions under one account of this node."""

    _log = Logger()

    certificate: UserCertificate
    account: Account
    session_id: str
    client_address: str
    bounds: SessionBounds = field(factory=SessionBounds)
    record: SessionRecord = field(factory=SessionRecord)

    def logout(self) -> None:
        self._log.info(
            "{user} left, session {session_id}",
            user=self.certificate.user,
            session_id=self.session_id,
        )


@implementer(IUserCertificates)
@frozen
class NodeCertificates:
    """What a certificate is worth on this node, for one stream."""

    _log = Logger()

    node: NodeName
    authorities: Callable[[], Collection[bytes]]
    authorizer: Any
    accounts: Any
    clock: Any
    wall_clock: Callable[[], float]
    header: StreamHeader

    def check(self, blob: bytes, login: LoginName) -> UserCertificate:
        certificate = sshcert.check_user(
            blob,
            trusted=self.authorities(),
            now=self.wall_clock(),
            login=login,
            source_address=_address(self.header.client_address),
            enforces=[sshcert.FORCE_COMMAND],
        )
        # Also an empty one, which no hub sends: it would be a way around the comparison.
        if self.header.user != str(certificate.user):
            raise Denied(
                f"the certificate is {certificate.user}'s, but the connection to the hub is not"
            )
        return certificate

    def admit(self, certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._admit(certificate, login))

    async def _admit(self, certificate: UserCertificate, login: LoginName) -> NodeAvatar:
        user, session_id = certificate.user, self.header.session_id
        try:
            permit = await within(
                self.clock,
                AUTHORIZE_SECONDS,
                self.authorizer.authorize(user, login, session_id, certificate.requests),
                doing="asking the hub",
            )
        except TimedOut:
            raise Unavailable(
                f"the hub did not say whether {user} may log in on {self.node}: try again"
            ) from None
        if not permit.allowed:
            raise Denied(permit.reason)
        account = await within(
            self.clock,
            ACCOUNT_SECONDS,
            self.accounts.find(login),
            doing=f"looking up the account {login} on {self.node}",
        )
        self._log.info(
            "{user} came in as {login} from {address}, session {session_id}",
            user=user,
            login=login,
            address=self.header.client_address or "unknown",
            session_id=session_id,
            key_id=certificate.key_id,
            serial=certificate.serial,
        )
        certificate = evolve(certificate, extensions=certificate.extensions - permit.withheld)
        return NodeAvatar(
            certificate,
            account,
            session_id,
            self.header.client_address,
            permit.bounds,
            permit.record,
        )


@frozen
class NodeSshFactory:
    """
    Makes the SSH server of each stream.

    :param host_key: what new connections present; replaced at renewal.
    :param user_authorities: the public key blobs trusted to sign people.
    :param authorizer: an :class:`ISessionAuthorizer`.
    :param recordings: a :class:`~mezite.recording.recordings.SpooledRecordings`.
    :param accounts: an :class:`~mezite.agent.accounts.IAccounts`.
    :param accept_env: patterns of the variables that clients may set.
    :param is_gateway: whether other machines may connect to forwarded ports.
    :param banner: what people read before they are let in.
    :param open_sessions: what the hub ends sessions through.
    :param on_admitted: told of each person who is in.
    """

    host_key: ReplaceableHostKey
    user_authorities: Callable[[], Collection[bytes]]
    authorizer: Any
    accounts: Any
    reactor: Any
    wall_clock: Callable[[], float]
    node: NodeName
    own_uid: int
    recordings: Any
    accept_env: tuple[str, ...] = field(converter=tuple, default=("LANG", "LC_*"))
    is_gateway: bool = False
    banner: str = ""
    open_sessions: OpenSessions = field(factory=OpenSessions)
    destinations: Any = None
    ports: Any = None
    sockets_of: Callable[[Account], Any] | None = None
    on_admitted: Callable[[NodeAvatar], None] = lambda _: None

    def serve(self, header: StreamHeader) -> ServerTransport:
        """The server's end of a stream that begins with this header."""
        transport = self.for_stream(header).buildProtocol(None)
        self.open_sessions.add(header.session_id, transport)
        return transport

    def for_stream(self, header: StreamHeader) -> SshServerFactory:
        """The server for a stream that begins with this header."""
        certificates = NodeCertificates(
            node=self.node,
            authorities=self.user_authorities,
            authorizer=self.authorizer,
            accounts=self.accounts,
            clock=self.reactor,
            wall_clock=self.wall_clock,
            header=header,
        )
        made = GreetingServerFactory(self.host_key, certificates, self._connection, self.reactor)
        made.banner = self.banner
        return made

    def _connection(self, avatar: NodeAvatar) -> NodeConnection:
        self.on_admitted(avatar)
        setting = SessionSetting(
            make_process=lambda channel: SessionProcess(self.reactor, channel),
            account=avatar.account,
            certificate=avatar.certificate,
            own_uid=self.own_uid,
            client_address=avatar.client_address,
            accept_env=self.accept_env,
            session_id=avatar.session_id,
            recordings=self._recordings_of(avatar),
        )
        return NodeConnection(
            setting,
            destinations=self.destinations or NetworkDestinations(self.reactor),
            ports=self.ports or NetworkPorts(self.reactor),
            sockets=self._sockets_of(avatar.account),
            is_gateway=self.is_gateway,
            clock=self.reactor,
            wall_clock=self.wall_clock,
            bounds=avatar.bounds,
        )

    def _recordings_of(self, avatar: NodeAvatar) -> SessionRecordings:
        about = Header(
            timestamp=0,
            session=avatar.session_id,
            node=str(self.node),
            login=str(avatar.account.login),
            user=str(avatar.certificate.user),
            address=avatar.client_address,
        )
        return SessionRecordings(self.recordings, avatar.record, about)

    def _sockets_of(self, account: Account) -> Any:
        if self.sockets_of is not None:
            return self.sockets_of(account)
        return LoginSockets(self.reactor, account, own_uid=self.own_uid)


def _address(client_address: str) -> str | None:
    """The host part, for a certificate's source-address; None if the hub told none."""
    try:
        return HostPort.parse(client_address, default_port=0).host
    except BadInput:
        return None
