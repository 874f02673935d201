"""
What somebody has begun and not finished, kept in memory for some minutes.

Whoever began it begins again after a restart of the hub.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from attrs import define, field

# Each was begun with a password or an invite that was right; ten thousand at once are a
# whole company. Of about 400 octets each.
LIMIT: Final = 10_000
# Long enough to find the telephone and install an app.
LIFETIME: Final = 10 * 60.0

T = TypeVar("T")


@define(eq=False)
class Pending(Generic[T]):
    """One thing for each key; the newest counts."""

    _kept: OrderedDict[str, tuple[float, T]] = field(init=False, factory=OrderedDict)

    def put(self, key: str, value: T, now: float) -> None:
        """Keep this in place of what the key had; beyond the bound the oldest goes."""
        self._kept.pop(key, None)
        self._kept[key] = (now, value)
        while len(self._kept) > LIMIT:
            self._kept.popitem(last=False)

    def get(self, key: str, now: float) -> T | None:
        """What the key has, unless it has expired."""
        since, value = self._kept.get(key, (None, None))
        return value if since is not None and 0 <= now - since < LIFETIME else None

    def take(self, key: str, now: float) -> T | None:
        """The same, and it is gone."""
        value = self.get(key, now)
        self._kept.pop(key, None)
        return value

    def __len__(self) -> int:
        return len(self._kept)
