"""
Addresses that have lately sent to the port what is no TLS.

Each such connection costs a millisecond, most of it to make ready for what
never comes. :class:`Offenders` counts them, and forgets with time; a connection
is closed before anything is made for it while its address has had too many.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

# Scanners and a person's mistakes: so many at once,
BURST: Final = 100
# and so many a second for good. A health check that only connects is none.
PER_SECOND: Final = 10.0
# Addresses, or networks of IPv6, that are known at once. Who has more of them is not stopped
# by counting; handshakes have bounds of their own.
_KNOWN: Final = 4096


@define(eq=False)
class Offenders:
    """What each network has against it: as much as a leaking bucket holds."""

    # What is in it, and when that was.
    _levels: dict[str, tuple[float, float]] = field(init=False, factory=dict)

    def blame(self, network: str, now: float) -> None:
        """A connection from there sent what is no TLS."""
        level = self._level(network, now)
        # It counts as the last one heard of.
        self._levels.pop(network, None)
        if len(self._levels) >= _KNOWN:
            del self._levels[next(iter(self._levels))]
        self._levels[network] = (min(level + 1, BURST + PER_SECOND), now)

    def are_too_many(self, network: str, now: float) -> bool:
        """Whether connections from there are to be closed at once."""
        if network not in self._levels:
            return False
        level = self._level(network, now)
        if not level:
            del self._levels[network]
        return level >= BURST

    def _level(self, network: str, now: float) -> float:
        level, since = self._levels.get(network, (0.0, now))
        return max(0.0, level - PER_SECOND * (now - since))
