"""
The header by which a load balancer says who it speaks for.

Versions 1 and 2 of HAProxy's PROXY protocol (proxy-protocol.txt), from any
chunks. Whether a peer may send one at all is decided before: the header proves
nothing, so only configured sources are believed.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from attrs import define, field, frozen

from mezite.error import RemoteError
from mezite.names import HostPort

# Section 2.1: 107 octets with the line's end.
_LINE_LENGTH: Final = 107
# Section 2.2: "\r\n\r\n\0\r\nQUIT\n", which is neither text nor TLS.
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_LENGTH: Final = 16
# Addresses of unix sockets take 216 octets; a balancer's notes on a client's certificate, more.
# Ours must fit into what one read brings from any balancer.
_REST_LENGTH: Final = 4096
_LOCAL, _PROXY = 0x20, 0x21
# The family and protocol of section 2.2 to the length of one address.
_ADDRESS_LENGTHS: Final = {0x11: 4, 0x21: 16}
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


class BadProxyHeader(RemoteError):
    """A trusted balancer did not begin with a header of the PROXY protocol."""


@frozen
class ProxyHeader:
    """Whom a balancer speaks for; None when it speaks for itself, as in a health check."""

    source: HostPort | None


@define
class ProxyHeaderReader:
    """Reads one header, from whatever chunks it comes in."""

    _received: bytes = field(init=False, default=b"")

    def receive(self, data: bytes) -> tuple[ProxyHeader, bytes] | None:
        """
        Take the next bytes: None if the header is not whole yet, else it and what follows.

        :raises BadProxyHeader: also as soon as it cannot become a header.
        """
        self._received += data
        # The signatures share no first octet, so one octet tells.
        if self._received[:1] == b"P":
            return self._line()
        return self._binary()

    def _line(self) -> tuple[ProxyHeader, bytes] | None:
        head = self._received[:_LINE_LENGTH]
        end = head.find(b"\r\n")
        if not b"PROXY ".startswith(head[:6]):
            raise BadProxyHeader("it begins with P, but not with PROXY")
        if end < 0:
            if len(head) == _LINE_LENGTH:
                raise BadProxyHeader(f"its line has more than {_LINE_LENGTH} octets")
            return None
        return ProxyHeader(_source_of_line(head[:end])), self._received[end + 2 :]

    def _binary(self) -> tuple[ProxyHeader, bytes] | None:
        head = self._received[:_FIXED_LENGTH]
        if not _SIGNATURE.startswith(head[: len(_SIGNATURE)]):
            raise BadProxyHeader("it begins with no PROXY header")
        if len(head) < _FIXED_LENGTH:
            return None
        command, family = head[12], head[13]
        if command not in (_LOCAL, _PROXY):
            raise BadProxyHeader(f"its version and command are {command:#04x}")
        length = int.from_bytes(head[14:16], "big")
        if length > _REST_LENGTH:
            raise BadProxyHeader(f"its addresses and notes have {length} octets")
        end = _FIXED_LENGTH + length
        if len(self._received) < end:
            return None
        rest = self._received[_FIXED_LENGTH:end]
        source = None if command == _LOCAL else _source_of_octets(family, rest)
        return ProxyHeader(source), self._received[end:]


def _source_of_line(line: bytes) -> HostPort | None:
    try:
        words = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise BadProxyHeader("its line is not ASCII") from None
    if words[1] == "UNKNOWN":
        # Section 2.1: what follows is to be ignored.
        return None
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise BadProxyHeader("its line does not name two addresses and two ports of TCP")
    if b"%" in line:
        # A zone of IPv6, which may hold anything, means something on the balancer alone.
        raise BadProxyHeader("its line has an address with a zone")
    version = 4 if words[1] == "TCP4" else 6
    try:
        # Both are read, though one is used: half a header is none.
        source, _ = (ipaddress.ip_address(word) for word in words[2:4])
        source_port, _ = (_port(word) for word in words[4:6])
    except ValueError:
        raise BadProxyHeader("its line has an address or a port that is none") from None
    if source.version != version:
        raise BadProxyHeader(f"its line says {words[1]}, and its address is of another family")
    return HostPort(str(source), source_port)


def _port(word: str) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise ValueError
    return int(word)


def _source_of_octets(family: int, rest: bytes) -> HostPort | None:
    length = _ADDRESS_LENGTHS.get(family)
    if length is None:
        # Unix sockets, UDP, or unspecified: section 2.2 lets us use the connection's own.
        return None
    if len(rest) < 2 * length + 4:
        raise BadProxyHeader("its addresses are cut short")
    source = ipaddress.ip_address(rest[:length])
    return HostPort(str(source), int.from_bytes(rest[2 * length : 2 * length + 2], "big"))
