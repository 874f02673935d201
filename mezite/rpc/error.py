"""
What goes wrong in remote calls.
"""

from __future__ import annotations

from mezite.error import BadInput, LimitReached, RemoteError, Unavailable


class RemoteRpcError(RemoteError):
    """The peer broke HTTP/2 or gRPC; the connection, or the call, is given up."""


class RemoteFailure(RemoteError):
    """The peer met a bug of its own in this call (INTERNAL, UNKNOWN, DATA_LOSS)."""


class Unimplemented(RemoteError):
    """The peer does not know the method, or the encoding."""


class BadMessage(BadInput):
    """The bytes of a message are no message of the type that was expected."""


class MessageTooLarge(LimitReached):
    """A message is longer than its receiver accepts."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"a message of {length} bytes is more than the limit of {limit}")
        self.length = length
        self.limit = limit


class ChannelClosed(Unavailable):
    """The connection ended, or is ending, and takes no calls."""


class CallCancelled(Unavailable):
    """The peer gave up the call."""
