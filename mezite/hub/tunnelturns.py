"""
The turns that agents take to shake hands, so that a storm of them starves nobody.

A hub that comes back finds ten thousand agents at its door, and people who want to work.
:class:`TunnelTurns` lets a few agents' handshakes begin in each turn of the reactor, and
everybody else's at once. Addresses take turns, too, so that one which sends more than it
finishes keeps nobody else waiting. Who has waited too long, or comes while others do, is hung
up on early, which costs little: agents come again by themselves.
"""

from __future__ import annotations

from collections import Counter, deque
from operator import itemgetter
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mezite.hub.unfinished import SHARE, YIELDS_AFTER
from mezite.wire.alpn import MEZITE_TUNNEL
from mezite.wire.records import Piece
from mezite.wire.transport import TLSTransport

# A tunnel takes some 4 ms of a core until it is registered: with so many in each turn of the
# reactor, a session, which takes about forty turns, waits for less than a second.
BEGUN_IN_A_TURN: Final = 4
# Handshakes that have begun: enough for agents that are a second away, or slow, at the pace
# of one core.
UNDER_WAY: Final = 512
# Of agents that have made theirs and whose nodes are being looked up. A reactor that never rests
# lets the database's threads wait for the interpreter, and everybody for them.
ARRIVING: Final = 32
# Agents give a dial 10 s, and so does the hub a handshake. Whoever came 6 s ago would
# perhaps be half done by then, and for nothing.
LONGEST_WAIT: Final = 6.0
# A handshake has ended by then, in whatever way; whose certificate nobody has looked at counts
# no longer.
LONGEST_ARRIVAL: Final = 10.0
# Who comes when the first in the line has waited so long would wait longer than that.
FULL_AFTER: Final = 4.0
# Each holds a connection and no keys yet, about 20 KB. Above it the address that has most gives
# one up, and one that has its share of them gets no more.
WAITING: Final = 4096
# While as many are under way as may be, it is looked after so long who has arrived.
_LOOK_SECONDS: Final = 0.005
# As it stands in a ClientHello (RFC 7301, section 3.1).
_OFFER: Final = bytes((len(MEZITE_TUNNEL),)) + MEZITE_TUNNEL


@define(eq=False)
class _Line:
    """Those of one network who wait, with when each came."""

    # When the network's turn was last, or its first came.
    since: float
    waiting: deque[tuple[float, TLSTransport]] = field(init=False, factory=deque)


@define(eq=False)
class TunnelTurns:
    """Whose handshake may begin."""

    _log = Logger()

    clock: IReactorTime
    refused: int = field(init=False, default=0)
    # The network whose turn is next comes first.
    _lines: dict[str, _Line] = field(init=False, factory=dict)
    _waiting: int = field(init=False, default=0)
    # With when each began, and from which network.
    _under_way: dict[TLSTransport, tuple[float, str]] = field(init=False, factory=dict)
    _under_way_of: Counter[str] = field(init=False, factory=Counter)
    _next: IDelayedCall | None = field(init=False, default=None)

    def __len__(self) -> int:
        """How many wait."""
        return self._waiting

    def hold_up(self, transport: TLSTransport, hello: Piece, network: str) -> bool:
        """
        Whether this handshake, of which these are the first bytes, must wait.

        The bytes are a hint: what is in them decides how soon somebody is served, and
        nothing else. An agent whose hello comes in small pieces waits for nobody.
        """
        if _OFFER not in bytes(hello):
            return False
        now = self.clock.seconds()
        if self._would_wait_too_long(network, now) or not self._has_place(network):
            self._refuse(transport)
            return True
        self._lines.setdefault(network, _Line(now)).waiting.append((now, transport))
        self._waiting += 1
        if self._next is None:
            self._next = self.clock.callLater(0, self._take_turn)
        elif self._waiting == 1:
            self._next.reset(0)
        return True

    def _would_wait_too_long(self, network: str, now: float) -> bool:
        line = self._lines.get(network)
        if line is not None:
            return now - line.waiting[0][0] > FULL_AFTER
        # Those that have more under way wait for themselves.
        own = self._under_way_of[network]
        ahead = (each for name, each in self._lines.items() if self._under_way_of[name] <= own)
        first = next(ahead, None)
        return first is not None and now - first.since > FULL_AFTER

    def _has_place(self, network: str) -> bool:
        """Whether one more may wait; for one of an address that has few, another goes."""
        line = self._lines.get(network)
        own = 0 if line is None else len(line.waiting)
        if own >= WAITING // SHARE:
            return False
        if self._waiting < WAITING:
            return True
        longest = max(self._lines, key=lambda name: len(self._lines[name].waiting))
        if len(self._lines[longest].waiting) <= own + 1:
            return False
        _, last = self._lines[longest].waiting.pop()
        self._waiting -= 1
        self._refuse(last)
        return True

    def _take_turn(self) -> None:
        self._next = None
        now = self.clock.seconds()
        self._forget_arrived(now)
        arriving = sum(not each.is_shaking_hands for each in self._under_way)
        free = 0 if arriving >= ARRIVING else BEGUN_IN_A_TURN
        is_full = not free
        while free and self._lines:
            network = self._next_network(now)
            if network is None:
                is_full = True
                break
            transport = self._first_of(network, now)
            if transport is not None:
                free -= 1
                self._under_way[transport] = (now, network)
                self._under_way_of[network] += 1
                transport.proceed()
        if self._lines:
            self._next = self.clock.callLater(_LOOK_SECONDS if is_full else 0, self._take_turn)
        elif self._under_way:
            # Only to forget them: a storm must not leave tunnels here that may end in years.
            self._next = self.clock.callLater(LONGEST_ARRIVAL, self._take_turn)

    def _forget_arrived(self, now: float) -> None:
        self._under_way = {
            each: (began, network)
            for each, (began, network) in self._under_way.items()
            if each.is_arriving and now - began < LONGEST_ARRIVAL
        }
        self._under_way_of = Counter(network for _, network in self._under_way.values())

    def _next_network(self, now: float) -> str | None:
        """Whose turn it is, if there is room for one more of theirs, or room is made for it."""
        if len(self._under_way) < UNDER_WAY:
            return next(iter(self._lines))
        largest, number = max(self._under_way_of.items(), key=itemgetter(1))
        if number < 2:
            # Each has one: nobody has to be looked for among thousands.
            return None
        oldest = next(
            (
                each
                for each, (_, network) in self._under_way.items()
                if network == largest and each.is_shaking_hands
            ),
            None,
        )
        if oldest is None or now - self._under_way[oldest][0] < YIELDS_AFTER:
            return None
        network = next(
            (each for each in self._lines if self._under_way_of[each] + 1 < number), None
        )
        if network is not None:
            del self._under_way[oldest]
            self._under_way_of[largest] -= 1
            self._refuse(oldest)
        return network

    def _first_of(self, network: str, now: float) -> TLSTransport | None:
        """Take the first in the line of this network, if its handshake is worth beginning."""
        line = self._lines.pop(network)
        came, transport = line.waiting.popleft()
        self._waiting -= 1
        if line.waiting:
            line.since = now
            self._lines[network] = line
        if not transport.is_shaking_hands:
            return None
        if now - came > LONGEST_WAIT:
            self._refuse(transport)
            return None
        return transport

    def _refuse(self, transport: TLSTransport) -> None:
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:
            # Said at 1, 2, 4, 8, …
            self._log.warn(
                "{refused} agents sent away so far: {waiting} wait for their handshakes",
                refused=self.refused,
                waiting=self._waiting,
            )
        transport.abortConnection()
