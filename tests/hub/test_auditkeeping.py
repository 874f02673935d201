"""Tests of retention, of the word that the hub ends, and of readiness."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.error import AuditUnavailable
from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.auth.trail import AuditTrail
from mezite.auth.verification import Verification
from mezite.config.audit import AuditConfig, SyslogTarget
from mezite.config.hub import HubConfig
from mezite.hub.auditkeeping import AuditKeeping, make_copies
from mezite.hub.readiness import Readiness
from mezite.names import ClusterName, HostPort
from mezite.store.memory import MemoryStore
from mezite.store.records import AuditQuery

DAY = 86400.0
EVENT = AuditEvent(type=EventType.USER_LOGIN, time=0.0, actor=Actor("ada"))


def at_once(work: Any, *rest: Any) -> Deferred[Any]:
    return maybeDeferred(work, *rest)


class KeepingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.clock = Clock()
        self.clock.advance(100 * DAY)

    def done(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return self.successResultOf(Deferred.fromCoroutine(run()))

    def keeping(self, keep: float | None = 10 * DAY) -> AuditKeeping:
        trail = AuditTrail(self.store.audit, wall_clock=self.clock.seconds)
        audit = self.store.audit
        return AuditKeeping(audit, trail, [], keep, self.clock, self.clock.seconds)

    def record(self, *days: float) -> None:
        for day in days:
            self.done(self.store.audit.record(attrs.evolve(EVENT, time=day * DAY)))

    def events(self) -> list[AuditEvent]:
        return [each.event for each in self.done(self.store.audit.search(AuditQuery(), limit=99))]


class RetentionTests(KeepingTestCase):
    def test_removes(self) -> None:
        """What is older than it is kept is removed, which is an event; the chain stays whole."""
        self.record(1, 2, 91, 99)
        self.done(self.keeping().upkeep())
        self.assertEqual([event.time / DAY for event in self.events()], [91, 99, 100])
        told = self.events()[-1]
        self.assertEqual(told.type, EventType.AUDIT_PRUNED)
        self.assertEqual((told.details["removed"], told.details["kept_days"]), (2, 10))
        verdict = self.done(Verification(self.store.audit, self.clock, at_once).verify())
        self.assertEqual((verdict.broken, verdict.count), ("", 3))

    def test_nothing_old(self) -> None:
        """Where nothing is old, nothing is said."""
        self.record(95)
        self.done(self.keeping().upkeep())
        self.assertEqual(len(self.events()), 1)

    def test_daily(self) -> None:
        """It is done once a day."""
        keeping = self.keeping()
        self.done(keeping.upkeep())
        self.record(1)
        self.clock.advance(DAY / 2)
        self.done(keeping.upkeep())
        self.assertEqual(len(self.events()), 1)
        self.clock.advance(DAY / 2)
        self.done(keeping.upkeep())
        self.assertEqual([event.type for event in self.events()], [EventType.AUDIT_PRUNED])

    def test_for_ever(self) -> None:
        """Events that are kept for ever are."""
        self.record(1)
        self.done(self.keeping(None).upkeep())
        self.assertEqual(len(self.events()), 1)


class StopTests(KeepingTestCase):
    def test_stopped(self) -> None:
        """The end of the hub is an event, if it can be one."""
        self.done(self.keeping().stop())
        self.assertEqual([event.type for event in self.events()], [EventType.HUB_STOPPED])
        self.done(self.store.close())
        self.done(self.keeping().stop())
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_copies(self) -> None:
        """The settings say which copies there are."""
        config = HubConfig(ClusterName("x"), True, Path("/d"), HostPort("::", 1), HostPort("h", 1))
        self.assertEqual(make_copies(config, self.store.audit, self.clock, at_once), [])
        wanted = AuditConfig(file=Path("/a"), syslog=SyslogTarget.parse("udp://h"))
        config = attrs.evolve(config, audit=wanted)
        copies = make_copies(config, self.store.audit, self.clock, at_once)
        places = [(copy.status.name, copy.status.where) for copy in copies]
        self.assertEqual(places, [("file", "/a"), ("syslog", "udp://h:514")])


class ReadinessTests(KeepingTestCase):
    def test_ready(self) -> None:
        """A store that can be written is ready, and asked once a second at most."""
        readiness = Readiness(self.store, self.clock)
        self.done(readiness.check())
        self.done(self.store.close())
        self.done(readiness.check())
        self.clock.advance(1.0)
        for _ in range(2):
            checking = Deferred.fromCoroutine(readiness.check())
            error = self.failureResultOf(checking, AuditUnavailable).value
            self.assertIn("the audit cannot be written", str(error))
