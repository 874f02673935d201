"""
Unix sockets on the reactor, for sockets that somebody else has opened.

Twisted's own would change the mode of a listening socket's file and remove it,
with the rights of this process, and take descriptors that a peer sends along.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.python.failure import Failure

# So that nobody who connects in a loop keeps the reactor from all else.
_ACCEPTS: Final = 16
# Until some other descriptor has been closed.
_PAUSE_SECONDS: Final = 1.0
_GONE_ALREADY: Final = frozenset({errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPERM})


class LocalTransport(tcp.Server):
    """A unix socket that is connected, which it owns and closes."""

    def __init__(self, connected: socket.socket, protocol: IProtocol, reactor: Any) -> None:
        connected.setblocking(False)
        super().__init__(connected, protocol, ("", 0), None, 0, reactor)  # type: ignore[arg-type]
        self.repstr = f"<{protocol.__class__.__name__} on a unix socket>"

    def getHost(self) -> UNIXAddress:
        return UNIXAddress(None)

    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(None)


class LocalListener(FileDescriptor):
    """
    A unix socket that listens, which it owns and closes; its file is not its own.

    :param make: gives the protocol for somebody who connects, or None to cut
        them off.
    :param only: the user ids that are let in; everybody if None.
    """

    def __init__(
        self,
        reactor: Any,
        listening: socket.socket,
        make: Callable[[], IProtocol | None],
        *,
        only: frozenset[int] | None = None,
    ) -> None:
        super().__init__(reactor)
        self._clock: IReactorTime = reactor
        listening.setblocking(False)
        self._socket = listening
        self._make = make
        self._only = only
        self.connected = 1
        self.startReading()

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, _ = self._socket.accept()
            except OSError as error:
                if error.errno not in _GONE_ALREADY:
                    self.stopReading()
                    self._clock.callLater(_PAUSE_SECONDS, self._go_on)
                return
            protocol = self._make() if self._is_welcome(accepted) else None
            if protocol is None:
                accepted.close()
            else:
                protocol.makeConnection(LocalTransport(accepted, protocol, self.reactor))

    def _go_on(self) -> None:
        if self.connected:
            self.startReading()

    def _is_welcome(self, accepted: socket.socket) -> bool:
        if self._only is None:
            return True
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("iii", credentials)
        return uid in self._only

    def stop(self) -> None:
        """Listen no more; connections that stand are left alone."""
        if self.connected:
            self.connected = 0
            self.stopReading()
            self._socket.close()

    def connectionLost(self, reason: Failure | None) -> None:
        self.stop()
