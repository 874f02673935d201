"""
How soon somebody who failed to log in may try again.

A :class:`FailureLimiter` counts failures by user and address together, so that
one who guesses delays nobody elsewhere. Nothing is ever locked: the delay has a
ceiling, and is forgotten after a success or a quiet while.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

from mezite.auth.error import TooManyFailures
from mezite.names import network_of

# A person mistypes a few times; a program that starts some logins at once for
# the same user counts, until they succeed, as so many failures.
FREE_FAILURES: Final = 5
# Two guesses a minute; a person who waits this long is annoyed, not locked out.
LONGEST_DELAY: Final = 30.0
FORGET_AFTER: Final = 15 * 60.0
# 10,000 entries of about 300 octets are 3 MB. Who pushes their own entry out
# must first make 10,000 tries, and each of them costs a password hash.
ENTRIES_LIMIT: Final = 10_000

_Key = tuple[str, str]


@define
class _Entry:
    failures: int
    latest: float


@define(eq=False)
class FailureLimiter:
    """A table of who failed lately. Each try is a failure until it is said to be none."""

    _entries: OrderedDict[_Key, _Entry] = field(init=False, factory=OrderedDict)

    def begin(self, user: str, address: str, now: float) -> None:
        """
        Count a try that begins now.

        It is counted before it is known to fail, since a hundred tries that
        run at once must not all pass as the first.

        :raises TooManyFailures: it must not be made now.
        """
        key = _key(user, address)
        entry = self._entries.get(key)
        if entry is None or not 0 <= now - entry.latest < FORGET_AFTER:
            entry = self._entries[key] = _Entry(0, now)
        if (wait := entry.latest + _delay(entry.failures) - now) > 0:
            raise TooManyFailures(wait)
        entry.failures += 1
        entry.latest = now
        self._entries.move_to_end(key)
        while len(self._entries) > ENTRIES_LIMIT:
            self._entries.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """The one who tried is who they say: forget their failures."""
        self._entries.pop(_key(user, address), None)

    def withdraw(self, user: str, address: str) -> None:
        """A try came to no end, by no fault of theirs."""
        key = _key(user, address)
        if (entry := self._entries.get(key)) is None:
            return
        entry.failures -= 1
        if entry.failures <= 0:
            del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)


def _delay(failures: int) -> float:
    if failures < FREE_FAILURES:
        return 0.0
    return float(min(LONGEST_DELAY, 2 ** min(failures - FREE_FAILURES, 16)))


def _key(user: str, address: str) -> _Key:
    return user[:64], network_of(address)
