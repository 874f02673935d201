"""
The client's half of a WebSocket (RFC 6455), as far as a connection upgrade needs it.

Bytes in, frames out, and back: the opening handshake and the frames of
``docs/protocols/connection-upgrade.rst``. The standard library only, since
``msh proxy ssh`` uses it. The hub's half is wsproto's, in
:mod:`mezite.hub.web.connectionupgrade`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Callable

from mezite.error import RemoteError, Unavailable
from mezite.wire.answerhead import NoAnswer, answer_head

PATH = "/v1/webapi/connectionupgrade"
SUBPROTOCOL = "mezite-tls"

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA
# RFC 6455, section 7.4.1.
NORMAL, PROTOCOL_ERROR, UNSUPPORTED, TOO_BIG = 1000, 1002, 1003, 1009

# Messages have no end that matters, so the only bound that is needed is one on what is absurd.
# Ours have at most MESSAGE_LENGTH; balancers may join frames, or split them.
MESSAGE_LENGTH = 1024 * 1024
# One sent message: a read of TLS at the other end, and little enough to be masked in a moment.
SENT_LENGTH = 256 * 1024
# Balancers forget an idle connection after 30 s at the least; two and a half pings unanswered.
PING_SECONDS = 20.0
SILENCE_SECONDS = 50.0

# What load balancers answer for those behind them who do not (RFC 9110, section 15.6).
_AWAY = ("502", "503", "504")
# RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN, _RESERVED, _OPCODE, _MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_CONTROL_LENGTH = 125
_XOR = [bytes(octet ^ key for octet in range(256)) for key in range(256)]


class UpgradeRefused(Unavailable):
    """What answered does not let a WebSocket through, or the hub behind it does not answer."""


class NoHubBehind(UpgradeRefused):
    """A load balancer answered that the hub behind it does not answer."""


class BrokenFrames(RemoteError):
    """What came is not the WebSocket that was agreed on; ``code`` is for the Close frame."""

    def __init__(self, detail: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(f"the WebSocket broke: {detail}")
        self.code = code


class Opening:
    """
    The opening handshake: :meth:`request` is sent, then what comes goes to :meth:`receive`.

    ``rest`` is what came behind the answer.
    """

    __slots__ = ("_buffer", "_host", "_key", "is_open", "rest")

    def __init__(self, host: str, key: bytes | None = None) -> None:
        """:param host: host and port, as they were typed."""
        self._host = host
        self._key = base64.b64encode(os.urandom(16) if key is None else key)
        self._buffer = b""
        self.is_open = False
        self.rest = b""

    def request(self) -> bytes:
        lines = (
            f"GET {PATH} HTTP/1.1",
            f"Host: {self._host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {self._key.decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
        )
        return "\r\n".join((*lines, "", "")).encode()

    def receive(self, data: bytes) -> None:
        """
        Take the next bytes of the answer.

        :raises UpgradeRefused: it answers something else; NoHubBehind, for the hub.
        """
        self._buffer += data
        try:
            found = answer_head(self._buffer)
        except NoAnswer as error:
            raise UpgradeRefused(f"what answers at {self._host} {error}") from None
        if found is not None:
            head, rest = found
            self._check(head.decode("latin-1"))
            self._buffer, self.rest, self.is_open = b"", rest, True

    def _check(self, head: str) -> None:
        """
        Make sure that the answer opens it.

        :raises UpgradeRefused: it does not.
        """
        status, *lines = head.split("\r\n")
        version, code = status.split(" ", 2)[:2]
        if version != "HTTP/1.1" or code != "101":
            said = _printable(status.partition(" ")[2])
            if code in _AWAY:
                raise NoHubBehind(
                    f"the load balancer at {self._host} does not reach the hub: it says {said}"
                )
            raise UpgradeRefused(f"{self._host} does not upgrade to a WebSocket: it says {said}")
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
        upgrade = fields.get("upgrade", "").lower()
        tokens = [each.strip().lower() for each in fields.get("connection", "").split(",")]
        if (
            upgrade != "websocket"
            or "upgrade" not in tokens
            or fields.get("sec-websocket-accept", "").encode() != accept_of(self._key)
            or fields.get("sec-websocket-protocol") != SUBPROTOCOL
            or "sec-websocket-extensions" in fields
        ):
            raise UpgradeRefused(f"{self._host} does not upgrade to the WebSocket of a Mezite hub")


class ClientFrames:
    """
    The frames of an open WebSocket, at the client's end.

    What arrives goes to :meth:`receive`, and comes out of :meth:`next_frame`.
    Payloads of data are handed out as they come, so that nothing waits here but
    the beginning of a header or of a control frame.
    """

    __slots__ = ("_arrived", "_is_inside", "_left", "_message", "_random", "_start")

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._arrived = b""
        self._start = 0
        # Bytes of a data frame's payload that are still to come.
        self._left = 0
        # Bytes of the message so far, and whether there is more of it to come.
        self._message = 0
        self._is_inside = False

    def receive(self, data: bytes) -> None:
        """Take what arrived."""
        rest = self._arrived[self._start :]
        self._arrived, self._start = rest + data if rest else bytes(data), 0

    def next_frame(self) -> tuple[int, bytes] | None:
        """
        BINARY and bytes, or PING, PONG or CLOSE and its payload; None if nothing is whole.

        :raises BrokenFrames:
        """
        while True:
            if self._left:
                payload = self._arrived[self._start : self._start + self._left]
                if not payload:
                    return None
                self._start += len(payload)
                self._left -= len(payload)
                return BINARY, payload
            header = self._header()
            if header is None:
                return None
            opcode, length = header
            if opcode & 0x8:
                payload = self._arrived[self._start : self._start + length]
                self._start += length
                return opcode, payload
            self._left = length

    def _header(self) -> tuple[int, int] | None:
        """The opcode and length of the next frame, which for a control frame is all there."""
        arrived, at = self._arrived, self._start
        have = len(arrived) - at
        if have < 2:
            return None
        first, second = arrived[at], arrived[at + 1]
        opcode, length = first & _OPCODE, second & _LENGTH
        self._check(first, opcode, second, length)
        size = 2
        if length == 126:
            size = 4
        elif length == 127:
            size = 10
        if have < size:
            return None
        if size > 2:
            length = int.from_bytes(arrived[at + 2 : at + size], "big")
        if opcode & 0x8:
            if have < size + length:
                return None
            self._start = at + size
            return opcode, length
        self._message += length
        if self._message > MESSAGE_LENGTH:
            raise BrokenFrames("a message is too long", TOO_BIG)
        self._is_inside = not first & _FIN
        if not self._is_inside:
            self._message = 0
        self._start = at + size
        return opcode, length

    def _check(self, first: int, opcode: int, second: int, length: int) -> None:
        if first & _RESERVED:
            raise BrokenFrames("a reserved bit is set")
        if second & _MASKED:
            raise BrokenFrames("the hub masks its frames")
        if opcode & 0x8:
            if opcode not in (CLOSE, PING, PONG):
                raise BrokenFrames(f"there is no opcode {opcode:#x}")
            if not first & _FIN or length > _CONTROL_LENGTH:
                raise BrokenFrames("a control frame is too long, or in parts")
        elif opcode == TEXT:
            raise BrokenFrames("text came, and only bytes are carried", UNSUPPORTED)
        elif opcode not in (CONTINUATION, BINARY):
            raise BrokenFrames(f"there is no opcode {opcode:#x}")
        elif (opcode == CONTINUATION) != self._is_inside:
            raise BrokenFrames("a message begins inside another, or goes on before it began")

    def frame(self, opcode: int, payload: bytes = b"") -> bytes:
        """One whole frame, masked with a key of its own (section 5.3)."""
        length = len(payload)
        if length <= _CONTROL_LENGTH:
            header = struct.pack("!BB", _FIN | opcode, _MASKED | length)
        elif length < 0x10000:
            header = struct.pack("!BBH", _FIN | opcode, _MASKED | 126, length)
        else:
            header = struct.pack("!BBQ", _FIN | opcode, _MASKED | 127, length)
        key = self._random(4)
        return b"".join((header, key, masked(payload, key)))


def masked(payload: bytes, key: bytes) -> bytearray:
    """The payload under this key; the same again gives the payload back."""
    # Each fourth octet has the same key, and translating is what Python does fastest.
    octets = bytearray(payload)
    for place in range(min(4, len(octets))):
        octets[place::4] = octets[place::4].translate(_XOR[key[place]])
    return octets


def accept_of(key: bytes) -> bytes:
    """What a server that understood answers to this ``Sec-WebSocket-Key``."""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def is_key(text: bytes) -> bool:
    """Whether this may stand in ``Sec-WebSocket-Key``."""
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except binascii.Error:
        return False


def close_payload(code: int) -> bytes:
    """What stands in a Close frame."""
    return code.to_bytes(2, "big")


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:80])
