"""
What a node says of itself: its labels, and what its machine is.

The hub takes it as the node's word: who the node is stands in its certificate,
and labels that the administrator bound to it are the hub's.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from struct import Struct
from typing import Final

from attrs import define, field, frozen

# netlink(7), rtnetlink(7): a dump of all addresses, in messages with attributes.
_MESSAGE: Final = Struct("=IHHII")
_ADDRESS: Final = Struct("=BBBBI")
_ATTRIBUTE: Final = Struct("=HH")
_NLMSG_DONE: Final = 3
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_REQUEST_AND_DUMP: Final = 0x301
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_SCOPE_GLOBAL: Final = 0
# A container host has hundreds, of which nobody reads more than a few.
ADDRESSES_LIMIT: Final = 16
# A dump comes in datagrams of 32 KiB at most; so many hold thousands of addresses.
_DATAGRAMS: Final = 64
_WORD_LENGTH: Final = 80
# Addresses are looked up this often at most; a heartbeat asks more often.
_FRESH_SECONDS: Final = 60.0


@frozen
class MachineFacts:
    """What can be told of the machine without asking anybody."""

    addresses: tuple[str, ...] = ()
    os: str = ""
    arch: str = ""


@frozen
class NodeReport:
    """All that a node says of itself; ``command_labels`` are the keys that commands gave."""

    labels: dict[str, str] = field(factory=dict)
    command_labels: tuple[str, ...] = ()
    facts: MachineFacts = field(factory=MachineFacts)


@define(eq=False)
class Machine:
    """This machine, looked at now and then."""

    monotonic: Callable[[], float]
    _facts: MachineFacts | None = field(init=False, default=None)
    _looked: float = field(init=False, default=0.0)

    def facts(self) -> MachineFacts:
        now = self.monotonic()
        if self._facts is None or now - self._looked >= _FRESH_SECONDS:
            self._looked = now
            self._facts = MachineFacts(own_addresses(), _os_name(), platform.machine()[:32])
        return self._facts


def own_addresses() -> tuple[str, ...]:
    """The addresses of this machine that others could connect to; none where nobody knows."""
    found: list[str] = []
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        ) as kernel:
            # The kernel answers a dump from memory; it is not waited for long.
            kernel.settimeout(1.0)
            body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            length = _MESSAGE.size + len(body)
            kernel.send(_MESSAGE.pack(length, _RTM_GETADDR, _REQUEST_AND_DUMP, 1, 0) + body)
            for _ in range(_DATAGRAMS):
                addresses, is_done = addresses_in(kernel.recv(65536))
                found += addresses
                if is_done:
                    break
    except (OSError, AttributeError):
        pass  # not Linux, or a sandbox that lets nobody ask
    return tuple(dict.fromkeys(found))[:ADDRESSES_LIMIT]


def addresses_in(data: bytes) -> tuple[list[str], bool]:
    """The addresses in one datagram of a dump, and whether it is the last."""
    found: list[str] = []
    for kind, body in _messages(data):
        if kind == _NLMSG_DONE:
            return found, True
        if kind != _RTM_NEWADDR or len(body) < _ADDRESS.size:
            continue
        _, _, _, scope, _ = _ADDRESS.unpack_from(body)
        if scope != _SCOPE_GLOBAL:
            continue  # of this machine, or of one wire, alone
        attributes = dict(_attributes(body[_ADDRESS.size :]))
        # On a link between two machines _IFA_ADDRESS is the other's.
        packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
        if len(packed) in (4, 16):
            found.append(str(ip_address(packed)))
    return found, False


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _MESSAGE.size <= len(data):
        length, kind, *_ = _MESSAGE.unpack_from(data, at)
        if length < _MESSAGE.size or at + length > len(data):
            return
        yield kind, data[at + _MESSAGE.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _os_name() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    text = name or f"{platform.system()} {platform.release()}"
    return "".join(char for char in text if char.isprintable())[:_WORD_LENGTH]
