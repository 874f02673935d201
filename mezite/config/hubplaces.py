"""
Where an agent finds its hub: addresses, and names of SRV records that hold some.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from mezite.config.document import Value
from mezite.config.settings import texts
from mezite.names import HostPort

# Fits beside other servers on one machine; production puts 443 in its place.
DEFAULT_PORT: Final = 3080
# They are tried one after the other, each for ten seconds at most.
PLACES: Final = 8
_PREFIX: Final = "srv:"
# RFC 2782: _service._proto.name, of labels of 63 octets at most.
_SRV: Final = re.compile(r"_[a-z0-9-]{1,62}\._tcp(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
_NAME_LENGTH: Final = 253


@frozen
class SrvName:
    """The name of SRV records, as in ``_mezite._tcp.example.com``."""

    text: str

    def __str__(self) -> str:
        return f"{_PREFIX}{self.text}"


HubPlace = HostPort | SrvName


def parse_place(text: str) -> HubPlace:
    """Read ``HOST:PORT`` or ``srv:_mezite._tcp.example.com``."""
    if text.startswith(_PREFIX):
        name = text.removeprefix(_PREFIX).lower().removesuffix(".")
        if len(name) > _NAME_LENGTH or not _SRV.fullmatch(name):
            raise ValueError(
                f"{text[:80]!r} is not the name of SRV records: write srv:_mezite._tcp.example.com"
            )
        return SrvName(name)
    address = HostPort.parse(text, default_port=DEFAULT_PORT)
    if address.port == 0:
        raise ValueError(f"{text[:80]!r} is no address to connect to: port 0 does not exist")
    return address


def hub_places(value: Value) -> tuple[HubPlace, ...]:
    """Each once, in the order in which they were given."""
    places = tuple(dict.fromkeys(parse_place(text) for text in texts(value)))
    if len(places) > PLACES:
        raise ValueError(f"at most {PLACES} addresses are accepted")
    if not places:
        raise ValueError("it is empty; leave it out to use the default")
    return places
