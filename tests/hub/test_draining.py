"""Tests of a hub that is asked to stop, and of whom it waits for."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from mezite.error import Unavailable
from mezite.hub.draining import (
    ANSWER_SECONDS,
    LEAVING_SECONDS,
    LONGEST_SPREAD,
    SOONEST_SECONDS,
    Draining,
    spread_of,
)
from mezite.hub.livesessions import GOODBYE_SECONDS
from tests.doubles.playednode import PlayedNode
from tests.hub.test_livesessions import LiveSessionTestCase


class DrainingTests(LiveSessionTestCase):
    """ada on db1, and web1 where nobody is."""

    def setUp(self) -> None:
        super().setUp()
        self.web1 = PlayedNode(self.world, self.world.add_node("web1", env="dev"))
        self.draws: list[tuple[float, float]] = []

    def draw(self, low: float, high: float) -> float:
        self.draws.append((low, high))
        return high

    def start(self, grace: float = 30.0) -> Deferred[None]:
        hub = self.world.hub
        self.draining = Draining(hub.registry, hub.live, self.world.clock, grace, self.draw)
        running = Deferred.fromCoroutine(self.draining.run())
        self.world.flush()
        return running

    def answer(self) -> None:
        """What agents do with a stream that tells them to come back."""
        for node in (self.node, self.web1):
            for header, stream in zip(node.headers, node.streams, strict=True):
                if header.service in ("drain", "end-session"):
                    stream.transport.loseConnection()
        self.world.flush()

    def test_told(self) -> None:
        """Each agent is told when to come back, within a spread that grows with their number."""
        self.start()
        for node in (self.node, self.web1):
            (header,) = node.asked("drain")
            self.assertTrue(SOONEST_SECONDS * 1000 <= header.come_back_after_ms < 2100)
        self.assertEqual(self.draws, [(0, spread_of(2))] * 2)
        self.assertEqual(spread_of(10_000), 40.0)
        self.assertEqual(spread_of(10**9), LONGEST_SPREAD)

    def test_nobody_there(self) -> None:
        """An idle tunnel goes once its agent has answered; a busy one stays in the grace period."""
        session = self.begin()
        running = self.start()
        self.answer()
        self.wait(0.3)
        self.assertFalse(
            self.web1.mux.is_up and self.world.hub.registry.find_name(self.web1.identity.node)
        )
        self.assertIsNotNone(self.world.hub.registry.find_name(self.db1.node))
        self.assertNoResult(running)
        self.node.streams[0].transport.loseConnection()
        self.world.flush()
        self.assert_over(session)
        for _ in range(4):
            self.wait(0.3)
        self.successResultOf(running)
        self.assertEqual(len(self.world.hub.registry), 0)
        self.assertEqual(self.node.asked("end-session"), [])

    def test_old_agent(self) -> None:
        """An agent that knows nothing of it is not waited for."""
        running = self.start()
        for _ in range(20):
            self.wait((ANSWER_SECONDS + LEAVING_SECONDS) / 10)
        self.successResultOf(running)

    def test_grace_ends(self) -> None:
        """Whoever is there at the end of the grace period reads why they have to go."""
        session = self.begin()
        running = self.start(grace=5)
        self.answer()
        for _ in range(9):
            self.wait(0.5)
        self.assertEqual(self.node.asked("end-session"), [])
        self.wait(1)
        (header,) = self.node.asked("end-session")
        self.assertEqual(header.session_id, session.session_id)
        self.assertIn("the hub is being stopped", header.reason)
        self.wait(GOODBYE_SECONDS)
        self.assert_over(session)
        for _ in range(10):
            self.wait(0.5)
        self.successResultOf(running)

    def test_no_grace(self) -> None:
        """Without a grace period they read it at once."""
        self.begin()
        self.start(grace=0)
        self.assertEqual(len(self.node.asked("end-session")), 1)

    def test_hurry(self) -> None:
        """Asked a second time, the hub waits for nobody."""
        self.begin()
        running = self.start()
        self.assertNoResult(running)
        self.draining.hurry()
        self.successResultOf(running)

    def test_refused(self) -> None:
        """No session begins any more, and that is said; those that are there go on."""
        session = self.begin()
        self.world.hub._parts.opener.refuse_all()
        opening = self.world.hub._parts.opener.open(session.visitor, "db1")
        error = self.assertRaises(Unavailable, self.world.done, opening)
        self.assertIn("the hub is being stopped", str(error))
        self.assertIs(self.world.hub.live.find(session.session_id), session)
