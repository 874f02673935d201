"""
What gRPC writes inside HTTP/2: messages in DATA frames, deadlines in a header.

Pure: bytes in, messages out.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

from mezite.error import BadInput
from mezite.rpc.error import MessageTooLarge, RemoteRpcError, Unimplemented

_PREFIX: Final = struct.Struct("!BI")
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
# Units per second, the finest first.
_UNITS: Final = {"n": 1e9, "u": 1e6, "m": 1e3, "S": 1.0, "M": 1 / 60, "H": 1 / 3600}
# The largest number that grpc-timeout can carry has eight digits.
_LARGEST_TIMEOUT: Final = 99_999_999


def encode_message(message: bytes) -> bytes:
    """One length-prefixed message, uncompressed."""
    return _PREFIX.pack(0, len(message)) + message


class MessageReader:
    """
    Takes the bytes of one direction of a call, and gives its messages.

    Holds at most one message, and refuses a longer one when its prefix arrives.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        """
        The messages that these bytes complete.

        :raises MessageTooLarge: before anything of that message is kept.
        :raises Unimplemented: for a compressed message.
        :raises RemoteRpcError: for a prefix that gRPC does not define.
        """
        self._data += data
        messages = []
        while len(self._data) >= _PREFIX.size:
            flag, length = _PREFIX.unpack_from(self._data)
            if flag == 1:
                raise Unimplemented("compressed messages are not supported")
            if flag != 0:
                raise RemoteRpcError(f"a message begins with the undefined flag {flag}")
            if length > self._limit:
                raise MessageTooLarge(length, self._limit)
            end = _PREFIX.size + length
            if len(self._data) < end:
                break
            messages.append(bytes(self._data[_PREFIX.size : end]))
            del self._data[:end]
        return messages

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished message are held."""
        return len(self._data)

    def finish(self) -> None:
        """
        The direction has ended.

        :raises RemoteRpcError: if it ended inside a message.
        """
        if self._data:
            raise RemoteRpcError("the stream ended in the middle of a message")


def parse_timeout(text: str) -> float:
    """
    Read ``grpc-timeout``, in seconds.

    :raises BadInput: if it is not 1 to 8 digits and a unit.
    """
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise BadInput(f"{text[:20]!r} is not a grpc-timeout: write 1 to 8 digits and a unit")
    return int(match[1]) / _UNITS[match[2]]


def format_timeout(seconds: float) -> str:
    """Write ``grpc-timeout``; never less than the time that is left, by rounding up."""
    for unit, per_second in _UNITS.items():
        count = math.ceil(max(0.0, seconds) * per_second)
        if count <= _LARGEST_TIMEOUT:
            return f"{count}{unit}"
    return f"{_LARGEST_TIMEOUT}H"
