"""
The way out through a forward proxy: which one, and what is said to it.

Companies let machines out through an HTTP proxy (CONNECT, RFC 9110, section
9.3.6) or SOCKS 5 (RFC 1928, RFC 1929), named by ``HTTPS_PROXY`` and excepted by
``NO_PROXY`` as curl(1) reads them. Bytes in, bytes out; the standard library
only, since ``msh proxy ssh`` starts with every connection of OpenSSH's.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from mezite.error import BadInput, RemoteError, Unavailable
from mezite.wire.answerhead import NoAnswer, answer_head

VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
_DEFAULT_PORTS: Final = {"http": 80, "socks5": 1080, "socks5h": 1080}
# RFC 1928, section 4, and RFC 1929, section 2: lengths of names and secrets are one octet.
_SOCKS_LENGTH: Final = 255
_NOTHING, _PASSWORD, _NO_METHOD = 0, 2, 0xFF
_SOCKS_REASONS: Final = {
    1: "it failed",
    2: "its rules do not allow it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the connection was refused",
    6: "it took too long",
    7: "it does not connect for others",
    8: "it does not take this kind of address",
}


class ProxyRefused(Unavailable):
    """The proxy answered, and not with a connection."""


class ProxyBroken(RemoteError):
    """What answered is not the proxy that it is said to be."""


class ForwardProxy:
    """One proxy, from the environment."""

    __slots__ = ("host", "kind", "password", "port", "user")

    def __init__(self, kind: str, host: str, port: int, user: str, password: str) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self.user = user
        self.password = password

    def __str__(self) -> str:
        """Without the password, for sentences."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"

    __repr__ = __str__

    def conversation(self, host: str, port: int) -> Conversation:
        """What is to be said for a connection to there."""
        kind = _HttpConnect if self.kind == "http" else _Socks5
        return kind(self, host, port)


def proxy_for(host: str, port: int, environ: Mapping[str, str]) -> ForwardProxy | None:
    """
    The proxy through which this place is reached; None to go there directly.

    This machine's own addresses are never asked of a proxy.

    :raises BadInput: the environment names what is no proxy of ours.
    """
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost") or _is_loopback(name):
        return None
    variable = next((each for each in VARIABLES if environ.get(each)), None)
    if variable is None:
        return None
    exceptions = next((environ[each] for each in EXCEPTIONS if environ.get(each)), "")
    if any(_covers(each, name, port) for each in exceptions.replace(",", " ").split()):
        return None
    return parse_proxy(environ[variable], variable)


def parse_proxy(text: str, variable: str) -> ForwardProxy:
    """
    Read ``http://[USER:PASSWORD@]HOST[:PORT]``, or ``socks5://``, or a bare ``HOST:PORT``.

    :raises BadInput: which does not repeat the text, since it may hold a password.
    """
    sentence = f"{variable} is not a proxy: write http://HOST:PORT or socks5://HOST:PORT"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        raise BadInput(sentence) from None
    kind = parts.scheme.lower()
    if kind == "https":
        raise BadInput(f"{variable} asks for TLS to the proxy itself, which is not supported")
    if kind not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
        raise BadInput(sentence)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if len(user.encode()) > _SOCKS_LENGTH or len(password.encode()) > _SOCKS_LENGTH:
        raise BadInput(f"{variable} has a name or a password of more than {_SOCKS_LENGTH} octets")
    if not (user + password).isprintable() or ":" in user:
        raise BadInput(sentence)
    kind = "socks5" if kind == "socks5h" else kind
    return ForwardProxy(kind, parts.hostname, port or _DEFAULT_PORTS[kind], user, password)


class Conversation:
    """
    What is said with one proxy.

    First the bytes of :meth:`begin` are sent, then whatever :meth:`receive`
    returns, until ``is_open``; ``rest`` came behind the proxy's last word.
    """

    __slots__ = ("_buffer", "_host", "_port", "_proxy", "is_open", "rest")

    def __init__(self, proxy: ForwardProxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._host = host
        self._port = port
        self._buffer = b""
        self.is_open = False
        self.rest = b""

    def begin(self) -> bytes:
        raise NotImplementedError

    def receive(self, data: bytes) -> bytes:
        """
        Take the proxy's next bytes, and return what to answer.

        :raises ProxyRefused:
        :raises ProxyBroken:
        """
        raise NotImplementedError

    def _refused(self, why: str) -> ProxyRefused:
        return ProxyRefused(f"the proxy {self._proxy} does not connect to {self._where()}: {why}")

    def _broken(self) -> ProxyBroken:
        return ProxyBroken(f"what answers at {self._proxy} is no such proxy")

    def _where(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    def _opened(self, rest: bytes) -> bytes:
        self.is_open, self.rest, self._buffer = True, rest, b""
        return b""


class _HttpConnect(Conversation):
    __slots__ = ()

    def begin(self) -> bytes:
        lines = [f"CONNECT {self._where()} HTTP/1.1", f"Host: {self._where()}"]
        if self._proxy.user:
            secret = f"{self._proxy.user}:{self._proxy.password}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(secret).decode()}")
        return "\r\n".join([*lines, "", ""]).encode()

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        try:
            found = answer_head(self._buffer)
        except NoAnswer:
            raise self._broken() from None
        if found is None:
            return b""
        head, rest = found
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if len(words) < 2 or len(words[1]) != 3 or not words[1].isdigit():
            raise self._broken()
        if words[1] == "407":
            raise self._refused("it wants another name and password, as in http://USER:PASSWORD@…")
        if not words[1].startswith("2"):
            raise self._refused(_printable(" ".join(words[1:])))
        return self._opened(rest)


class _Socks5(Conversation):
    __slots__ = ("_read",)

    def __init__(self, proxy: ForwardProxy, host: str, port: int) -> None:
        super().__init__(proxy, host, port)
        self._read = self._method

    def begin(self) -> bytes:
        return b"\x05\x02\x00\x02" if self._proxy.user else b"\x05\x01\x00"

    def receive(self, data: bytes) -> bytes:
        self._buffer += data
        answer = b""
        while not self.is_open and (said := self._read()) is not None:
            answer += said
        return answer

    def _method(self) -> bytes | None:
        """RFC 1928, section 3."""
        if not b"\x05".startswith(self._buffer[:1]):
            raise self._broken()
        if len(self._buffer) < 2:
            return None
        method, self._buffer = self._buffer[1], self._buffer[2:]
        if method == _NOTHING:
            self._read = self._reply
            return self._request()
        if method == _PASSWORD and self._proxy.user:
            self._read = self._admission
            user, password = self._proxy.user.encode(), self._proxy.password.encode()
            return bytes([1, len(user)]) + user + bytes([len(password)]) + password
        if method == _NO_METHOD:
            raise self._refused(
                "it wants another name and password, as in socks5://USER:PASSWORD@…"
            )
        raise self._broken()

    def _admission(self) -> bytes | None:
        """RFC 1929, section 2."""
        if len(self._buffer) < 2:
            return None
        status, self._buffer = self._buffer[1], self._buffer[2:]
        if status:
            raise self._refused("it does not take this name and password")
        self._read = self._reply
        return self._request()

    def _request(self) -> bytes:
        """RFC 1928, section 4: names go as names, for the proxy to resolve."""
        try:
            address = ipaddress.ip_address(self._host)
        except ValueError:
            name = self._host.encode("idna" if not self._host.isascii() else "ascii")
            place = bytes([3, len(name)]) + name
        else:
            place = bytes([1 if address.version == 4 else 4]) + address.packed
        return b"\x05\x01\x00" + place + self._port.to_bytes(2, "big")

    def _reply(self) -> bytes | None:
        """RFC 1928, section 6; the address in it says nothing to us."""
        data = self._buffer
        if not b"\x05".startswith(data[:1]):
            raise self._broken()
        # Some say no in two octets, or with an address that is none, and hang up.
        if len(data) >= 2 and data[1]:
            raise self._refused(_SOCKS_REASONS.get(data[1], f"it says {data[1]}"))
        if len(data) < 5:
            return None
        if data[3] not in (1, 3, 4):
            raise self._broken()
        length = {1: 4, 3: 1 + data[4], 4: 16}[data[3]]
        end = 4 + length + 2
        return None if len(data) < end else self._opened(data[end:])


def _covers(exception: str, name: str, port: int) -> bool:
    """Whether one word of ``NO_PROXY`` means this place."""
    word = exception.lower()
    if word == "*":
        return True
    host, colon, digits = word.rpartition(":")
    if colon and digits.isascii() and digits.isdigit() and (":" not in host or host.endswith("]")):
        if int(digits[:6]) != port:
            return False
        word = host
    word = word.strip("[]").removeprefix("*").strip(".")
    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(word, strict=False)
    except ValueError:
        return bool(word) and (name == word or name.endswith(f".{word}"))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:120])
