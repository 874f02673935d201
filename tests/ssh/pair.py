"""
A client and a server of SSH in memory, with authorities of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump
from zope.interface import implementer

from mezite.identity import sshcert, sshissuing
from mezite.identity.authority import SshAuthority
from mezite.identity.sshcert import UserCertificate
from mezite.names import AgentId, LoginName, UserName
from mezite.ssh.channel import FlowChannel
from mezite.ssh.client import ClientTransport, HostTrust, UserKey
from mezite.ssh.connection import FlowConnection
from mezite.ssh.hostkeys import HostKey, ReplaceableHostKey
from mezite.ssh.server import SshServerFactory
from mezite.ssh.userauth import IAvatar, IUserCertificates

NOW = 1_800_000_000.0
USER_CA = SshAuthority.generate()
HOST_CA = SshAuthority.generate()
ROOT = LoginName.parse("root")
ADA = UserName.parse("ada")


def public_line(key: Any) -> str:
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode()


def host_key(principal: str = "db1", *, now: float = NOW) -> HostKey:
    key = Ed25519PrivateKey.generate()
    return HostKey.of(key, host_certificate(key, principal, now=now))


def host_certificate(key: Any, principal: str = "db1", *, now: float = NOW) -> str:
    return sshissuing.issue_host(
        HOST_CA,
        public_line(key),
        agent_id=AgentId.new(),
        principals=[principal],
        serial=1,
        now=now,
        lifetime=3600.0,
    )


def user_key(
    key: Any = None, *, logins: tuple[LoginName, ...] = (ROOT,), **certificate: Any
) -> UserKey:
    key = key or Ed25519PrivateKey.generate()
    line = sshissuing.issue_user(
        USER_CA,
        public_line(key),
        user=ADA,
        logins=logins,
        serial=7,
        **{"now": NOW, "lifetime": 3600.0, **certificate},
    )
    return UserKey.of(key, line)


@implementer(IAvatar)
@define(eq=False)
class RecordingAvatar:
    """Somebody who is in, and knows when they are out again."""

    certificate: UserCertificate
    is_out: bool = False

    def logout(self) -> None:
        self.is_out = True


@implementer(IUserCertificates)
@define(eq=False)
class FixedCertificates:
    """Lets in, or refuses with ``refuses``, whoever has a certificate of ``USER_CA``."""

    refuses: Exception | None = None
    answer: Deferred[Any] | None = None
    avatars: list[RecordingAvatar] = field(factory=list)

    def check(self, blob: bytes, login: LoginName) -> UserCertificate:
        return sshcert.check_user(
            blob, trusted=[USER_CA.public_blob], now=NOW, login=login, source_address=None
        )

    def admit(self, certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        if self.answer is not None:
            return self.answer
        if self.refuses is not None:
            return fail(self.refuses)
        self.avatars.append(RecordingAvatar(certificate))
        return succeed(self.avatars[-1])


class EchoingChannel(FlowChannel):
    """Gives back what it gets, and keeps a copy."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.heard: list[bytes] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.has_ended = False
        self.is_gone = False

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        self.write(data)

    def eofReceived(self) -> None:
        self.has_ended = True
        self.loseConnection()

    def closed(self) -> None:
        self.is_gone = True

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.requests.append((requestType, data))
        return requestType == b"yes"


class HearingChannel(FlowChannel):
    """A client's channel that notes what happens to it."""

    name = b"echo"

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.happened: list[object] = []
        self.heard = bytearray()
        self.extra = bytearray()

    def channelOpen(self, specificData: bytes) -> None:
        self.happened.append("open")

    def openFailed(self, reason: Any) -> None:
        self.happened.append(reason)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def extReceived(self, dataType: int, data: bytes) -> None:
        self.extra += data

    def eofReceived(self) -> None:
        self.happened.append("eof")

    def closed(self) -> None:
        self.happened.append("closed")


class EchoingConnection(FlowConnection):
    """A server's connection that opens ``echo`` channels."""

    def __init__(self, make: Callable[[], FlowChannel] = EchoingChannel) -> None:
        super().__init__()
        self.make = make
        self.made: list[Any] = []

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind != b"echo":
            return super().make_channel(kind)
        self.made.append(self.make())
        return self.made[-1]  # type: ignore[no-any-return]


class PressedTransport(FakeTransport):
    """A transport in memory that tells its producer when it is full."""

    HIGH = 64 * 1024

    def __init__(self, *arguments: Any, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self.is_held = False
        self.has_paused = False
        self.reads_paused = False

    def waiting(self) -> int:
        return sum(map(len, self.stream))

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer and not self.has_paused and self.waiting() > self.HIGH:
            self.has_paused = True
            self.producer.pauseProducing()

    def getOutBuffer(self) -> Any:
        if self.is_held:
            return None
        taken = super().getOutBuffer()
        if self.has_paused and self.producer:
            self.has_paused = False
            self.producer.resumeProducing()
        return taken

    def pauseProducing(self) -> None:
        self.reads_paused = True

    def resumeProducing(self) -> None:
        self.reads_paused = False


@define(eq=False, slots=False)
class Pair:
    """Both ends of one SSH connection, joined by a network in memory."""

    principal: str = "db1"
    certificates: FixedCertificates = field(factory=FixedCertificates)
    key: UserKey = field(factory=user_key)
    host: ReplaceableHostKey = field(factory=lambda: ReplaceableHostKey(host_key()))
    make_channel: Callable[[], FlowChannel] = EchoingChannel
    clock: Clock = field(factory=Clock)
    connection: FlowConnection = field(factory=FlowConnection)
    served: list[EchoingConnection] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.factory = SshServerFactory(self.host, self.certificates, self._serve, self.clock)
        self.server = self.factory.buildProtocol(None)
        trust = HostTrust([HOST_CA.public_blob], [self.principal], lambda: NOW)
        self.client = ClientTransport(trust, self.key, ROOT, self.connection, self.clock)
        self.server_io = PressedTransport(self.server, isServer=True)
        self.client_io = PressedTransport(self.client, isServer=False)
        self.pump = IOPump(
            self.client, self.server, self.client_io, self.server_io, False, self.clock
        )

    def _serve(self, avatar: RecordingAvatar) -> EchoingConnection:
        self.served.append(EchoingConnection(self.make_channel))
        return self.served[-1]

    def connect(self) -> Pair:
        self.client.makeConnection(self.client_io)
        self.server.makeConnection(self.server_io)
        self.pump.flush()
        return self

    def client_offer(self) -> bytes:
        """What a client says first: its version and its KEXINIT."""
        self.client.makeConnection(self.client_io)
        said = b"".join(self.client_io.stream)
        self.client.connectionLost()
        return said

    def open(self, channel: HearingChannel | None = None) -> HearingChannel:
        channel = channel or HearingChannel()
        self.connection.openChannel(channel)
        self.pump.flush()
        return channel
