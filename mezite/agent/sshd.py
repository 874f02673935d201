"""
The node's SSH server, one connection per stream of the tunnel.

:class:`NodeSshFactory` owns what all connections share. For each it checks the
person's certificate itself, then asks an :class:`ISessionAuthorizer` about this
login on this node; no answer means no. It listens on nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mezite.agent.accounts import Account
from mezite.agent.forward import ForwardedChannel, NetworkDestinations
from mezite.agent.session import SessionChannel, SessionSetting
from mezite.agent.shell import SessionProcess
from mezite.error import BadInput, Denied, TimedOut, Unavailable
from mezite.identity import sshcert
from mezite.identity.roles import Decision
from mezite.identity.sshcert import UserCertificate
from mezite.names import HostPort, LoginName, NodeName, UserName
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.channel import FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import OPEN_RESOURCE_SHORTAGE, ChannelRefused
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.ssh.server import SshServerFactory
from mezite.ssh.userauth import IAvatar, IUserCertificates
from mezite.tasks import within

# VS Code holds some ten; a person's tool that wants more than this has a bug.
SESSIONS: Final = 64
AUTHORIZE_SECONDS: Final = 10.0
ACCOUNT_SECONDS: Final = 10.0
# Load balancers forget idle connections after a minute; some, after half of one.
ALIVE_SECONDS: Final = 25.0


class ISessionAuthorizer(Interface):
    """Who may have a session on this node now."""

    def authorize(user: UserName, login: LoginName, session_id: str) -> Deferred[Decision]:
        """Fails if there is no answer; the session is refused then."""


@implementer(IAvatar)
@define(eq=False)
class NodeAvatar:
    """A person who may have sessions under one account of this node."""

    _log = Logger()

    certificate: UserCertificate
    account: Account
    session_id: str
    client_address: str

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
        )
        if self.header.user and self.header.user != str(certificate.user):
            raise Denied(
                f"the certificate is {certificate.user}'s, but the connection to the hub is not"
            )
        return certificate

    def admit(self, certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._admit(certificate, login))

    async def _admit(self, certificate: UserCertificate, login: LoginName) -> NodeAvatar:
        user, session_id = certificate.user, self.header.session_id
        try:
            decision = await within(
                self.clock,
                AUTHORIZE_SECONDS,
                self.authorizer.authorize(user, login, session_id),
                doing="asking the hub",
            )
        except TimedOut:
            raise Unavailable(
                f"the hub did not say whether {user} may log in on {self.node}: try again"
            ) from None
        if not decision.allowed:
            raise Denied(decision.reason)
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
        return NodeAvatar(certificate, account, session_id, self.header.client_address)


class NodeConnection(FlowConnection):
    """The channels of one person on this node: sessions, and forwarded ports."""

    def __init__(
        self,
        avatar: NodeAvatar,
        setting: SessionSetting,
        destinations: Any,
        clock: IReactorTime,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._avatar = avatar
        self._setting = setting
        self._destinations = destinations
        self._sessions = 0
        self._takes_sessions = True
        self._alive: IDelayedCall | None = None

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind == b"session":
            if not self._takes_sessions:
                raise ChannelRefused("this connection was to have no more sessions")
            if self._sessions >= SESSIONS:
                raise ChannelRefused(
                    f"a connection has {SESSIONS} sessions at most", OPEN_RESOURCE_SHORTAGE
                )
            self._sessions += 1
            return SessionChannel(self._setting, self._session_gone)
        if kind == b"direct-tcpip":
            if "permit-port-forwarding" not in self._avatar.certificate.extensions:
                raise ChannelRefused("your certificate does not permit port forwarding")
            return ForwardedChannel(self._destinations)
        return super().make_channel(kind)

    def _session_gone(self) -> None:
        self._sessions -= 1

    def got_global_request(self, name: bytes, data: bytes) -> bytes | None:
        if name == b"no-more-sessions@openssh.com":
            self._takes_sessions = False
            return b""
        return super().got_global_request(name, data)

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self._stay_alive()

    def serviceStopped(self) -> None:
        if self._alive is not None and self._alive.active():
            self._alive.cancel()
        super().serviceStopped()

    def _stay_alive(self) -> None:
        # An unanswered one is not repeated: a client that was stopped may go on later.
        if not self.deferreds["global"]:
            asked = self.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)
            asked.addErrback(lambda _: None)
        self._alive = self._clock.callLater(ALIVE_SECONDS, self._stay_alive)


@frozen
class NodeSshFactory:
    """
    Makes the SSH server of each stream.

    :param host_key: what new connections present; replaced at renewal.
    :param user_authorities: the public key blobs trusted to sign people.
    :param authorizer: an :class:`ISessionAuthorizer`.
    :param accounts: an :class:`~mezite.agent.accounts.IAccounts`.
    :param accept_env: patterns of the variables that clients may set.
    """

    host_key: ReplaceableHostKey
    user_authorities: Callable[[], Collection[bytes]]
    authorizer: Any
    accounts: Any
    reactor: Any
    wall_clock: Callable[[], float]
    node: NodeName
    own_uid: int
    accept_env: tuple[str, ...] = field(converter=tuple, default=("LANG", "LC_*"))
    destinations: Any = None

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
        return SshServerFactory(self.host_key, certificates, self._connection, self.reactor)

    def _connection(self, avatar: NodeAvatar) -> NodeConnection:
        setting = SessionSetting(
            make_process=lambda channel: SessionProcess(self.reactor, channel),
            account=avatar.account,
            certificate=avatar.certificate,
            own_uid=self.own_uid,
            client_address=avatar.client_address,
            accept_env=self.accept_env,
            session_id=avatar.session_id,
        )
        destinations = self.destinations or NetworkDestinations(self.reactor)
        return NodeConnection(avatar, setting, destinations, self.reactor)


def _address(client_address: str) -> str | None:
    """The host part, for a certificate's source-address; None if the hub told none."""
    try:
        return HostPort.parse(client_address, default_port=0).host
    except BadInput:
        return None
