"""
An SSH server for one connection, put together from its parts.

:class:`SshServerFactory` is what a node's server and the hub's jump host share:
it presents the host key, lets in the owners of certificates, and gives each
connection its ssh-connection service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.conch.ssh.service import SSHService
from twisted.conch.ssh.transport import (
    MSG_KEX_DH_GEX_REQUEST_OLD,
    SSHServerTransport,
    SSHTransportBase,
)
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from mezite.ssh import algorithms
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import NO_MORE_AUTH_METHODS, SERVICE_NOT_AVAILABLE, SshProtocolError
from mezite.ssh.fields import FieldReader, string
from mezite.ssh.hostkeys import HostKey, HostKeys, PresentedKey, ReplaceableHostKey
from mezite.ssh.kexinit import Offer
from mezite.ssh.kexorder import STRICT_CLIENT, STRICT_SERVER
from mezite.ssh.transport import PacketTransport
from mezite.ssh.userauth import UserAuthServer

# From the first byte until the person is in; so long may strangers hold a connection.
LOGIN_SECONDS: Final = 30.0


class ServerTransport(PacketTransport, SSHServerTransport):
    """
    The server's side, which proves itself with ``host_key``.

    ``factory`` is Conch's seam: ``getService(transport, name)`` gives what
    makes a service, and ``hasattr(transport, "avatar")`` tells who is in.
    """

    their_strict_marker = STRICT_CLIENT
    our_strict_marker = STRICT_SERVER
    their_half = MSG_KEX_DH_GEX_REQUEST_OLD

    def __init__(self, host_key: HostKey | HostKeys, clock: IReactorTime) -> None:
        self._host_key = host_key
        self._clock = clock
        self._login_deadline: IDelayedCall | None = None
        self.supportedKeyExchanges = list(algorithms.KEY_EXCHANGES)
        self.supportedPublicKeys = list(host_key.algorithms)
        self._told_extensions = False
        self.peer: IAddress | None = None

    def connectionMade(self) -> None:
        self._login_deadline = self._clock.callLater(
            LOGIN_SECONDS, self.disconnect, NO_MORE_AUTH_METHODS, "logging in took too long"
        )
        super().connectionMade()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.stop_login_deadline()
        super().connectionLost(reason)

    def stop_login_deadline(self) -> None:
        """The person is in."""
        if self._login_deadline is not None and self._login_deadline.active():
            self._login_deadline.cancel()

    def _getHostKeys(self, keyAlg: bytes) -> Any:
        presented: PresentedKey = self._host_key.presented_as(keyAlg)
        return presented, presented

    def ssh_KEXINIT(self, packet: bytes) -> Offer:  # type: ignore[override]
        offer = super().ssh_KEXINIT(packet)
        guessed = (offer.exchanges[0], offer.host_keys[0])
        if offer.guesses and guessed != (self.kexAlg, self.keyAlg):
            self.ignoreNextPacket = 1  # RFC 4253, section 7: a wrong guess follows
        return offer

    def sendExtInfo(self, extensions: Any) -> None:
        """Conch would list host keys here; see :meth:`after_keys`."""

    def after_keys(self) -> None:
        # RFC 8308, section 2.4: next after the first NEWKEYS, or not at all.
        if self._peerSupportsExtensions and not self._told_extensions:
            SSHTransportBase.sendExtInfo(
                self, [(b"server-sig-algs", b",".join(algorithms.USER_SIGNATURES))]
            )
        self._told_extensions = True

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        name = reader.string()
        reader.end()
        make = self.factory.getService(self, name)
        if make is None or self.service is not None:
            raise SshProtocolError("there is no such service here", SERVICE_NOT_AVAILABLE)
        self.sendPacket(6, string(name))
        self.setService(make())


class SshServerFactory(Factory[Any]):
    """
    :param certificates: an :class:`~mezite.ssh.userauth.IUserCertificates`.
    :param make_connection: the service for somebody who is in, from their avatar.
    """

    noisy = False

    def __init__(
        self,
        host_key: ReplaceableHostKey,
        certificates: Any,
        make_connection: Callable[[Any], FlowConnection],
        clock: IReactorTime,
    ) -> None:
        self._host_key = host_key
        self._certificates = certificates
        self._make_connection = make_connection
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> ServerTransport:
        transport = ServerTransport(self._host_key.current, self._clock)
        transport.factory = self  # type: ignore[assignment]
        transport.peer = addr
        return transport

    def certificates_for(self, peer: IAddress | None) -> Any:
        """What certificates are worth to this peer; to all the same, if not overridden."""
        return self._certificates

    def getService(
        self, transport: ServerTransport, service: bytes
    ) -> Callable[[], SSHService] | None:
        """What makes the service of this name, for Conch."""
        if service == b"ssh-userauth" and not hasattr(transport, "avatar"):
            return lambda: UserAuthServer(self.certificates_for(transport.peer))
        if service == b"ssh-connection" and hasattr(transport, "avatar"):
            return lambda: self._make_connection(transport.avatar)
        return None
