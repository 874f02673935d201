"""
An sshd in memory, as the hub dials one: it believes an authority, and echoes.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from mezite.error import Denied
from mezite.identity.sshblob import load_certificate
from mezite.identity.sshcert import UserCertificate
from mezite.names import LoginName, UserName
from mezite.ssh.channel import FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.fields import FieldReader, string, uint32
from mezite.ssh.hostkeys import HostKey, HostKeys, ReplaceableHostKey
from mezite.ssh.server import SshServerFactory
from mezite.ssh.userauth import IAvatar, IUserCertificates
from tests.doubles import link as links


@implementer(IAvatar)
@define(eq=False)
class Guest:
    """Somebody who is in."""

    certificate: UserCertificate

    def logout(self) -> None:
        """Nothing is kept of them."""


@implementer(IUserCertificates)
@define(eq=False)
class TrustingCertificates:
    """What sshd makes of TrustedUserCAKeys; the key id is none of our users' names."""

    server: PlainServer

    def check(self, blob: bytes, login: LoginName) -> UserCertificate:
        server = self.server
        found = load_certificate(blob)
        fields = found.fields
        server.key_ids.append(fields.key_id.decode())
        server.lifetimes.append(fields.valid_before - int(server.clock.seconds()))
        if found.signer_blob != server.user_ca or not found.is_signed:
            raise Denied("signed by a stranger")
        return UserCertificate(
            user=UserName("somebody"),
            key_id=fields.key_id.decode(),
            serial=fields.serial,
            principals=frozenset(name.decode() for name in fields.principals),
            valid_after=fields.valid_after,
            valid_before=fields.valid_before,
            critical_options={
                name.decode(): value for name, value in fields.critical_options.items()
            },
            extensions=frozenset(name.decode() for name in fields.extensions),
            public_blob=fields.public_blob,
        )

    def admit(self, certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        self.server.guests.append(Guest(certificate))
        return succeed(self.server.guests[-1])


class PlainSession(FlowChannel):
    """A session that gives back what it gets, and a status at the end."""

    def __init__(self, server: PlainServer, **rest: Any) -> None:
        super().__init__(**rest)
        self.server = server
        self.heard = bytearray()
        self.happened: list[str] = []

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.server.requests.append((requestType, data))
        return requestType not in self.server.refuses

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.write(data)

    def eofReceived(self) -> None:
        self.happened.append("eof")
        if self.server.is_patient:
            return
        self.end(3)

    def end(self, status: int) -> None:
        self.loseWriteConnection()
        self.conn.sendRequest(self, b"exit-status", uint32(status))
        self.loseConnection()

    def closed(self) -> None:
        self.happened.append("closed")


class PlainConnection(FlowConnection):
    """What sshd opens and listens on."""

    def __init__(self, server: PlainServer) -> None:
        super().__init__()
        self.server = server

    def make_channel(self, kind: bytes) -> FlowChannel:
        self.server.opened.append(kind)
        self.server.sessions.append(PlainSession(self.server))
        return self.server.sessions[-1]

    def got_global_request(self, name: bytes, data: bytes) -> bytes | None:
        self.server.global_requests.append(name)
        if name == b"tcpip-forward":
            reader = FieldReader(data)
            reader.string()
            return uint32(4242) if reader.uint32() == 0 else b""
        return super().got_global_request(name, data)

    def call_back(self, channel: FlowChannel, port: int = 4242) -> None:
        """Somebody has connected to the port."""
        where = string(b"localhost") + uint32(port) + string(b"192.0.2.1") + uint32(99)
        self.openChannel(channel, where)


@implementer(IStreamClientEndpoint)
@define(eq=False)
class PlainServer:
    """
    :param user_ca: the blob that signs who may come in.
    :param links: where what moves the bytes is put.
    """

    user_ca: bytes
    host_keys: HostKeys | HostKey
    clock: IReactorTime
    links: list[Any]
    is_down: bool = False
    # It accepts, and says nothing.
    is_silent: bool = False
    # It does not end a session by itself.
    is_patient: bool = False
    refuses: tuple[bytes, ...] = ()
    guests: list[Guest] = field(factory=list)
    key_ids: list[str] = field(factory=list)
    lifetimes: list[int] = field(factory=list)
    requests: list[tuple[bytes, bytes]] = field(factory=list)
    global_requests: list[bytes] = field(factory=list)
    opened: list[bytes] = field(factory=list)
    sessions: list[PlainSession] = field(factory=list)
    connections: list[PlainConnection] = field(factory=list)
    dialed: int = 0
    # That of the latest who dialed.
    link: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.dialed += 1
        if self.is_down:
            return fail(ConnectionRefusedError())
        own = SshServerFactory(
            ReplaceableHostKey(self.host_keys), TrustingCertificates(self), self._serve, self.clock
        )
        client = factory.buildProtocol(None)
        server: Any = Protocol() if self.is_silent else own.buildProtocol(None)
        self.link = links.link(client, server, self.clock)
        self.links.append(self.link)
        return succeed(client)

    def _serve(self, guest: Guest) -> PlainConnection:
        self.connections.append(PlainConnection(self))
        return self.connections[-1]
