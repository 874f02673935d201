"""Tests of sessions that a killed hub left without an end in the audit."""

from __future__ import annotations

from typing import Any

from mezite.audit.events import Actor, EventType
from mezite.hub import unended
from mezite.hub.unended import LOOK_SECONDS, OUTLIVED_SECONDS, TOLD_SECONDS, UnendedSessions
from mezite.names import AgentId
from mezite.store.records import AuditQuery
from tests.hub.test_service import HubTests

ADA = Actor("ada", "192.0.2.7:4711")


class UnendedTests(HubTests):
    def setUp(self) -> None:
        super().setUp()
        parts = self.world.hub._parts
        # As a hub that starts now, after one that was killed.
        parts.unended.stop()
        self.parts, self.trail = parts, parts.services.trail

    def begun(self, session_id: str, target: str | AgentId = "", **more: Any) -> None:
        """What a hub wrote that is gone."""
        event = self.trail.event(
            EventType.SESSION_START,
            ADA,
            target=target or self.db1.agent_id,
            node=self.db1.node,
            login="root",
            session_id=session_id,
            **more,
        )
        self.world.done(self.world.store.audit.record(event))

    def start(self) -> UnendedSessions:
        parts = self.parts
        made = UnendedSessions(
            self.world.store.audit,
            self.world.store.nodes,
            parts.live,
            parts.registry,
            self.trail,
            self.world.clock,
            self.world.clock.seconds,
        )
        made.start()
        self.addCleanup(made.stop)
        self.world.flush()
        return made

    def passes(self, seconds: float) -> None:
        """Time, in which keepalives come and go."""
        while seconds > 0:
            self.world.clock.advance(LOOK_SECONDS / 2)
            self.world.flush()
            seconds -= LOOK_SECONDS / 2

    def ends(self) -> dict[str, Any]:
        query = AuditQuery(types=("session.end",))
        found = self.world.done(self.world.store.audit.search(query, limit=100))
        return {each.event.session_id: each.event for each in found}

    def test_without_agent(self) -> None:
        """One whose SSH the hub ended is over with the hub, and said to be."""
        self.begun("s1", AgentId.new())
        self.start()
        self.passes(LOOK_SECONDS)
        [(session_id, event)] = self.ends().items()
        self.assertEqual((session_id, event.actor, event.login), ("s1", ADA, "root"))
        self.assertIn("the hub went down", event.details["reason"])
        self.assertEqual(event.details["at_most_seconds"], round(LOOK_SECONDS))

    def test_agent_is_back(self) -> None:
        """One on a node is over once the agent is back and had time to say what goes on."""
        self.begun("s1")
        self.start()
        self.passes(60.0)
        self.assertEqual(self.ends(), {})
        self.world.open_tunnel(self.db1)
        self.passes(TOLD_SECONDS - LOOK_SECONDS)
        self.assertEqual(self.ends(), {})
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(set(self.ends()), {"s1"})

    def test_agent_stays_away(self) -> None:
        """One on a node that does not come back is over when nothing could resume it."""
        self.begun("s1")
        self.start()
        self.passes(OUTLIVED_SECONDS - LOOK_SECONDS)
        self.assertEqual(self.ends(), {})
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(set(self.ends()), {"s1"})

    def test_lives_on(self) -> None:
        """One that is live is not ended, for as long as it is."""
        self.world.open_tunnel(self.db1)
        session = self.world.opened("ada", self.db1)
        self.begun(session.session_id)
        self.start()
        self.passes(OUTLIVED_SECONDS + 60)
        self.assertEqual(self.ends(), {})
        self.parts.live.remove(session)
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(set(self.ends()), {session.session_id})

    def test_own(self) -> None:
        """What begins under this hub is not its matter, nor what has an end."""
        self.begun("s1", AgentId.new())
        end = self.trail.event(EventType.SESSION_END, ADA, session_id="s1", reason="by itself")
        self.world.done(self.world.store.audit.record(end))
        looking = self.start()
        self.assertFalse(looking._looking.running)
        self.begun("s2", AgentId.new())
        self.passes(OUTLIVED_SECONDS + 60)
        self.assertEqual(self.ends()["s1"].details, {"reason": "by itself"})
        self.assertNotIn("s2", self.ends())

    def test_many(self) -> None:
        """All are found, however many there are, and then nobody looks any more."""
        self.patch(unended, "_AT_ONCE", 2)
        for number in range(5):
            self.begun(f"s{number}", AgentId.new())
        looking = self.start()
        self.passes(3 * LOOK_SECONDS)
        self.assertEqual(len(self.ends()), 5)
        self.assertFalse(looking._looking.running)

    def test_changed_by_hand(self) -> None:
        """A target that is no node's is nobody's to wait for."""
        self.begun("s1", "a machine")
        self.start()
        self.passes(LOOK_SECONDS)
        self.assertEqual(set(self.ends()), {"s1"})
