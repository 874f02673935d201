"""
What goes wrong between two SSH peers.
"""

from __future__ import annotations

from typing import Final

from mezite.error import Denied, LocalError, RemoteError, Unavailable

# RFC 4253, section 11.1.
HOST_NOT_ALLOWED: Final = 1
PROTOCOL_ERROR: Final = 2
KEY_EXCHANGE_FAILED: Final = 3
MAC_ERROR: Final = 5
SERVICE_NOT_AVAILABLE: Final = 7
HOST_KEY_NOT_VERIFIABLE: Final = 9
BY_APPLICATION: Final = 11
NO_MORE_AUTH_METHODS: Final = 14

# RFC 4254, section 5.1.
OPEN_PROHIBITED: Final = 1
OPEN_CONNECT_FAILED: Final = 2
OPEN_UNKNOWN_TYPE: Final = 3
OPEN_RESOURCE_SHORTAGE: Final = 4


class SshProtocolError(RemoteError):
    """The peer broke the protocol; ``code`` is what the disconnection says."""

    def __init__(self, sentence: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(sentence)
        self.code = code


class MalformedMessage(SshProtocolError):
    """A message that ends too early, or whose parts cannot be read."""


class OutgoingOverflow(LocalError):
    """Somebody kept writing to a channel that had asked for a pause."""


class HostNotVerified(Denied):
    """The server did not prove that it is the node we mean."""


class LoginRefused(Denied):
    """The server would not let us in; the sentence is the server's, if it gave one."""


class PeerDisconnected(Unavailable):
    """The peer ended the connection and said why."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class ConnectionEnded(Unavailable):
    """The connection ended without a word."""


class ChannelRefused(Denied):
    """A channel that was not opened; ``code`` is one of RFC 4254, section 5.1."""

    def __init__(self, sentence: str, code: int = OPEN_PROHIBITED) -> None:
        super().__init__(sentence)
        self.code = code
