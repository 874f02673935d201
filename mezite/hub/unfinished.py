"""
Connections whose handshakes are not finished, how many there may be, and who gives way.

:class:`Unfinished` knows each from its first moment until its handshake is over, or
waits for something else. Where all places are taken, an address that has fewer of
them than another is let in all the same: whoever holds more than they finish keeps
themselves out, and nobody else.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from mezite.wire.transport import TLSTransport

# The address that has most gives one up that has not come to its end in so long, the way there
# and back several times included.
YIELDS_AFTER: Final = 2.0
# One address (or network of IPv6) may have one in so many. Not fewer: to a hub behind a
# balancer, all agents are at one address.
SHARE: Final = 2


@define(eq=False)
class Unfinished:
    """So many places for handshakes."""

    at_once: int
    # With when each began, the oldest first.
    _of: dict[str, dict[TLSTransport, float]] = field(init=False, factory=dict)
    _network_of: dict[TLSTransport, str] = field(init=False, factory=dict)

    def __len__(self) -> int:
        return len(self._network_of)

    def has_room(self, network: str, now: float) -> bool:
        """Whether one more from there may begin; another may have been dropped for it."""
        own = len(self._of.get(network, ()))
        # What has no address, as in a test or behind a socket, is no one's alone.
        if network and own >= max(1, self.at_once // SHARE):
            return False
        if len(self) < self.at_once:
            return True
        largest = max(self._of.values(), key=len, default={})
        if len(largest) <= own + 1:
            return False
        oldest, began = next(iter(largest.items()))
        if now - began < YIELDS_AFTER:
            return False
        self.discard(oldest)
        oldest.abortConnection()
        return True

    def add(self, transport: TLSTransport, network: str, now: float) -> None:
        self._of.setdefault(network, {})[transport] = now
        self._network_of[transport] = network

    def discard(self, transport: TLSTransport) -> None:
        """It is finished, over, or counted elsewhere; it may not be known any more."""
        network = self._network_of.pop(transport, None)
        if network is not None:
            del self._of[network][transport]
            if not self._of[network]:
                del self._of[network]
