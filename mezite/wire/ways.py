"""
Which way leads to a hub: TLS to its port, or a WebSocket through what ends TLS before it.

:class:`Ways` remembers for each address what worked last. It owns the memory
and the reading of errors; dialing is :mod:`mezite.wire.endpoint`'s.
"""

from __future__ import annotations

import random
from typing import Final

from attrs import define, field

from mezite.names import HostPort
from mezite.wire.error import AlpnLost, HandshakeFailed

# A balancer that is reconfigured, or taken away, is noticed within so many seconds of dials.
_RETEST_SECONDS: Final = 3600.0
# A process dials one hub, or a few addresses of it.
_ADDRESSES: Final = 256

# What OpenSSL says of a peer that is not the hub, in the direct way: another authority's
# certificate, or an alert because it knows neither our ALPN name, nor the server name, nor TLS 1.3.
_SIGNS: Final = (
    "not from an authority",
    "alert no application protocol",
    "alert protocol version",
    "alert handshake failure",
    "unrecognized name",
    "unsupported protocol",
)


@define(eq=False)
class Ways:
    """The addresses at which TLS is ended by somebody before the hub."""

    _retest_at: dict[HostPort, float] = field(init=False, factory=dict)

    def begins_with_upgrade(self, address: HostPort, now: float) -> bool:
        """Whether the upgrade is tried first; the direct way is, once in a while."""
        return self._retest_at.get(address, now) > now

    def upgraded(self, address: HostPort, now: float) -> None:
        """The upgrade led to the hub, and the direct way did not."""
        if len(self._retest_at) >= _ADDRESSES:
            self._retest_at.clear()
        # Not all agents in the same second.
        self._retest_at[address] = now + _RETEST_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311

    def direct(self, address: HostPort) -> None:
        """The direct way led to the hub."""
        self._retest_at.pop(address, None)


# What this process has found out.
WAYS: Final = Ways()


def may_be_a_balancer(error: AlpnLost | HandshakeFailed) -> bool:
    """Whether this is how it looks from here if something before the hub ends TLS."""
    if isinstance(error, AlpnLost):
        return True
    detail = error.detail.lower()
    return any(sign in detail for sign in _SIGNS)
