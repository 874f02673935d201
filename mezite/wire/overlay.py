"""
What a transport that runs on another one says of the connection beneath.
"""

from __future__ import annotations

from typing import Any


class Overlay:
    """A transport whose addresses and options are those of its own ``transport``."""

    __slots__ = ()

    transport: Any
    # Whom the other end speaks for, if it is not itself who is spoken to.
    _peer: Any

    def getPeer(self) -> Any:
        return self.transport.getPeer() if self._peer is None else self._peer

    def getHost(self) -> Any:
        return self.transport.getHost()

    def getTcpNoDelay(self) -> bool:
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.transport.setTcpKeepAlive(enabled)
