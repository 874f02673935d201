"""
Networks of IP addresses: where people may come from.

An address of IPv4 that came through IPv6 is taken for what it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from mezite.error import BadInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = tuple[Network, ...]

# "ffff:…:ffff/128", with the longest spelling of IPv6 that there is (RFC 4291, section 2.2).
_LENGTH: Final = 49


def parse_network(text: str) -> Network:
    """
    Read ``10.0.0.0/8``, ``2001:db8::/32``, or one address.

    :raises BadInput: also if there are bits behind the prefix, which nobody means.
    """
    try:
        if len(text) > _LENGTH:
            raise ValueError
        return ipaddress.ip_network(text)
    except ValueError:
        raise BadInput(
            f"{text[:80]!r} is not a network: write 10.0.0.0/8, 2001:db8::/32 or one address"
        ) from None


def overlap(one: Networks | None, other: Networks | None) -> Networks | None:
    """
    What lies in both; ``None`` is everywhere, and no networks are nowhere.

    Of two networks, one lies in the other or they have nothing in common.
    """
    if one is None or other is None:
        return other if one is None else one
    return _merged(
        narrower
        for first in one
        for second in other
        if (narrower := _narrower(first, second)) is not None
    )


def lies_in(networks: Networks | None, address: str) -> bool:
    """Whether an address lies in one of these; what is no address lies nowhere in particular."""
    if networks is None:
        return True
    parsed = plain_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that this text is, if it is one."""
    try:
        parsed = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _narrower(one: Network, other: Network) -> Network | None:
    if one.version != other.version or not one.overlaps(other):
        return None
    return one if one.prefixlen >= other.prefixlen else other


def _merged(networks: Iterable[Network]) -> Networks:
    found = tuple(networks)
    four = [each for each in found if isinstance(each, ipaddress.IPv4Network)]
    six = [each for each in found if isinstance(each, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))
