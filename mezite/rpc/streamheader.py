"""
The first bytes of a stream in a tunnel: two octets of length, then a StreamHeader.
"""

from __future__ import annotations

import struct
from typing import Final

from google.protobuf.message import DecodeError

from mezite.error import LocalError, RemoteError
from mezite.rpc.proto.tunnel_pb2 import StreamHeader

# The longest honest header: a service, an id, a user name of 64 characters and
# an address stay below 300 octets. What is over leaves room for later fields.
LENGTH_LIMIT: Final = 4096

_LENGTH: Final = struct.Struct("!H")


class BadStreamHeader(RemoteError):
    """A stream did not begin with a header that can be read; the stream is reset."""


def encode(header: StreamHeader) -> bytes:
    """The header as it travels."""
    data: bytes = header.SerializeToString(deterministic=True)
    if not header.service or len(data) > LENGTH_LIMIT:
        raise LocalError(f"a stream header names a service, within {LENGTH_LIMIT} bytes")
    return _LENGTH.pack(len(data)) + data


class StreamHeaderReader:
    """Takes the bytes of a new stream until its header is complete; holds no more than that."""

    def __init__(self) -> None:
        self._data = b""

    def receive(self, data: bytes) -> tuple[StreamHeader, bytes] | None:
        """
        The header and what follows it, or ``None`` while it is incomplete.

        Not to be called again after it has given the header.

        :raises BadStreamHeader: for a length or a message that no peer may send.
        """
        self._data += data
        if len(self._data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._data)
        if not 0 < length <= LENGTH_LIMIT:
            raise BadStreamHeader(f"a stream header has 1 to {LENGTH_LIMIT} bytes, not {length}")
        end = _LENGTH.size + length
        if len(self._data) < end:
            return None
        try:
            header = StreamHeader.FromString(self._data[_LENGTH.size : end])
        except DecodeError:
            raise BadStreamHeader("a stream begins with bytes that are no header") from None
        if not header.service:
            raise BadStreamHeader("a stream header names no service")
        rest = self._data[end:]
        self._data = b""
        return header, rest
