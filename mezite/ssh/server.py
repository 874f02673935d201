"""
An SSH server for one connection, put together from its parts.

:class:`SshServerFactory` is what a node's server and the hub's jump host share:
it presents the host key, lets in the owners of certificates, and gives each
connection its ssh-connection service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.conch.ssh.service import SSHService
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from mezite.ssh.connection import FlowConnection
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.ssh.transport import ServerTransport
from mezite.ssh.userauth import UserAuthServer


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
        return transport

    def getService(
        self, transport: ServerTransport, service: bytes
    ) -> Callable[[], SSHService] | None:
        """What makes the service of this name, for Conch."""
        if service == b"ssh-userauth" and not hasattr(transport, "avatar"):
            return lambda: UserAuthServer(self._certificates)
        if service == b"ssh-connection" and hasattr(transport, "avatar"):
            return lambda: self._make_connection(transport.avatar)
        return None
