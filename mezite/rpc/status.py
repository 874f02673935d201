"""
How an error travels in gRPC: one table, both directions.

The sentence of an error goes into ``grpc-message``; what only operators may
know stays at home.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError

from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    LimitReached,
    LocalError,
    MeziteError,
    NotAuthenticated,
    NotFound,
    ProofNeeded,
    RemoteError,
    TimedOut,
    Unavailable,
)
from mezite.rpc.error import CallCancelled, RemoteFailure, RemoteRpcError, Unimplemented


class Status(IntEnum):
    """The status codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# The kind that a caller gets for a status.
KIND_OF: Final[Mapping[Status, type[MeziteError]]] = {
    Status.CANCELLED: CallCancelled,
    Status.UNKNOWN: RemoteFailure,
    Status.INVALID_ARGUMENT: BadInput,
    Status.DEADLINE_EXCEEDED: TimedOut,
    Status.NOT_FOUND: NotFound,
    Status.ALREADY_EXISTS: AlreadyExists,
    Status.PERMISSION_DENIED: Denied,
    Status.RESOURCE_EXHAUSTED: LimitReached,
    Status.FAILED_PRECONDITION: ProofNeeded,
    Status.ABORTED: Unavailable,
    Status.OUT_OF_RANGE: BadInput,
    Status.UNIMPLEMENTED: Unimplemented,
    Status.INTERNAL: RemoteFailure,
    Status.UNAVAILABLE: Unavailable,
    Status.DATA_LOSS: RemoteFailure,
    Status.UNAUTHENTICATED: NotAuthenticated,
}

# The status of a kind: that of its nearest ancestor in this table.
_STATUS_OF: Final[Mapping[type[BaseException], Status]] = {
    LocalError: Status.INTERNAL,
    # What the caller sent, or what another peer sent while the call was served.
    RemoteError: Status.INVALID_ARGUMENT,
    RemoteFailure: Status.INTERNAL,
    RemoteRpcError: Status.INVALID_ARGUMENT,
    Unimplemented: Status.UNIMPLEMENTED,
    BadInput: Status.INVALID_ARGUMENT,
    NotFound: Status.NOT_FOUND,
    AlreadyExists: Status.ALREADY_EXISTS,
    Denied: Status.PERMISSION_DENIED,
    # Nothing else has this status, so that callers know what to do.
    ProofNeeded: Status.FAILED_PRECONDITION,
    NotAuthenticated: Status.UNAUTHENTICATED,
    Unavailable: Status.UNAVAILABLE,
    LimitReached: Status.RESOURCE_EXHAUSTED,
    TimedOut: Status.DEADLINE_EXCEEDED,
    CallCancelled: Status.CANCELLED,
    CancelledError: Status.CANCELLED,
}

# What a client makes of an answer that never reached gRPC (gRPC's
# http-grpc-status-mapping).
_STATUS_OF_HTTP: Final[Mapping[int, Status]] = {
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    429: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.UNAVAILABLE,
}

# A sentence; in percent-encoding at most three times as long, which stays far
# below the header list that any client accepts.
MESSAGE_LENGTH: Final = 800

_INTERNAL_SENTENCE: Final = "the server failed; its log says why"


def status_of(error: BaseException) -> tuple[Status, str]:
    """The status and the public sentence of an error."""
    for kind in type(error).__mro__:
        if kind in _STATUS_OF:
            status = _STATUS_OF[kind]
            break
    else:
        status = Status.INTERNAL
    if status is Status.INTERNAL:
        return status, _INTERNAL_SENTENCE
    if status is Status.CANCELLED:
        return status, "the call was cancelled"
    return status, str(error)


def error_of(status: int, sentence: str) -> MeziteError:
    """The error that a status other than OK stands for."""
    try:
        code = Status(status)
        kind = KIND_OF[code]
    except (ValueError, KeyError):
        # A code from the future is UNKNOWN (gRPC's statuscodes).
        code, kind = Status.UNKNOWN, RemoteFailure
    return kind(sentence or f"the call failed ({code.name})")


def error_of_http(status: int) -> MeziteError:
    """The error that an HTTP status other than 200 stands for."""
    code = _STATUS_OF_HTTP.get(status, Status.UNKNOWN)
    return error_of(code, f"the answer is HTTP status {status}, which is not gRPC")


def encode_sentence(sentence: str) -> str:
    """Percent-encode for ``grpc-message``, cutting what is longer than MESSAGE_LENGTH."""
    data = sentence[:MESSAGE_LENGTH].encode("utf-8", "replace")
    # No header begins or ends with a space (RFC 9113, section 8.2.1).
    inner = range(len(data) - len(data.lstrip(b" ")), len(data.rstrip(b" ")))
    return "".join(
        chr(byte)
        if (0x20 < byte <= 0x7E and byte != 0x25) or (byte == 0x20 and place in inner)
        else f"%{byte:02X}"
        for place, byte in enumerate(data)
    )


def decode_sentence(text: str) -> str:
    """
    Read ``grpc-message``: bad escapes stay as they are, as gRPC asks.

    What a terminal would obey is replaced, for people are shown this.
    """
    sentence = unquote_to_bytes(text).decode("utf-8", "replace")[:MESSAGE_LENGTH]
    return "".join(char if char.isprintable() else " " for char in sentence)
