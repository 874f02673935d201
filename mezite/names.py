"""
The names that everything goes by, parsed once and trusted after.

Each class holds text that its :meth:`parse` has checked; all of them raise
:class:`InvalidName`, whose sentence says what is accepted.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Final, Self

from attrs import frozen

from mezite.error import BadInput

# RFC 1123, section 2.1: labels of letters, digits and hyphens, 63 octets each.
_HOST_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
# RFC 1035, section 2.3.4, less what "auth." and the hub's own name add to it in SNI.
_HOST_NAME_LENGTH: Final = 190
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
# useradd(8): 32 octets; the trailing dollar is Samba's machine accounts.
_LOGIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,30}[$]?")
_ROLE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?"
)
# Of IPv6, the name of an interface: IFNAMSIZ is 16, with the zero at the end.
_ZONE: Final = re.compile(r"[A-Za-z0-9._@-]{1,15}")
_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_LABEL_VALUE_LENGTH: Final = 255
# A node's labels travel in every heartbeat; 64 of the longest stay below 21 KB.
LABELS_PER_NODE: Final = 64


class InvalidName(BadInput, ValueError):
    """Text that cannot be the name it is meant to be."""


def _host_name(text: str, what: str) -> str:
    name = text.strip().rstrip(".").lower()
    if not name or len(name) > _HOST_NAME_LENGTH:
        raise InvalidName(f"a {what} has 1 to {_HOST_NAME_LENGTH} characters")
    if not all(_HOST_LABEL.fullmatch(label) for label in name.split(".")):
        raise InvalidName(
            f"{text!r} is not a {what}: use letters, digits and hyphens, in parts joined by dots"
        )
    if name.rsplit(".", 1)[-1].isdigit():
        raise InvalidName(f"{text!r} is not a {what}: it reads as a number or an IP address")
    return name


@frozen(order=True)
class ClusterName:
    """The name of a cluster, a host name by form; it stands in every certificate."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(_host_name(text, "cluster name"))

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class NodeName:
    """The host name of a node, in lower case (RFC 1123)."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(_host_name(text, "node name"))

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class AgentId:
    """The id that the auth service gave to an agent when it joined: a UUID."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            parsed: str | None = str(uuid.UUID(text))
        except ValueError:
            parsed = None
        if parsed != text:
            raise InvalidName(f"{text[:80]!r} is not an agent id: it is a UUID in lower case")
        return cls(text)

    @classmethod
    def new(cls) -> Self:
        """A fresh id, from 122 random bits (RFC 9562, section 5.4)."""
        return cls(str(uuid.uuid4()))

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class UserName:
    """The name of a person."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _USER.fullmatch(text):
            raise InvalidName(
                f"{text[:80]!r} is not a user name: use 1 to 64 letters, digits and . _ @ + -"
            )
        return cls(text)

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class LoginName:
    """The name of an account on a machine."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _LOGIN.fullmatch(text):
            raise InvalidName(
                f"{text[:80]!r} is not a login: use 1 to 32 letters, digits and . _ @ -,"
                " beginning with a letter"
            )
        return cls(text)

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class RoleName:
    """The name of a role, in lower case."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _ROLE.fullmatch(text):
            raise InvalidName(
                f"{text[:80]!r} is not the name of a role: use 1 to 63 small letters, digits"
                " and . _ -, beginning with a letter or digit"
            )
        return cls(text)

    def __str__(self) -> str:
        return self.text


@frozen(order=True)
class HostPort:
    """Where to connect: a host name or an IP address without brackets, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, default_port: int | None = None) -> Self:
        """Read ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``."""
        problem = InvalidName(f"{text[:80]!r} is not an address: write HOST:PORT or [IPV6]:PORT")
        match = _HOST_PORT.fullmatch(text)
        if match is None:
            raise problem
        host = match["six"] or match["host"]
        port = int(match["port"]) if match["port"] is not None else default_port
        if not host or port is None or not 0 <= port <= 65535:
            raise problem
        if match["six"]:
            try:
                address = ipaddress.IPv6Address(host)
            except ValueError:
                raise problem from None
            # ipaddress takes it as it is, also what a terminal or a log would obey.
            if address.scope_id is not None and not _ZONE.fullmatch(address.scope_id):
                raise problem
            host = str(address)
        elif not is_address(host):
            try:
                host = _host_name(host, "host name")
            except InvalidName:
                raise problem from None
        return cls(host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_address(host: str) -> bool:
    """Whether this is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def network_of(address: str) -> str:
    """
    Who is one at an address, for counting: an IPv4 address, or a network of IPv6.

    One household has 2**64 addresses of IPv6. What is no address stays as it is.
    """
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``key=value`` texts; the last of two with one key wins."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidName(f"{pair[:80]!r} is not a label: write KEY=VALUE")
        labels[key] = value
    return check_labels(labels)


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """These labels, once their number, keys and values have been checked."""
    if len(labels) > LABELS_PER_NODE:
        raise InvalidName(f"a node has at most {LABELS_PER_NODE} labels")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidName(
                f"{key[:80]!r} is not a label's key: use 1 to 63 letters, digits and . _ / -"
            )
        if len(value) > _LABEL_VALUE_LENGTH or not value.isprintable():
            raise InvalidName(
                f"the value of label {key} is not printable,"
                f" or longer than {_LABEL_VALUE_LENGTH} characters"
            )
    return dict(labels)
