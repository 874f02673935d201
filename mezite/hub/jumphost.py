"""
The hub as an SSH jump host, for clients that hold an SSH certificate only.

Whoever comes with ``mezite-ssh`` and the hub's own name in SNI meets an SSH
server that knows one kind of channel: ``direct-tcpip`` to a node, as
``ssh -J`` and ``ssh -W`` open it (RFC 4254, section 7.2). There is no shell
here, and no way to any port but a node's SSH server.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from attrs import define, evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.error import MeziteError
from mezite.hub.livesessions import LiveSession, Visitor
from mezite.hub.sessions import SessionOpener
from mezite.identity.sshcert import FORCE_COMMAND, UserCertificate, check_user
from mezite.names import HostPort, LoginName
from mezite.ssh.channel import FlowChannel, Receiving
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import OPEN_CONNECT_FAILED, OPEN_UNKNOWN_TYPE, ChannelRefused
from mezite.ssh.fields import FieldReader, printable
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.ssh.server import SshServerFactory
from mezite.ssh.userauth import IAvatar, IUserCertificates
from mezite.tasks import background
from mezite.wire.alpn import node_part

# What ssh asks for when nothing else is said; a node has no other port here.
_SSH_PORT = 22


@implementer(IAvatar)
@define(eq=False)
class _Passenger:
    """Somebody who is in, on their way to a node."""

    certificate: UserCertificate

    def logout(self) -> None:
        """Their channels end with their connection."""


@implementer(IUserCertificates)
@define(eq=False)
class _Passport:
    """
    Admits everybody with a certificate of this cluster.

    The login is not looked at, since the hub has no accounts: the node that
    they go to asks for it, and the access rules are asked for each channel. So
    it is with a forced command: there is none here to run instead.
    """

    _trusted: Callable[[], Collection[bytes]]
    _wall_clock: Callable[[], float]
    _source_address: str | None = None

    def check(self, blob: bytes, login: LoginName) -> UserCertificate:
        return check_user(
            blob,
            trusted=self._trusted(),
            now=self._wall_clock(),
            login=None,
            source_address=self._source_address,
            enforces={FORCE_COMMAND},
        )

    def admit(self, certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        return succeed(_Passenger(certificate))


@frozen
class _Way:
    """What leads on: to ``db1``, and to ``db1.<hub's name>`` as SNI would have it."""

    opener: SessionOpener
    hub_names: Collection[str]
    let_in: Callable[[Any], None]


class _JumpConnection(FlowConnection):
    """The channels of one passenger."""

    def __init__(self, way: _Way, certificate: UserCertificate) -> None:
        super().__init__()
        self._way = way
        self._certificate = certificate

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self._way.let_in(self.transport.transport)

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind != b"direct-tcpip":
            raise ChannelRefused(
                "this is a jump host: use ssh -J or msh ssh to reach a node", OPEN_UNKNOWN_TYPE
            )
        if "permit-port-forwarding" not in self._certificate.extensions:
            raise ChannelRefused("your certificate does not permit forwarding", OPEN_UNKNOWN_TYPE)
        return NodeChannel(self._way, self._certificate)


class NodeChannel(FlowChannel):
    """A ``direct-tcpip`` channel, as one side of a splice with a stream to a node."""

    name = b"direct-tcpip"

    def __init__(self, way: _Way, certificate: UserCertificate) -> None:
        super().__init__()
        self._way = way
        self._certificate = certificate
        self._session: LiveSession | None = None
        self._protocol: Any = None

    def open_requested(self, data: bytes) -> Deferred[None]:
        reader = FieldReader(data)
        # Made printable, since it comes to stand in sentences and logs.
        host, port = printable(reader.string()), reader.uint32()
        reader.string()
        reader.uint32()
        reader.end()
        if port != _SSH_PORT:
            raise ChannelRefused(
                f"the hub leads to port {_SSH_PORT} of a node, its SSH server, and to no other",
                OPEN_CONNECT_FAILED,
            )
        peer = self.conn.transport.transport.getPeer()
        place = HostPort(getattr(peer, "host", "?"), getattr(peer, "port", 0))
        certificate = self._certificate
        visitor = Visitor(
            user=certificate.user,
            address=str(place),
            issued=certificate.issued,
            ends=float(certificate.valid_before),
        )
        return Deferred.fromCoroutine(self._open(host, visitor))

    async def _open(self, host: str, visitor: Visitor) -> None:
        wanted = node_part(host, self._way.hub_names) or host
        try:
            self._session = await self._way.opener.open(visitor, wanted)
        except MeziteError as error:
            raise ChannelRefused(str(error), OPEN_CONNECT_FAILED) from error

    def channelOpen(self, specificData: bytes) -> None:
        assert self._session is not None
        background(self._way.opener.carry(self._session, self), doing="carrying a session's bytes")

    def openFailed(self, reason: Any) -> None:
        if self._session is not None:
            self._way.opener.abandon(self._session)

    def attach(self, protocol: Any) -> None:
        """Let this protocol speak on the channel, as :func:`splice` asks."""
        self._protocol = protocol
        protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        self._protocol.dataReceived(data)

    def eofReceived(self) -> None:
        if self._protocol is not None:
            self._protocol.readConnectionLost()

    def closed(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is None:
            self.openFailed(None)
            return
        ended = self._receiving is Receiving.ENDED
        protocol.connectionLost(Failure(ConnectionDone() if ended else ConnectionLost()))


class _JumpHost(SshServerFactory):
    def certificates_for(self, peer: IAddress | None) -> _Passport:
        passport: _Passport = self._certificates
        return evolve(passport, source_address=getattr(peer, "host", None))


def jump_host(
    *,
    host_key: ReplaceableHostKey,
    user_authorities: Callable[[], Collection[bytes]],
    hub_names: Collection[str],
    opener: SessionOpener,
    clock: IReactorTime,
    wall_clock: Callable[[], float],
    let_in: Callable[[Any], None],
) -> SshServerFactory:
    """The virtual listener of the jump host; ``let_in`` is told each transport that logged in."""
    return _JumpHost(
        host_key,
        _Passport(user_authorities, wall_clock),
        lambda avatar: _JumpConnection(_Way(opener, hub_names, let_in), avatar.certificate),
        clock,
    )
