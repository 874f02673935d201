"""
Whom a request counts as coming from, if a balancer asks for somebody.

Owns the reading of ``X-Forwarded-For``. Who is believed is a setting; PROXY
headers, which come before TLS, are :mod:`mezite.hub.proxied`'s.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.web.server import Request

from mezite.identity.networks import Networks, lies_in

# Each balancer on the way adds one address.
_FORWARDERS: Final = 16


def client_of(request: Request, forwarders: Networks) -> IAddress:
    """
    The last address on the way that is none of the ``forwarders``, which are believed.

    What a client says of itself in ``X-Forwarded-For`` stands to the left of
    what balancers add, and is never reached.
    """
    peer: IAddress = request.getClientAddress()
    if not _is_one_of(forwarders, str(getattr(peer, "host", ""))):
        return peer
    values = request.requestHeaders.getRawHeaders(b"x-forwarded-for") or []
    forwarded = b", ".join(values).decode("latin-1").split(",")
    for place in reversed(forwarded[-_FORWARDERS:]):
        try:
            address = ipaddress.ip_address(place.strip().strip("[]"))
        except ValueError:
            break
        if "%" in place:
            # A zone of IPv6 may hold anything, and comes to stand in the audit.
            break
        if not _is_one_of(forwarders, str(address)):
            kind = IPv6Address if address.version == 6 else IPv4Address
            return kind("TCP", str(address), 0)
    return peer


def _is_one_of(networks: Networks, address: str) -> bool:
    return bool(networks) and lies_in(networks, address)
