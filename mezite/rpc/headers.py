"""
What the headers and trailers of a call say.

Each direction has a writer and a reader; the readers raise what the other
side is told, or what the caller gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from mezite.error import BadInput, MeziteError
from mezite.rpc.error import RemoteRpcError, Unimplemented
from mezite.rpc.framing import format_timeout, parse_timeout
from mezite.rpc.status import Status, decode_sentence, encode_sentence, error_of, error_of_http

Headers = Sequence[tuple[str, str]]

# "application/grpc+json" is a codec that we do not have.
_CONTENT_TYPE: Final = re.compile(r"application/grpc(\+proto)?\s*(;.*)?", re.IGNORECASE)
_STATUS_CODE: Final = re.compile(r"[0-9]{1,4}")
_PROTOCOL_HEADERS: Final = frozenset({"te", "content-type"})

RESPONSE_HEADERS: Final[Headers] = (
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-accept-encoding", "identity"),
)


class NotGrpc(RemoteRpcError):
    """A request that is HTTP but not gRPC, and is answered in HTTP."""

    def __init__(self, sentence: str, http_status: int) -> None:
        super().__init__(sentence)
        self.http_status = http_status


@frozen
class RequestHead:
    """What a request says before its message."""

    path: str
    # Seconds, as the client counts them.
    timeout: float | None
    # Names in lower case; the values of a name that came twice are joined by commas.
    metadata: Mapping[str, str]


def write_request(
    path: str, *, authority: str, timeout: float, metadata: Iterable[tuple[str, str]]
) -> Headers:
    """
    The headers of a request.

    :raises BadInput: for metadata that no server would take (gRPC's ASCII-Value).
    """
    metadata = tuple(metadata)
    for name, value in metadata:
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            raise BadInput(f"the metadata {name} is not printable ASCII")
    return (
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", format_timeout(timeout)),
        *metadata,
    )


def read_request(headers: Iterable[tuple[str, str]]) -> RequestHead:
    """
    The head of a request.

    :raises NotGrpc: if it is some other use of HTTP.
    :raises Unimplemented: if its messages are compressed.
    :raises BadInput: for a bad deadline.
    """
    values = _joined(headers)
    if values.get(":method") != "POST":
        raise NotGrpc("gRPC calls are POST requests", 405)
    if not _CONTENT_TYPE.fullmatch(values.get("content-type", "")):
        raise NotGrpc("gRPC calls have the content type application/grpc", 415)
    _refuse_compression(values)
    timeout = values.get("grpc-timeout")
    return RequestHead(
        path=values.get(":path", ""),
        timeout=None if timeout is None else parse_timeout(timeout),
        metadata={
            name: value
            for name, value in values.items()
            if not name.startswith((":", "grpc-")) and name not in _PROTOCOL_HEADERS
        },
    )


def write_trailers(status: Status, sentence: str = "") -> Headers:
    """The trailers of an answer."""
    trailers = [("grpc-status", str(int(status)))]
    if sentence:
        trailers.append(("grpc-message", encode_sentence(sentence)))
    return trailers


def read_response(headers: Iterable[tuple[str, str]]) -> None:
    """
    Check the headers of an answer; its status is for :func:`read_trailers`.

    :raises MeziteError: if this is no answer of a gRPC server.
    """
    values = _joined(headers)
    status = values.get(":status", "")
    if status != "200":
        raise error_of_http(int(status) if status.isascii() and status.isdigit() else 0)
    if not _CONTENT_TYPE.fullmatch(values.get("content-type", "")):
        raise RemoteRpcError("the answer is not gRPC")
    _refuse_compression(values)


def read_trailers(headers: Iterable[tuple[str, str]]) -> MeziteError | None:
    """
    The error that an answer ends with, or ``None`` for success.

    :raises RemoteRpcError: if there is no status.
    """
    values = _joined(headers)
    status = values.get("grpc-status", "")
    if not _STATUS_CODE.fullmatch(status):
        raise RemoteRpcError("the answer ended without a gRPC status")
    if int(status) == Status.OK:
        return None
    return error_of(int(status), decode_sentence(values.get("grpc-message", "")))


def _refuse_compression(values: Mapping[str, str]) -> None:
    encoding = values.get("grpc-encoding", "identity")
    if encoding != "identity":
        raise Unimplemented(f"the encoding {encoding[:20]!r} is not supported, only identity")


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in headers:
        values[name] = f"{values[name]},{value}" if name in values else value
    return values
