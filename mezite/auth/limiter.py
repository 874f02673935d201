"""
How soon somebody who failed to log in may try again.

A :class:`FailureLimiter` counts failures three times: by user and network
together, by network over all users, and by user over all networks. Nothing is
ever locked. Who guesses waits; the one who is guessed at does not, where they
logged in lately, and a few seconds elsewhere, however many guess meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

from attrs import define, field

from mezite.auth.error import TooManyFailures
from mezite.names import network_of

# A person mistypes a few times; a program that starts some logins at once for
# the same user counts, until they succeed, as so many failures.
FREE_FAILURES: Final = 5
# Two guesses a minute; a person who waits this long is annoyed, not locked out.
LONGEST_DELAY: Final = 30.0
FORGET_AFTER: Final = 15 * 60.0

# An office behind one address mistypes more, and 16 of it may be under way at once
# (TRIES_OF_ONE_NETWORK of mezite.auth.login), which count until they succeed.
FREE_OF_NETWORK: Final = 32
# Guesses at one user from everywhere, before each place they come from has to wait.
FREE_OF_USER: Final = 20
# So short that nobody is kept out by it; each network waits it by itself, so a
# thousand of them that guess cannot use up the turn of one that does not.
LONGEST_DELAY_OF_USER: Final = 5.0
# These two counts forget a failure this often, so that they end soon after an attack.
FORGET_ONE_AFTER: Final = 30.0
# 2**6 exceeds every delay; counting further would only prolong the forgetting.
_BEYOND: Final = 6

# A user's place of work, home, telephone and some travels; and how long they count.
NETWORKS_PER_USER: Final = 8
KNOWN_FOR: Final = 30 * 86400.0

# 10,000 entries of about 300 octets are 3 MB a table. Who pushes their own entry out
# must first make 10,000 tries, and each of them costs a password hash.
ENTRIES_LIMIT: Final = 10_000

_Key = tuple[str, str]
K = TypeVar("K")
V = TypeVar("V")


@define
class _Entry:
    failures: int
    latest: float


@define
class _Draining:
    """A count that goes down by itself."""

    free: int
    longest: float
    count: float = 0.0
    latest: float = 0.0

    def delay(self, now: float) -> float:
        beyond = self.at(now) - self.free
        return min(self.longest, 2.0 ** min(beyond, _BEYOND)) if beyond >= 0 else 0.0

    def at(self, now: float) -> float:
        # A clock that is set back forgets everything.
        elapsed = now - self.latest
        return max(0.0, self.count - elapsed / FORGET_ONE_AFTER) if elapsed >= 0 else 0.0

    def add(self, now: float) -> None:
        self.count = min(self.at(now) + 1, self.free + _BEYOND)
        self.latest = now


@define(eq=False)
class FailureLimiter:
    """Tables of who failed lately. Each try is a failure until it is said to be none."""

    _entries: OrderedDict[_Key, _Entry] = field(init=False, factory=OrderedDict)
    _networks: OrderedDict[str, _Draining] = field(init=False, factory=OrderedDict)
    _users: OrderedDict[str, _Draining] = field(init=False, factory=OrderedDict)
    # Since when somebody waits for their turn at a user whom many guess at.
    _turns: OrderedDict[_Key, float] = field(init=False, factory=OrderedDict)
    # From where each user succeeded lately, and when.
    _known: OrderedDict[str, OrderedDict[str, float]] = field(init=False, factory=OrderedDict)

    def begin(self, user: str, address: str, now: float) -> None:
        """
        Count a try that begins now.

        It is counted before it is known to fail, since a hundred tries that
        run at once must not all pass as the first.

        :raises TooManyFailures: it must not be made now.
        """
        key = name, network = _key(user, address)
        entry = self._entries.get(key)
        if entry is None or not 0 <= now - entry.latest < FORGET_AFTER:
            entry = _Entry(0, now)
        wait = entry.latest + _delay(entry.failures) - now
        of_network = self._networks.get(network) or _Draining(FREE_OF_NETWORK, LONGEST_DELAY)
        of_user = self._users.get(name) or _Draining(FREE_OF_USER, LONGEST_DELAY_OF_USER)
        if not self._is_known(name, network, now):
            if (delay := of_network.delay(now)) > 0:
                wait = max(wait, of_network.latest + delay - now)
            if (delay := of_user.delay(now)) > 0:
                wait = max(wait, self._turn(key, now) + delay - now)
        if wait > 0:
            raise TooManyFailures(wait)
        self._turns.pop(key, None)
        entry.failures += 1
        entry.latest = now
        of_network.add(now)
        of_user.add(now)
        _keep(self._entries, key, entry)
        _keep(self._networks, network, of_network)
        _keep(self._users, name, of_user)

    def succeeded(self, user: str, address: str, now: float) -> None:
        """The one who tried is who they say: forget their failures, and know them there."""
        key = name, network = _key(user, address)
        self._uncount(key)
        self._entries.pop(key, None)
        known = self._known.get(name) or OrderedDict[str, float]()
        known.pop(network, None)
        known[network] = now
        while len(known) > NETWORKS_PER_USER:
            known.popitem(last=False)
        _keep(self._known, name, known)

    def withdraw(self, user: str, address: str) -> None:
        """A try came to no end, by no fault of theirs."""
        key = _key(user, address)
        self._uncount(key)
        if (entry := self._entries.get(key)) is None:
            return
        entry.failures -= 1
        if entry.failures <= 0:
            del self._entries[key]

    def __len__(self) -> int:
        tables = (self._entries, self._networks, self._users, self._turns, self._known)
        return max(len(table) for table in tables)

    def _is_known(self, name: str, network: str, now: float) -> bool:
        known = self._known.get(name)
        since = None if known is None else known.get(network)
        return since is not None and 0 <= now - since < KNOWN_FOR

    def _turn(self, key: _Key, now: float) -> float:
        """When this one began to wait."""
        since = self._turns.get(key)
        if since is None or since > now:
            since = now
            _keep(self._turns, key, since)
        return since

    def _uncount(self, key: _Key) -> None:
        name, network = key
        for table, each in ((self._networks, network), (self._users, name)):
            if (counted := table.get(each)) is None:
                continue
            counted.count -= 1
            if counted.count <= 0:
                del table[each]


def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > ENTRIES_LIMIT:
        table.popitem(last=False)


def _delay(failures: int) -> float:
    if failures < FREE_FAILURES:
        return 0.0
    return float(min(LONGEST_DELAY, 2 ** min(failures - FREE_FAILURES, 16)))


def _key(user: str, address: str) -> _Key:
    return user[:64], network_of(address)
