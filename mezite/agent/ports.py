"""
TCP ports of this machine, opened on behalf of a client.

The sockets are made here and not by ``listenTCP``, so that one port can be had
on the loopback's both addresses and an error keeps its number.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

from attrs import frozen
from twisted.internet.protocol import Factory
from zope.interface import implementer

from mezite.agent.error import ForwardRefused
from mezite.agent.remoteforward import IListeners, IPorts

_BACKLOG: Final = 128
# A free port of one address may be taken on the other; that it is again and again is no chance.
_DRAWS: Final = 8
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@implementer(IListeners)
@frozen(eq=False)
class NetworkListeners:
    """Ports of a reactor."""

    number: int
    ports: tuple[Any, ...]

    def port(self) -> int:
        return self.number

    def stop(self) -> None:
        for port in self.ports:
            port.stopListening()


@implementer(IPorts)
@frozen
class NetworkPorts:
    """The ports of this machine."""

    reactor: Any

    def listen(self, hosts: tuple[str, ...], port: int, factory: Factory[Any]) -> NetworkListeners:
        for left in reversed(range(_DRAWS if port == 0 else 1)):
            try:
                sockets = _bind(hosts, port)
                break
            except OSError as error:
                if not left or error.errno != errno.EADDRINUSE:
                    reason = (error.strerror or str(error)).lower()
                    where = f"port {port}" if port else "a port"
                    raise ForwardRefused(f"{where} of the node cannot be had: {reason}") from None
        number = sockets[0].getsockname()[1]
        ports = []
        for made in sockets:
            with made:
                made.listen(_BACKLOG)
                ports.append(self.reactor.adoptStreamPort(made.fileno(), made.family, factory))
        return NetworkListeners(number, tuple(ports))


def _bind(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    """:raises OSError: and no socket is left then."""
    made: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                made.append(_bound(host, made[0].getsockname()[1] if made else port))
            except OSError as error:
                if not made or error.errno not in _NOT_HERE:
                    raise
    except OSError:
        for each in made:
            each.close()
        raise
    return made


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
