"""Tests of which comings and goings of nodes are worth an event."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.events import AuditEvent
from mezite.auth.trail import AuditTrail
from mezite.hub.attendance import BURST, HOLD_SECONDS, LEFT_SECONDS, Attendance
from mezite.hub.presence import SAVE_SECONDS
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.identity.x509 import NodeIdentity
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.names import AgentId, ClusterName, NodeName
from mezite.store.memory import MemoryStore
from mezite.store.records import AuditQuery

DB1 = NodeIdentity(ClusterName("c"), AgentId.new(), NodeName("db1"))


class AttendanceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        # By how much the time of day was set.
        self.set_by = 0.0
        self.store = MemoryStore()
        self.registry = TunnelRegistry()
        self.attendance = Attendance(
            AuditTrail(self.store.audit, wall_clock=self.wall_clock),
            self.registry,
            clock=self.clock,
            wall_clock=self.wall_clock,
        )

    def wall_clock(self) -> float:
        return self.clock.seconds() + self.set_by

    def events(self) -> list[AuditEvent]:
        found = self.successResultOf(self.store.audit.search(AuditQuery(), limit=1000))
        return [record.event for record in found]

    def types(self) -> list[str]:
        return [event.type.text for event in self.events()]

    def come(self, last_seen: float | None = None) -> Tunnel:
        now = self.clock.seconds()
        mux = MuxProtocol(role=Role.SERVER, clock=Clock(), accept=lambda stream: None)
        tunnel = Tunnel(DB1, mux, "192.0.2.1:1", now, {}, "1", now, now)
        self.registry.add(tunnel)
        self.attendance.came(DB1, "192.0.2.1:1", last_seen)
        return tunnel

    def go(self, tunnel: Tunnel) -> None:
        self.assertTrue(self.registry.remove(tunnel, "gone"))
        self.attendance.went(DB1)

    def test_comes_and_goes(self) -> None:
        """A node that comes is told at once, one that goes when it stays away."""
        tunnel = self.come()
        (event,) = self.events()
        self.assertEqual((event.type.text, event.actor.name), ("node.connected", "db1"))
        self.assertEqual((event.target, event.actor.address), (str(DB1.agent_id), "192.0.2.1:1"))
        self.go(tunnel)
        self.clock.advance(LEFT_SECONDS - 1)
        self.assertEqual(len(self.events()), 1)
        self.clock.advance(1)
        self.assertEqual(self.types(), ["node.connected", "node.left"])
        self.come()
        self.assertEqual(self.types()[2:], ["node.connected"])

    def test_blink(self) -> None:
        """Who is back within a minute has not left."""
        tunnel = self.come()
        for _ in range(5):
            self.go(tunnel)
            self.clock.advance(LEFT_SECONDS / 2)
            tunnel = self.come()
        self.clock.advance(HOLD_SECONDS)
        self.assertEqual(self.types(), ["node.connected"])

    def test_clock_is_set(self) -> None:
        """Setting the clock makes nobody wait for their events, and gives nobody more of them."""
        tunnel = self.come()
        self.set_by = -86400.0
        self.go(tunnel)
        self.clock.advance(LEFT_SECONDS)
        self.assertEqual(self.types(), ["node.connected", "node.left"])
        for _ in range(10):
            self.set_by += 86400.0
            tunnel = self.come()
            self.go(tunnel)
            self.clock.advance(LEFT_SECONDS)
        self.assertLessEqual(len(self.events()), BURST + 2)

    def test_restart_of_the_hub(self) -> None:
        """A node that was seen shortly before it came had not left; one long ago had."""
        self.go(self.come(self.clock.seconds() - SAVE_SECONDS))
        self.assertEqual(self.events(), [])
        self.clock.advance(LEFT_SECONDS)
        self.assertEqual(self.types(), ["node.left"])
        self.attendance.stop()
        self.come(self.clock.seconds() - SAVE_SECONDS - LEFT_SECONDS)
        self.assertEqual(self.types(), ["node.left", "node.connected"])

    def test_flapping(self) -> None:
        """A node that flaps all day is told now and then, with how often it did."""
        for _ in range(24 * 30):
            tunnel = self.come()
            self.clock.advance(55)
            self.go(tunnel)
            self.clock.advance(65)
        day = 24 * 3600
        self.assertLessEqual(len(self.events()), BURST + day / HOLD_SECONDS)
        self.assertGreater(max(event.details["changes"] for event in self.events()), 5)  # type: ignore[type-var]

    def test_told_in_the_end(self) -> None:
        """However much it flapped, the audit ends with how it is."""
        for _ in range(20):
            tunnel = self.come()
            self.clock.advance(1)
            self.go(tunnel)
            self.clock.advance(LEFT_SECONDS + 1)
        self.clock.advance(HOLD_SECONDS * BURST)
        self.assertEqual(self.types()[-1], "node.left")

    def test_forgotten(self) -> None:
        """What is gone is not remembered for ever, and a stop leaves nothing behind."""
        self.go(self.come())
        self.clock.advance(LEFT_SECONDS)
        self.clock.advance(HOLD_SECONDS * BURST)
        self.assertEqual(len(self.attendance), 0)
        self.go(self.come())
        self.attendance.stop()
        self.assertEqual((len(self.attendance), self.clock.getDelayedCalls()), (0, []))
        self.assertEqual(self.types()[-1], "node.connected")
