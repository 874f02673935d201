"""
What goes wrong on the TLS port, and in first trusting one.
"""

from __future__ import annotations

import os

from OpenSSL import SSL
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.python.failure import Failure

from mezite.error import BadInput, Denied, RemoteError, TimedOut, Unavailable


class HandshakeFailed(RemoteError):
    """The TLS handshake came to nothing; ``detail`` is what OpenSSL said."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the TLS handshake failed: {detail}")
        self.detail = detail


class NotTls(HandshakeFailed):
    """What came is not even the beginning of a handshake."""


class HandshakeTimedOut(TimedOut):
    """The peer did not finish the TLS handshake in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the TLS handshake was not finished within {seconds:g} s")


class TlsBroken(RemoteError):
    """The peer sent an alert, or bytes that are not TLS, on a finished connection."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the TLS connection broke: {detail}")
        self.detail = detail


class AlpnLost(RemoteError):
    """
    The handshake succeeded, without the ALPN name that we need.

    ``upgrade`` is what became of the way through a load balancer, if it was tried.
    """

    def __init__(self, protocol: bytes, upgrade: str | None = None) -> None:
        name = protocol.decode("ascii", "replace")
        super().__init__(
            f"the other end did not agree to {name}: it is not a Mezite hub,"
            " or something before it ends TLS on its own, such as a load balancer"
            + ("" if upgrade is None else f" ({upgrade})")
        )
        self.protocol = protocol
        self.upgrade = upgrade


class BadCredentials(BadInput):
    """A certificate, a key or a list of authorities that TLS cannot use."""


class HubUnreachable(Unavailable):
    """Nothing answered at the hub's address, or not with TLS."""

    def __init__(self, hub: object, detail: str) -> None:
        super().__init__(f"cannot reach {hub}: {detail}")
        self.detail = detail


class NotThisHub(Denied):
    """What answered has not proved that it is the hub that was meant."""


def why_unreachable(error: Exception) -> str:
    """Why no TCP connection came about, as the system says it and without Twisted's words."""
    if isinstance(error, DNSLookupError):
        return "its name cannot be resolved"
    number = error.osError if isinstance(error, ConnectError) else None
    if isinstance(number, int):
        return os.strerror(number).lower()
    if isinstance(error, TCPTimedOutError | TimeoutError | TimedOut):
        return "it did not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if broke_at_once(error):
        return "the connection broke as it was made"
    return str(error).rstrip(".")


def broke_at_once(error: BaseException) -> bool:
    """
    Whether the system gave a connection up before it told why.

    It does so where a router says that there is no way, at the moment when Twisted
    looks; the error's text would be a traceback.
    """
    said = error.args[0] if isinstance(error, ConnectError) and error.args else None
    return isinstance(said, Failure) and said.check(ConnectionClosed) is not None


def detail_of(error: BaseException) -> str:
    """What OpenSSL says about an error, in a few words."""
    if isinstance(error, SSL.SysCallError):
        return "the connection ended too early"
    if isinstance(error, SSL.Error):
        queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
        reasons = [entry[2] for entry in queue if len(entry) > 2 and entry[2]]
        return reasons[-1] if reasons else "the connection ended too early"
    return str(error) or type(error).__name__
