"""
What is forwarded, and how people write it: the values of ``-L``, ``-R`` and ``-D``.

Only words and values; :mod:`mezite.client.localforward` and
:mod:`mezite.client.remoteforward` act on them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from mezite.error import BadInput

# sockaddr_un of Linux holds 108 bytes, with the one that ends it.
_PATH_LIMIT: Final = 107
_NAME_LIMIT: Final = 255
ANYWHERE: Final = "*"
LOOPBACK: Final = "localhost"
# What stands in brackets may have colons.
_FIELD: Final = re.compile(r"\[([^\]]*)\](?=:|$)|([^:\[\]]*)")


@frozen
class TcpAddress:
    """A host and a port; where one listens, the host may be :data:`ANYWHERE`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen
class SocketPath:
    """A unix socket."""

    path: str

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | SocketPath


@frozen
class LocalForward:
    """``-L``, and ``-D`` where ``destination`` is None: each connection then asks by SOCKS."""

    listen: Address
    destination: Address | None


@frozen
class RemoteForward:
    """``-R``; without a destination each connection asks by SOCKS."""

    listen: Address
    destination: Address | None


def parse_local(text: str) -> LocalForward:
    """Read what follows ``-L``."""
    what = "-L takes [BIND:]PORT:HOST:HOSTPORT, with a path for BIND:PORT or HOST:HOSTPORT"
    listen, destination = _split(_fields(text, what), text, what)
    return LocalForward(_listening(listen, text, what), _destination(destination, text, what))


def parse_remote(text: str) -> RemoteForward:
    """Read what follows ``-R``; port 0 lets the node choose."""
    what = "-R takes [BIND:]PORT[:HOST:HOSTPORT], with a path for BIND:PORT or HOST:HOSTPORT"
    fields = _fields(text, what)
    if len(fields) == 1 or (len(fields) == 2 and not any(map(_is_path, fields))):
        return RemoteForward(_listening(fields, text, what, least_port=0), None)
    listen, destination = _split(fields, text, what)
    return RemoteForward(
        _listening(listen, text, what, least_port=0), _destination(destination, text, what)
    )


def parse_dynamic(text: str) -> LocalForward:
    """Read what follows ``-D``."""
    what = "-D takes [BIND:]PORT"
    fields = _fields(text, what)
    if len(fields) > 2 or _is_path(fields[0]):
        raise _bad(text, what)
    return LocalForward(_listening(fields, text, what), None)


def parse_destination(text: str) -> Address:
    """Read what follows ``-W``."""
    what = "-W takes HOST:PORT"
    return _destination(_fields(text, what), text, what)


def _fields(text: str, what: str) -> list[str]:
    fields: list[str] = []
    at = 0
    while True:
        match = _FIELD.match(text, at)
        assert match is not None
        bracketed, plain = match.groups()
        fields.append(plain if bracketed is None else bracketed)
        at = match.end()
        if at == len(text):
            return fields
        if text[at] != ":":
            raise _bad(text, what)
        at += 1


def _is_path(field: str) -> bool:
    return field.startswith("/")


def _split(fields: list[str], text: str, what: str) -> tuple[list[str], list[str]]:
    count = 1 if len(fields) > 1 and _is_path(fields[-1]) else 2
    if not 1 <= len(fields) - count <= 2:
        raise _bad(text, what)
    return fields[:-count], fields[-count:]


def _listening(fields: Sequence[str], text: str, what: str, *, least_port: int = 1) -> Address:
    if len(fields) == 1 and _is_path(fields[0]):
        return _path(fields[0], text, what)
    host = fields[0] or ANYWHERE if len(fields) == 2 else LOOPBACK
    return TcpAddress(_host(host, text, what), _port(fields[-1], text, what, least_port))


def _destination(fields: Sequence[str], text: str, what: str) -> Address:
    if len(fields) == 1 and _is_path(fields[0]):
        return _path(fields[0], text, what)
    if len(fields) != 2:
        raise _bad(text, what)
    return TcpAddress(_host(fields[0], text, what), _port(fields[1], text, what, 1))


def _path(field: str, text: str, what: str) -> SocketPath:
    if len(field.encode("utf-8", "surrogateescape")) > _PATH_LIMIT or "\0" in field:
        raise BadInput(f"the path of a socket has at most {_PATH_LIMIT} bytes: {field[:200]!r}")
    return SocketPath(field)


def _host(field: str, text: str, what: str) -> str:
    if not 0 < len(field) <= _NAME_LIMIT or not all("!" <= each <= "~" for each in field):
        raise _bad(text, what)
    return field


def _port(field: str, text: str, what: str, least: int) -> int:
    if not (field.isascii() and field.isdigit() and least <= int(field[:6]) < 65536):
        raise _bad(text, what)
    return int(field)


def _bad(text: str, what: str) -> BadInput:
    return BadInput(f"{text[:200]!r} cannot be forwarded: {what}")
