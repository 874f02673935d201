"""
The turns that agents take to shake hands, so that a storm of them starves nobody.

A hub that comes back finds ten thousand agents at its door, and people who want to work.
:class:`TunnelTurns` lets a few agents' handshakes begin in each turn of the reactor, and
everybody else's at once. Who has waited too long, or comes while others do, is hung up on
early, which costs little: agents come again by themselves.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

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
# Each holds a connection and no keys yet, about 20 KB.
WAITING: Final = 4096
# One address, which may be a balancer's, may have half of these places.
_SHARE: Final = 2
# While as many are under way as may be, it is looked after so long who has arrived.
_LOOK_SECONDS: Final = 0.005
# As it stands in a ClientHello (RFC 7301, section 3.1).
_OFFER: Final = bytes((len(MEZITE_TUNNEL),)) + MEZITE_TUNNEL


@define(eq=False)
class TunnelTurns:
    """Whose handshake may begin."""

    _log = Logger()

    clock: IReactorTime
    refused: int = field(init=False, default=0)
    # With when each came, and from which network.
    _waiting: deque[tuple[float, str, TLSTransport]] = field(init=False, factory=deque)
    _waiting_of: Counter[str] = field(init=False, factory=Counter)
    # With when each began.
    _under_way: dict[TLSTransport, float] = field(init=False, factory=dict)
    _next: IDelayedCall | None = field(init=False, default=None)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def hold_up(self, transport: TLSTransport, hello: Piece, network: str) -> bool:
        """
        Whether this handshake, of which these are the first bytes, must wait.

        The bytes are a hint: what is in them decides how soon somebody is served, and
        nothing else. An agent whose hello comes in small pieces waits for nobody.
        """
        if _OFFER not in bytes(hello):
            return False
        now = self.clock.seconds()
        if (
            len(self._waiting) >= WAITING
            or self._waiting_of[network] >= WAITING // _SHARE
            or (self._waiting and now - self._waiting[0][0] > FULL_AFTER)
        ):
            self._refuse(transport)
            return True
        self._waiting.append((now, network, transport))
        self._waiting_of[network] += 1
        if self._next is None:
            self._next = self.clock.callLater(0, self._take_turn)
        elif len(self._waiting) == 1:
            self._next.reset(0)
        return True

    def _take_turn(self) -> None:
        self._next = None
        now = self.clock.seconds()
        self._under_way = {
            each: began
            for each, began in self._under_way.items()
            if each.is_arriving and now - began < LONGEST_ARRIVAL
        }
        arriving = sum(not each.is_shaking_hands for each in self._under_way)
        is_full = len(self._under_way) >= UNDER_WAY or arriving >= ARRIVING
        free = 0 if is_full else BEGUN_IN_A_TURN
        while self._waiting and free > 0:
            came, network, transport = self._waiting.popleft()
            self._waiting_of[network] -= 1
            if not self._waiting_of[network]:
                del self._waiting_of[network]
            if not transport.is_shaking_hands:
                continue
            if now - came > LONGEST_WAIT:
                self._refuse(transport)
                continue
            free -= 1
            self._under_way[transport] = now
            transport.proceed()
        if self._waiting:
            self._next = self.clock.callLater(_LOOK_SECONDS if is_full else 0, self._take_turn)
        elif self._under_way:
            # Only to forget them: a storm must not leave tunnels here that may end in years.
            self._next = self.clock.callLater(LONGEST_ARRIVAL, self._take_turn)

    def _refuse(self, transport: TLSTransport) -> None:
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:
            # Said at 1, 2, 4, 8, …
            self._log.warn(
                "{refused} agents sent away so far: {waiting} wait for their handshakes",
                refused=self.refused,
                waiting=len(self._waiting),
            )
        transport.abortConnection()
