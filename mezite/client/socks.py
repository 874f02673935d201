"""
The server's side of SOCKS 4, 4a and 5, as programs speak it to ``-D``.

Bytes in, one request out: :class:`SocksNegotiation` knows no transport. Only
connecting is served, and nobody is asked who they are, because whoever reaches
the port may use it. (RFC 1928; the SOCKS 4 and 4A memoranda.)
"""

from __future__ import annotations

import enum
import ipaddress
from typing import Final

from attrs import frozen

from mezite.error import RemoteError

# The longest message is SOCKS 4a with a user's name and a host's of 255 octets each.
LIMIT: Final = 1024
_CONNECT: Final = 1
_NO_AUTHENTICATION: Final = 0
_NO_METHOD: Final = b"\x05\xff"
# SOCKS 5 replies end with an address, which only binding would need.
_NOWHERE: Final = b"\0\1" + bytes(6)
_GENERAL, _NOT_REACHED, _NO_COMMAND, _NO_KIND = 1, 5, 7, 8


class SocksBroken(RemoteError):
    """What came is not SOCKS, or asks for what is not served."""


@frozen
class SocksRequest:
    """Where a program wants to be connected to; ``rest`` came behind the request."""

    host: str
    port: int
    rest: bytes


class _State(enum.Enum):
    VERSION = enum.auto()
    REQUEST_4 = enum.auto()
    METHODS_5 = enum.auto()
    REQUEST_5 = enum.auto()
    DONE = enum.auto()


class _Incomplete(Exception):
    """More bytes are needed."""


class SocksNegotiation:
    """One program's request, from its first byte to the answer."""

    def __init__(self) -> None:
        self._state = _State.VERSION
        self._buffer = b""
        self._version = 0
        self._to_send = b""

    def to_send(self) -> bytes:
        """What has to be written now; it is given once."""
        data, self._to_send = self._to_send, b""
        return data

    def receive(self, data: bytes) -> SocksRequest | None:
        """
        Take some bytes; the request, once it is complete.

        :raises SocksBroken: after which :meth:`to_send` may have an answer, and
            the connection is to be closed.
        """
        if self._state is _State.DONE:
            raise SocksBroken("more came before the answer to the request")
        self._buffer += data
        try:
            request: SocksRequest | None = None
            while request is None:
                request = self._step()
            return request
        except _Incomplete:
            if len(self._buffer) > LIMIT:
                self._state = _State.DONE
                raise SocksBroken("a SOCKS request is longer than any can be") from None
        except SocksBroken:
            self._state = _State.DONE
            raise
        return None

    def granted(self) -> bytes:
        """The answer when the connection stands."""
        return b"\0\x5a" + bytes(6) if self._version == 4 else b"\5\0" + _NOWHERE

    def refused(self) -> bytes:
        """The answer when there is no such connection."""
        return b"\0\x5b" + bytes(6) if self._version == 4 else self._reply_5(_NOT_REACHED)

    def _step(self) -> SocksRequest | None:
        match self._state:
            case _State.VERSION:
                self._version = self._octets(0, 1)[0]
                if self._version not in (4, 5):
                    raise SocksBroken("this is not SOCKS 4 or 5")
                self._state = _State.REQUEST_4 if self._version == 4 else _State.METHODS_5
            case _State.REQUEST_4:
                return self._request_4()
            case _State.METHODS_5:
                self._methods_5()
            case _:
                return self._request_5()
        return None

    def _request_4(self) -> SocksRequest:
        head = self._octets(0, 8)
        port = int.from_bytes(head[2:4], "big")
        _, end = self._terminated(8)
        address = ipaddress.IPv4Address(head[4:8])
        host = str(address)
        is_named = 0 < int(address) < 256
        name = b""
        if is_named:
            name, end = self._terminated(end)
        if head[1] != _CONNECT:
            self._to_send += self.refused()
            raise SocksBroken("only connections are served")
        if is_named:
            host = self._name(name, self.refused())
        return self._complete(host, port, end, self.refused())

    def _methods_5(self) -> None:
        count = self._octets(1, 1)[0]
        methods = self._octets(2, count)
        self._buffer = self._buffer[2 + count :]
        if _NO_AUTHENTICATION not in methods:
            self._to_send += _NO_METHOD
            raise SocksBroken("the program insists on logging in")
        self._to_send += b"\5\0"
        self._state = _State.REQUEST_5

    def _request_5(self) -> SocksRequest:
        version, command, _, kind = self._octets(0, 4)
        if version != 5:
            raise SocksBroken("the request is of another version")
        if command != _CONNECT:
            self._to_send += self._reply_5(_NO_COMMAND)
            raise SocksBroken("only connections are served")
        refusal = self._reply_5(_GENERAL)
        if kind == 1:
            host, at = str(ipaddress.IPv4Address(self._octets(4, 4))), 8
        elif kind == 3:
            length = self._octets(4, 1)[0]
            host, at = self._name(self._octets(5, length), refusal), 5 + length
        elif kind == 4:
            host, at = str(ipaddress.IPv6Address(self._octets(4, 16))), 20
        else:
            self._to_send += self._reply_5(_NO_KIND)
            raise SocksBroken("this kind of address is not served")
        port = int.from_bytes(self._octets(at, 2), "big")
        return self._complete(host, port, at + 2, refusal)

    def _complete(self, host: str, port: int, end: int, refusal: bytes) -> SocksRequest:
        if not port:
            self._to_send += refusal
            raise SocksBroken("nobody can be connected to port 0")
        rest, self._buffer = self._buffer[end:], b""
        self._state = _State.DONE
        return SocksRequest(host, port, rest)

    def _name(self, name: bytes, refusal: bytes) -> str:
        text = name.decode("latin-1")
        if not text or not all("!" <= each <= "~" for each in text):
            self._to_send += refusal
            raise SocksBroken("this is not the name of a host")
        return text

    def _octets(self, start: int, count: int) -> bytes:
        if len(self._buffer) < start + count:
            raise _Incomplete
        return self._buffer[start : start + count]

    def _terminated(self, start: int) -> tuple[bytes, int]:
        end = self._buffer.find(0, start, LIMIT)
        if end < 0:
            raise _Incomplete
        return self._buffer[start:end], end + 1

    def _reply_5(self, code: int) -> bytes:
        return bytes((5, code)) + _NOWHERE
