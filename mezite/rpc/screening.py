"""
What a peer's HTTP/2 frames may cost, decided before h2 sees them.

A :class:`FrameScreen` follows the frame boundaries of one direction. It
stops floods (many cheap frames that each cost us something), header blocks
without end, and long frames before they are buffered; and it takes GOAWAY
out, because h2 ends a connection there, where a graceful end lets the calls
finish that are under way. What frames mean is left to h2.

Pure: the time comes as an argument.
"""

from __future__ import annotations

import struct
from typing import Final

from attrs import frozen

from mezite.rpc.error import RemoteRpcError
from mezite.rpc.limits import GrpcLimits

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_HEADER_LENGTH: Final = 9
# SETTINGS_MAX_FRAME_SIZE's initial value, which we never raise (RFC 9113, 6.5.2).
FRAME_LENGTH: Final = 16384
_DATA: Final = 0x0
_HEADERS: Final = 0x1
_RST_STREAM: Final = 0x3
_GOAWAY: Final = 0x7
_CONTINUATION: Final = 0x9

# A reset throws away what its stream has cost so far, and so costs more than
# a frame: 2000 points in store are 100 resets at once (CVE-2023-44487).
_RESET_COST: Final = 20.0
# DATA of this length and more is paid by flow control.
_FREE_DATA: Final = 1024
# A call that was served pays for its own frames, so that only idle noise adds up.
_CALL_CREDIT: Final = 16.0

_GOAWAY_BODY: Final = struct.Struct("!II")


@frozen
class GoAway:
    """The peer takes no streams above this one, and will end the connection."""

    last_stream_id: int
    error_code: int


class CalmDown(RemoteRpcError):
    """The peer sends more frames than its calls need (ENHANCE_YOUR_CALM)."""


class FrameScreen:
    """One direction of a connection, frame by frame."""

    def __init__(self, limits: GrpcLimits, *, preface: bool, now: float) -> None:
        self._limits = limits
        self._preface_left = len(PREFACE) if preface else 0
        self._header = bytearray()
        self._type = 0
        self._body_left = 0
        self._goaway: bytearray | None = None
        self._block_bytes = 0
        self._points = limits.frame_burst
        self._counted = now

    def credit_call(self) -> None:
        """A call was served to its end."""
        self._points = min(self._limits.frame_burst, self._points + _CALL_CREDIT)

    def receive(self, data: bytes, now: float) -> tuple[bytes, list[GoAway]]:
        """
        What h2 may have of these bytes, and the GOAWAYs that were in them.

        :raises RemoteRpcError: for a frame or a header block that is too long.
        :raises CalmDown: when the peer's points are spent.
        """
        gain = max(0.0, now - self._counted) * self._limits.frames_per_second
        self._points = min(self._limits.frame_burst, self._points + gain)
        self._counted = now
        passed: list[bytes] = []
        goaways: list[GoAway] = []
        at = min(self._preface_left, len(data))
        self._preface_left -= at
        passed.append(data[:at])
        while at < len(data):
            if self._body_left == 0:
                missing = _HEADER_LENGTH - len(self._header)
                self._header += data[at : at + missing]
                at += missing
                if len(self._header) < _HEADER_LENGTH:
                    break
                self._begin()
                if self._goaway is None:
                    passed.append(bytes(self._header))
                self._header.clear()
            taken = data[at : at + self._body_left]
            at += len(taken)
            self._body_left -= len(taken)
            if self._goaway is None:
                passed.append(taken)
            else:
                self._goaway += taken
                if self._body_left == 0:
                    goaways.append(self._end_goaway(bytes(self._goaway)))
        return b"".join(passed), goaways

    def _begin(self) -> None:
        length = int.from_bytes(self._header[:3], "big")
        self._type = self._header[3]
        if length > FRAME_LENGTH:
            raise RemoteRpcError(f"an HTTP/2 frame of {length} bytes is too long")
        if self._type == _RST_STREAM:
            self._points -= _RESET_COST
        elif self._type != _DATA or length < _FREE_DATA:
            self._points -= 1
        if self._points < 0:
            raise CalmDown("too many HTTP/2 frames for too few calls")
        if self._type in (_HEADERS, _CONTINUATION):
            self._block_bytes = length + (self._block_bytes if self._type == _CONTINUATION else 0)
            if self._block_bytes > self._limits.header_block_bytes:
                raise RemoteRpcError("the headers of a call are too long")
        self._body_left = length
        self._goaway = bytearray() if self._type == _GOAWAY else None
        if self._goaway is not None and length < _GOAWAY_BODY.size:
            raise RemoteRpcError("a GOAWAY frame is too short")

    def _end_goaway(self, body: bytes) -> GoAway:
        self._goaway = None
        last, code = _GOAWAY_BODY.unpack_from(body)
        return GoAway(last & 0x7FFFFFFF, code)


def goaway_frame(last_stream_id: int, error_code: int) -> bytes:
    """A GOAWAY frame, for an end that h2 is not to know of yet."""
    body = _GOAWAY_BODY.pack(last_stream_id, error_code)
    return len(body).to_bytes(3, "big") + bytes((_GOAWAY, 0, 0, 0, 0, 0)) + body
