"""
The frames of yamux version 0, as they stand on the wire.

This module owns the layout of a header and what is wrong with one by itself;
what a frame means to a stream is :mod:`mezite.mux.connection`'s.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from struct import Struct
from typing import Final, NamedTuple

from mezite.mux.error import RemoteMuxError

VERSION: Final = 0
HEADER_LENGTH: Final = 12
MAX_STREAM_ID: Final = 2**32 - 1

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8
_ALL_FLAGS: Final = SYN | ACK | FIN | RST

# Version, type, flags, stream id, length: all big-endian.
_HEADER: Final = Struct("!BBHII")


class Role(Enum):
    """Which end of the tunnel: the one that dialed, or the one that was dialed."""

    CLIENT = "client"
    SERVER = "server"


class FrameType(IntEnum):
    """What a frame is for."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class GoAwayCode(IntEnum):
    """Why an end of the tunnel takes no further streams."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


# Plain integers, because enum members cost a call for each frame.
DATA: Final = int(FrameType.DATA)
WINDOW_UPDATE: Final = int(FrameType.WINDOW_UPDATE)
PING: Final = int(FrameType.PING)
GO_AWAY: Final = int(FrameType.GO_AWAY)


class Header(NamedTuple):
    """
    The twelve bytes that begin each frame.

    ``length`` counts the bytes that follow only in a Data frame; otherwise it
    is the window's growth, the ping's opaque value or the GoAway code.
    """

    frame_type: int
    flags: int
    stream_id: int
    length: int

    def encode(self) -> bytes:
        return _HEADER.pack(VERSION, *self)


def encode_data(flags: int, stream_id: int, length: int) -> bytes:
    """The header of a Data frame whose body follows."""
    return _HEADER.pack(VERSION, DATA, flags, stream_id, length)


class FrameReader:
    """
    Bytes in, headers and pieces of Data bodies out.

    A body is handed on as it arrives, so no frame is ever held back or put
    together again; at most eleven bytes of a header are kept between calls.
    """

    def __init__(self, frame_length: int) -> None:
        self._frame_length = frame_length
        self._partial = b""
        self._body_left = 0

    def receive(self, data: bytes | memoryview) -> list[Header | bytes]:
        """
        The headers that these bytes complete, each Data header followed by
        the pieces of its body. Nothing that is kept is a view of them.

        :raises RemoteMuxError: on a header that no conforming peer sends.
        """
        found: list[Header | bytes] = []
        offset = 0
        end = len(data)
        while offset < end:
            if self._body_left:
                taken = min(self._body_left, end - offset)
                # The slice of everything is the same object: no copy.
                found.append(bytes(data[offset : offset + taken]))
                self._body_left -= taken
                offset += taken
                continue
            if self._partial:
                missing = HEADER_LENGTH - len(self._partial)
                self._partial += data[offset : offset + missing]
                offset += missing
                if len(self._partial) < HEADER_LENGTH:
                    break
                header = self._parse(self._partial, 0)
                self._partial = b""
            elif end - offset < HEADER_LENGTH:
                self._partial = bytes(data[offset:])
                break
            else:
                header = self._parse(data, offset)
                offset += HEADER_LENGTH
            found.append(header)
            if header.frame_type == DATA:
                self._body_left = header.length
        return found

    def _parse(self, data: bytes | memoryview, offset: int) -> Header:
        version, frame_type, flags, stream_id, length = _HEADER.unpack_from(data, offset)
        if version != VERSION:
            raise RemoteMuxError(f"yamux version {version} is not spoken here, only 0")
        if flags & ~_ALL_FLAGS:
            raise RemoteMuxError(f"the flags {flags:#x} are not all known")
        if frame_type <= WINDOW_UPDATE:
            if stream_id == 0:
                raise RemoteMuxError("a stream's frame has the stream id 0")
            if frame_type == DATA and length > self._frame_length:
                raise RemoteMuxError(
                    f"a frame of {length} bytes is longer than {self._frame_length}"
                )
        elif frame_type > GO_AWAY:
            raise RemoteMuxError(f"the frame type {frame_type} is not known")
        elif stream_id != 0:
            raise RemoteMuxError("a ping or go-away names a stream")
        elif frame_type == PING:
            if flags not in (SYN, ACK):
                raise RemoteMuxError("a ping is neither question nor answer")
        elif flags or length > GoAwayCode.INTERNAL_ERROR:
            raise RemoteMuxError("a go-away has flags or an unknown code")
        return Header(frame_type, flags, stream_id, length)
