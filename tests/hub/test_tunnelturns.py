"""
Who of many agents may begin its handshake, and who is sent away.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from attrs import define
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.tunnelturns import (
    ARRIVING,
    BEGUN_IN_A_TURN,
    FULL_AFTER,
    LONGEST_ARRIVAL,
    LONGEST_WAIT,
    UNDER_WAY,
    WAITING,
    TunnelTurns,
)
from mezite.hub.unfinished import YIELDS_AFTER
from mezite.wire.alpn import MEZITE_TUNNEL
from mezite.wire.contexts import client_context
from tests.doubles.certificates import certificate_set
from tests.hub.test_router import RouterTestCase

HELLO = b"\x16\x03\x01" + b"x" * 200 + bytes((len(MEZITE_TUNNEL),)) + MEZITE_TUNNEL


@define(eq=False)
class Arrival:
    """A connection whose handshake has begun, or waits."""

    is_shaking_hands: bool = True
    is_arriving: bool = True
    proceeded: int = 0

    def proceed(self) -> None:
        self.proceeded += 1

    def abortConnection(self) -> None:
        self.is_shaking_hands = self.is_arriving = False


class TunnelTurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = TunnelTurns(self.clock)
        self.addresses = 0

    def come(self, number: int = 1, network: str | None = None) -> list[Arrival]:
        arrivals = [Arrival() for _ in range(number)]
        for arrival in arrivals:
            self.addresses += 1
            came: Any = arrival
            self.assertTrue(self.turns.hold_up(came, HELLO, network or str(self.addresses)))
        return arrivals

    def turn(self) -> None:
        """One turn of the reactor; a Clock also makes the calls that its calls ask for."""
        calls, self.clock.calls = self.clock.calls, []
        for call in calls:
            call.called = 1
            call.func(*call.args)

    def test_others_do_not_wait(self) -> None:
        """Who does not offer to be a tunnel goes on at once, however many tunnels wait."""
        self.come(10)
        person: Any = Arrival()
        for hello in (b"", b"\x16\x03\x01", HELLO.replace(b"tunnel", b"ssh"), memoryview(b"x")):
            self.assertFalse(self.turns.hold_up(person, hello, ""))

    def test_a_few_in_each_turn(self) -> None:
        """Agents begin in the order in which they came, a few in each turn."""
        arrivals = self.come(3 * BEGUN_IN_A_TURN)
        for turn in range(1, 4):
            self.turn()
            self.assertEqual(
                [each.proceeded for each in arrivals],
                [int(number < turn * BEGUN_IN_A_TURN) for number in range(len(arrivals))],
            )

    def test_nobody_is_kept(self) -> None:
        """Who has arrived is forgotten, and nothing is left to be done for it."""
        (arrival,) = map(weakref.ref, self.come())
        self.clock.advance(0)
        self.clock.advance(LONGEST_ARRIVAL)
        gc.collect()
        self.assertIsNone(arrival())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_a_rest(self) -> None:
        """Who comes when nobody has waited for a while has the next turn."""
        self.come()
        self.clock.advance(LONGEST_ARRIVAL / 2)
        (later,) = self.come()
        self.clock.advance(0)
        self.assertEqual(later.proceeded, 1)

    def test_under_way_is_bounded(self) -> None:
        """No more begin than may be under way, until one of these has arrived or gone."""
        arrivals = self.come(UNDER_WAY + 1)
        for _ in range(100):
            self.clock.advance(0.01)
        self.assertEqual(sum(each.proceeded for each in arrivals), UNDER_WAY)
        arrivals[0].is_arriving = False
        self.clock.advance(0.01)
        self.assertEqual(arrivals[-1].proceeded, 1)

    def test_the_database_sets_the_pace(self) -> None:
        """While many wait for their nodes to be looked up, no more begin."""
        arrivals = self.come(ARRIVING)
        self.clock.advance(0)
        for each in arrivals:
            each.is_shaking_hands = False
        (next_one,) = self.come()
        self.clock.advance(0.1)
        self.assertEqual(next_one.proceeded, 0)
        arrivals[0].is_arriving = False
        self.clock.advance(0.1)
        self.assertEqual(next_one.proceeded, 1)

    def test_gone_while_waiting(self) -> None:
        """Who hung up meanwhile takes nobody's turn."""
        arrivals = self.come(BEGUN_IN_A_TURN + 1)
        arrivals[0].is_shaking_hands = False
        self.clock.advance(0)
        self.assertEqual([each.proceeded for each in arrivals], [0] + [1] * BEGUN_IN_A_TURN)

    def fill(self) -> list[Arrival]:
        """As many under way as may be, and one who waits."""
        arrivals = self.come(UNDER_WAY + 1)
        for _ in range(UNDER_WAY // BEGUN_IN_A_TURN):
            self.clock.advance(0)
        return arrivals

    def test_late_comers_are_sent_away(self) -> None:
        """Behind somebody who has waited for long nobody is let in to wait."""
        self.fill()
        self.clock.advance(FULL_AFTER + 0.1)
        (late,) = self.come()
        self.assertFalse(late.is_shaking_hands)
        self.assertEqual((self.turns.refused, len(self.turns)), (1, 1))

    def test_waited_too_long(self) -> None:
        """Whose time is nearly over is hung up on, rather than half served."""
        arrivals = self.fill()
        self.clock.pump([1.0] * int(LONGEST_WAIT + 1))
        for each in arrivals[:UNDER_WAY]:
            each.is_arriving = False
        self.clock.advance(1)
        self.assertEqual(arrivals[-1].proceeded, 0)
        self.assertFalse(arrivals[-1].is_shaking_hands)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounds(self) -> None:
        """So many wait in all, and half of these from one address."""
        crowd = self.come(WAITING // 2 + 1, "192.0.2.1")
        self.assertEqual([each.is_shaking_hands for each in crowd[-2:]], [True, False])
        self.come(WAITING // 2)
        self.assertEqual(len(self.turns), WAITING)
        # The last of those who are most gives its place up.
        (other,) = self.come()
        self.assertEqual((other.is_shaking_hands, crowd[-2].is_shaking_hands), (True, False))
        self.assertEqual(len(self.turns), WAITING)

    def test_no_place_left(self) -> None:
        """Where nobody has more than one place, the newcomer goes."""
        self.come(WAITING)
        (late,) = self.come()
        self.assertFalse(late.is_shaking_hands)
        self.assertEqual(len(self.turns), WAITING)

    def test_addresses_take_turns(self) -> None:
        """Behind a crowd of one address another one's agent does not wait for all of them."""
        crowd = self.come(1000, "192.0.2.1")
        (other,) = self.come()
        self.turn()
        self.assertEqual(other.proceeded, 1)
        self.assertEqual(sum(each.proceeded for each in crowd), BEGUN_IN_A_TURN - 1)

    def test_never_finished(self) -> None:
        """An address that finishes none of what it begins keeps nobody else out."""
        silent = self.come(WAITING // 2, "192.0.2.1")
        for _ in range(UNDER_WAY):
            self.turn()
        self.assertEqual(sum(each.proceeded for each in silent), UNDER_WAY)
        self.clock.advance(YIELDS_AFTER + 0.1)
        for number in range(20):
            silent += self.come(50, "192.0.2.1")
            (agent,) = self.come()
            self.clock.pump([0.01] * 10)
            self.assertEqual((agent.proceeded, agent.is_shaking_hands), (1, True), number)
            agent.is_arriving = False
        under_way = sum(each.proceeded and each.is_shaking_hands for each in silent)
        self.assertLessEqual(under_way, UNDER_WAY)

    def test_who_waits_for_themselves(self) -> None:
        """That an address waits for its own is no reason to send another one's away."""
        self.come(WAITING // 2, "192.0.2.1")
        for _ in range(UNDER_WAY):
            self.turn()
        self.clock.pump([1.0] * int(FULL_AFTER + 1))
        (agent,) = self.come()
        self.clock.pump([0.01] * 10)
        self.assertEqual((agent.proceeded, agent.is_shaking_hands), (1, True))

    def test_slow_but_honest(self) -> None:
        """Who began a moment ago keeps the place, and so does who has no more than others."""
        slow = self.come(UNDER_WAY // 2, "192.0.2.1") + self.come(UNDER_WAY // 2, "192.0.2.2")
        for _ in range(UNDER_WAY):
            self.turn()
        (agent,) = self.come()
        self.clock.pump([YIELDS_AFTER / 10] * 9)
        self.assertTrue(all(each.is_shaking_hands for each in slow))
        self.assertEqual(agent.proceeded, 0)
        self.clock.pump([YIELDS_AFTER / 10] * 2)
        self.assertEqual(sum(not each.is_shaking_hands for each in slow), 1)
        self.assertEqual(agent.proceeded, 1)

    def test_everybody_has_one(self) -> None:
        """In a storm of agents, each at an address of its own, nobody gives way."""
        storm = self.come(UNDER_WAY + 1)
        self.clock.pump([0.01] * UNDER_WAY)
        self.clock.advance(YIELDS_AFTER)
        self.assertTrue(all(each.is_shaking_hands for each in storm))


class RouterTurnsTests(RouterTestCase):
    """The same at the hub's port."""

    def test_tunnel(self) -> None:
        """A tunnel's handshake waits for a turn, and is counted elsewhere meanwhile."""
        router = self.make_router(handshakes_at_once=2)
        waiting = [router.buildProtocol(None) for _ in range(2)]
        for each in waiting:
            assert each is not None
            each.makeConnection(StringTransport())
            each.dataReceived(hello())
        self.assertEqual((router.handshakes, len(router.turns)), (0, 2))
        self.assertIsNotNone(router.buildProtocol(None))

    def test_sent_away(self) -> None:
        """An agent that is sent away is counted with those whose handshake was refused."""
        router = self.make_router()
        for _ in range(WAITING // 2):
            other: Any = Arrival()
            router.turns.hold_up(other, HELLO, "")
        late: Any = router.buildProtocol(None)
        late.makeConnection(StringTransport())
        late.dataReceived(hello())
        self.assertTrue(late.transport.disconnected)
        self.assertEqual((router.handshakes_refused, len(router.turns)), (1, WAITING // 2))

    def test_served_in_the_end(self) -> None:
        """It gets its listener as before."""
        self.dial(MEZITE_TUNNEL, node=True)
        self.assertEqual(self.hearer.heard, b"tunnel")
        self.assertEqual((self.router.handshakes, len(self.router.turns)), (0, 0))


def hello() -> bytes:
    """What a dialing agent says first."""
    connection = client_context(MEZITE_TUNNEL, certificate_set().ca_pem).connection(None)
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return connection.bio_read(65536)
    raise AssertionError
