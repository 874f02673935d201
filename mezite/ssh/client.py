"""
The client's side of an SSH connection to a node.

Use it so, over anything that is an ``ITransport``::

    connection = FlowConnection()
    transport = ClientTransport(
        HostTrust(host_authorities, principals, wall_clock),
        UserKey.of(private_key, certificate_line),
        login,
        connection,
        clock,
    )
    ...  # give ``transport`` to an endpoint; then
    await transport.authenticated()
    connection.openChannel(MySession())

``authenticated()`` fails with :class:`HostNotVerified`,
:class:`LoginRefused`, :class:`PeerDisconnected`, :class:`ConnectionEnded` or
:class:`TimedOut`; each of their sentences can be printed as it is. ``ended()``
fires when the connection is gone, with the error that says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final
from typing import Protocol as TypingProtocol

from attrs import field, frozen
from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    MSG_KEX_DH_GEX_GROUP,
    MSG_KEX_DH_GEX_REQUEST_OLD,
    SSHClientTransport,
)
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mezite.error import Denied, TimedOut
from mezite.identity import sshcert
from mezite.identity.sshsignatures import is_signed
from mezite.names import LoginName
from mezite.ssh import algorithms, clientkex, signatures
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import (
    BY_APPLICATION,
    HOST_KEY_NOT_VERIFIABLE,
    KEY_EXCHANGE_FAILED,
    HostNotVerified,
    LoginRefused,
    SshProtocolError,
)
from mezite.ssh.fields import FieldReader, printable, string
from mezite.ssh.kexinit import Offer
from mezite.ssh.kexorder import STRICT_CLIENT, STRICT_SERVER
from mezite.ssh.transport import PacketTransport
from mezite.ssh.userauth import BANNER, FAILURE, REQUEST, SUCCESS

# The server gives us 30 s to log in; a little more lets its own sentence arrive.
SECONDS: Final = 40.0
# Banners that are kept to explain a refusal.
BANNERS: Final = 8


class Proved(TypingProtocol):
    """What a host key was found to be."""

    @property
    def public_blob(self) -> bytes: ...


class HostCheck(TypingProtocol):
    """Whom we take for the server that we mean."""

    @property
    def algorithms(self) -> Sequence[bytes]:
        """What it is asked to prove itself by, best first."""

    def check(self, blob: bytes, /) -> Proved:
        """:raises HostNotVerified: for a key that is not the server's."""


@frozen
class HostTrust:
    """
    Whom we take for the node: a certificate of these authorities, on one of these names.

    ``authorities`` are public key blobs, as ``SshAuthority.public_blob``.
    """

    authorities: Collection[bytes]
    principals: Collection[str]
    wall_clock: Callable[[], float]

    @property
    def algorithms(self) -> Sequence[bytes]:
        return [name + algorithms.CERTIFICATE for name in algorithms.SIGNATURES]

    def check(self, blob: bytes) -> sshcert.HostCertificate:
        """:raises HostNotVerified: with a sentence that names the node."""
        try:
            return sshcert.check_host(
                blob,
                trusted=self.authorities,
                now=self.wall_clock(),
                principals=self.principals,
            )
        except Denied as error:
            name = next(iter(self.principals), "the node")
            raise HostNotVerified(f"{name} did not prove its name: {error}") from error


@frozen
class UserKey:
    """What a person logs in with."""

    key: signatures.PrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)

    @classmethod
    def of(cls, key: signatures.PrivateKey, certificate_line: str) -> UserKey:
        """:raises CertificateRefused: if the line has no certificate."""
        return cls(key, sshcert.blob_of(certificate_line.strip()))

    @property
    def algorithm(self) -> bytes:
        return signatures.algorithms_of(self.key)[0] + algorithms.CERTIFICATE


class ClientTransport(PacketTransport, SSHClientTransport):
    """Connects, verifies the host, logs in, and starts ``connection``."""

    their_strict_marker = STRICT_SERVER
    our_strict_marker = STRICT_CLIENT
    their_half = MSG_KEX_DH_GEX_GROUP
    supportedKeyExchanges = list(algorithms.KEY_EXCHANGES)

    def __init__(
        self,
        trust: HostCheck,
        user_key: UserKey,
        login: LoginName,
        connection: FlowConnection,
        clock: IReactorTime,
        *,
        on_banner: Callable[[str], None] | None = None,
    ) -> None:
        self._trust = trust
        self.supportedPublicKeys = list(trust.algorithms)
        self._user_key = user_key
        self._login = login
        self._connection = connection
        self._clock = clock
        self._on_banner = on_banner
        self._deadline: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []
        self._watching: list[Deferred[Exception]] = []
        self._is_in = False
        self._is_lost = False
        self.host: Proved | None = None

    def authenticated(self) -> Deferred[None]:
        """Fires once channels may be opened."""
        waiter: Deferred[None] = Deferred()
        if self._is_lost:
            waiter.errback(self.end)
        elif self._is_in:
            waiter.callback(None)
        else:
            self._waiting.append(waiter)
        return waiter

    def ended(self) -> Deferred[Exception]:
        """Fires with the reason once the connection is gone."""
        watcher: Deferred[Exception] = Deferred()
        if self._is_lost:
            watcher.callback(self.end)
        else:
            self._watching.append(watcher)
        return watcher

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(SECONDS, self._too_late)
        super().connectionMade()

    def _too_late(self) -> None:
        self.fail(TimedOut(f"logging in took longer than {SECONDS:g} s"), BY_APPLICATION)

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def fail(self, error: Exception, code: int) -> None:
        """End the connection for this reason."""
        self.end = error
        self.disconnect(code, str(error))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._stop_deadline()
        self._is_lost = True
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, []
        watching, self._watching = self._watching, []
        for waiter in waiting:
            waiter.errback(self.end)
        for watcher in watching:
            watcher.callback(self.end)

    def close(self) -> None:
        """Say goodbye."""
        self.disconnect(BY_APPLICATION, "disconnected by user")

    # The key exchange.

    def ssh_KEXINIT(self, packet: bytes) -> Offer:
        offer = super().ssh_KEXINIT(packet)
        self._half = clientkex.begin(self.kexAlg)
        self.sendPacket(MSG_KEX_DH_GEX_REQUEST_OLD, string(self._half.offer))
        return offer

    def ssh_KEX_DH_GEX_GROUP(self, packet: bytes) -> None:
        """Message 31, which is the server's half of every exchange that we offer."""
        reader = FieldReader(packet)
        host_key, their_half, signature = reader.string(), reader.string(), reader.string()
        reader.end()
        try:
            proved = self._trust.check(host_key)
        except HostNotVerified as error:
            self.fail(error, HOST_KEY_NOT_VERIFIABLE)
            return
        secret = self._half.shared(their_half)
        digest = hashlib.sha256()
        for value in (
            self.ourVersionString,
            self.otherVersionString,
            self.ourKexInitPayload,
            self.otherKexInitPayload,
            host_key,
            self._half.offer,
            their_half,
        ):
            digest.update(string(value))
        digest.update(secret)
        exchange_hash = digest.digest()
        if not is_signed(
            proved.public_blob,
            signature,
            exchange_hash,
            algorithm=self.keyAlg.removesuffix(algorithms.CERTIFICATE),
        ):
            raise SshProtocolError("the node's signature is wrong", KEY_EXCHANGE_FAILED)
        self.host = proved
        self._keySetup(secret, exchange_hash)

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        self._gotNewKeys = False
        super()._keySetup(sharedSecret, exchangeHash)

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        is_first = self._order.is_first
        super().ssh_NEWKEYS(packet)
        if is_first:
            self.connectionSecure()

    # Logging in.

    def connectionSecure(self) -> None:
        self.requestService(UserAuthClient(self._user_key, self._login, self._on_banner))

    def ssh_SERVICE_ACCEPT(self, packet: bytes) -> None:
        if self.service is not None:
            raise SshProtocolError("a service was accepted that nobody asked for")
        self.setService(self.instance)

    def logged_in(self) -> None:
        """The server has let us in."""
        self._stop_deadline()
        self.setService(self._connection)
        self._is_in = True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


class UserAuthClient(SSHService):
    """The ssh-userauth service of a client: one certificate, one try."""

    name = b"ssh-userauth"
    protocolMessages = {
        FAILURE: "MSG_USERAUTH_FAILURE",
        SUCCESS: "MSG_USERAUTH_SUCCESS",
        BANNER: "MSG_USERAUTH_BANNER",
    }
    transport: Any

    def __init__(
        self, user_key: UserKey, login: LoginName, on_banner: Callable[[str], None] | None
    ) -> None:
        self._user_key = user_key
        self._login = login
        self._on_banner = on_banner
        self._banners: list[str] = []

    def serviceStarted(self) -> None:
        request = b"".join(
            (
                string(str(self._login).encode()),
                string(b"ssh-connection"),
                string(b"publickey"),
                b"\1",
                string(self._user_key.algorithm),
                string(self._user_key.certificate),
            )
        )
        signed = string(self.transport.sessionID) + bytes([REQUEST]) + request
        signature = signatures.sign(self._user_key.key, signed)
        self.transport.sendPacket(REQUEST, request + string(signature))

    def ssh_USERAUTH_BANNER(self, packet: bytes) -> None:
        if len(self._banners) < BANNERS:
            self._banners.append(printable(FieldReader(packet).string()))
            if self._on_banner is not None:
                self._on_banner(self._banners[-1])

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> None:
        sentence = self._banners[-1] if self._banners else f"{self._login} may not log in"
        self.transport.fail(LoginRefused(sentence), BY_APPLICATION)

    def ssh_USERAUTH_SUCCESS(self, packet: bytes) -> None:
        self.transport.logged_in()
