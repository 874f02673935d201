"""Tests of how copies follow the audit, whatever becomes of their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import CopyPoint
from mezite.audit.events import HUB, AuditEvent, EventType
from mezite.hub.auditcopying import BATCH, LONGEST_WAIT, POLL_SECONDS, AuditCopy, ICopyTarget
from mezite.store.memory import MemoryStore

EVENT = AuditEvent(type=EventType.USER_LOGIN, time=1000.0, actor=HUB)


@implementer(ICopyTarget)
class TargetDouble:
    """Keeps what it is given, unless it is down."""

    name = "file"
    where = "/audit.jsonl"

    def __init__(self) -> None:
        self.lines: list[ChainedLine] = []
        self.aside: list[ChainedLine] = []
        self.problem: Exception | None = None
        self.calls = 0
        self.largest = 0
        self.is_closed = False

    def last(self) -> CopyPoint | None:
        self.calls += 1
        if self.problem is not None:
            raise self.problem
        return CopyPoint(self.lines[-1].seq, self.lines[-1].hash) if self.lines else None

    def write(self, lines: Sequence[ChainedLine]) -> None:
        self.calls += 1
        if self.problem is not None:
            # Some of them have arrived.
            self.lines.extend(lines[:1])
            raise self.problem
        self.largest = max(self.largest, len(lines))
        self.lines.extend(lines)

    def put_aside(self) -> None:
        self.aside, self.lines = self.lines, []

    def close(self) -> None:
        self.is_closed = True


class AuditCopyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.clock = Clock()
        self.target = TargetDouble()
        verifyObject(ICopyTarget, self.target)
        self.copy = self.make()

    def make(self) -> AuditCopy:
        def at_once(work: Any, *rest: Any) -> Deferred[Any]:
            return maybeDeferred(work, *rest)

        return AuditCopy(self.target, self.store.audit, self.clock, at_once)

    def record(self, number: int = 1, **changes: Any) -> None:
        for _ in range(number):
            self.successResultOf(self.store.audit.record(attrs.evolve(EVENT, **changes)))

    def seqs(self) -> list[int]:
        return [line.seq for line in self.target.lines]

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.copy.stop()))

    def test_follows(self) -> None:
        """What was there is copied in batches, and what comes a moment later."""
        self.record(2 * BATCH + 1)
        self.copy.start()
        self.assertEqual(self.target.largest, BATCH)
        self.record(2)
        self.assertEqual(len(self.target.lines), 2 * BATCH + 1)
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(self.seqs(), list(range(1, 2 * BATCH + 4)))
        self.assertEqual(self.copy.status.behind, 0)

    def test_goes_on(self) -> None:
        """A later process goes on after the last line."""
        self.record(3)
        self.copy.start()
        self.stop()
        self.record(2)
        self.copy = self.make()
        self.copy.start()
        self.assertEqual(self.seqs(), [1, 2, 3, 4, 5])

    def test_stop(self) -> None:
        """At the end the last events are copied, and the target is let go."""
        self.copy.start()
        self.record()
        self.stop()
        self.assertEqual(self.seqs(), [1])
        self.assertTrue(self.target.is_closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_down(self) -> None:
        """A target that is down is tried ever less often, said once, and then gets it all."""
        self.record(3)
        self.target.problem = OSError(111, "Connection refused")
        self.copy.start()
        self.assertEqual(self.copy.status.error, "Connection refused")
        for _ in range(200):
            self.clock.advance(1.0)
        self.assertLess(self.target.calls, 20)
        self.record(2)
        self.target.problem = None
        for _ in range(int(LONGEST_WAIT) + 1):
            self.clock.advance(1.0)
        self.assertEqual(self.seqs(), [1, 2, 3, 4, 5])
        self.assertEqual((self.copy.status.error, self.copy.status.behind), ("", 0))

    def test_fails_half_way(self) -> None:
        """After a failure the target says itself what it has, so that nothing comes twice."""
        self.copy.start()
        self.record(3)
        self.target.problem = OSError(28, "No space left on device")
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(self.copy.status.error, "No space left on device")
        self.assertEqual(self.copy.status.behind, 3)
        self.target.problem = None
        self.clock.advance(2 * POLL_SECONDS)
        self.assertEqual(self.seqs(), [1, 2, 3])

    def test_down_at_the_end(self) -> None:
        """A target that is down does not keep the hub from ending."""
        self.target.problem = OSError(5, "x")
        self.record()
        self.copy.start()
        self.stop()
        self.assertTrue(self.target.is_closed)

    def test_another_database(self) -> None:
        """The copy of another database is put aside, shorter or longer."""
        for more in (0, 5):
            self.record(2)
            self.copy.start()
            self.stop()
            self.store = MemoryStore()
            self.record(2 + more, time=2000.0)
            self.copy = self.make()
            self.copy.start()
            self.assertEqual(len(self.target.aside), 2)
            self.assertEqual(self.target.lines, self.store._tables.audit)
            self.stop()
            self.setUp()

    def test_pruned(self) -> None:
        """What retention removed before it was copied is missing, and the rest is there."""
        self.record(3, time=1000.0)
        self.copy.start()
        self.stop()
        self.record(3, time=1000.0)
        self.record(1, time=5000.0)
        self.successResultOf(self.store.audit.prune(2000.0))
        self.copy = self.make()
        self.copy.start()
        self.assertEqual(self.seqs(), [1, 2, 3, 7])

    def test_pruned_all_that_was_copied(self) -> None:
        """Retention of what was copied is no gap."""
        self.record(3)
        self.copy.start()
        self.stop()
        self.successResultOf(self.store.audit.prune(2000.0))
        self.record()
        self.copy = self.make()
        self.copy.start()
        self.assertEqual(self.seqs(), [1, 2, 3, 4])

    def test_store_closed(self) -> None:
        """A store that does not answer is a reason to wait."""
        self.successResultOf(self.store.close())
        self.copy.start()
        self.assertIn("closed", self.copy.status.error)
        self.clock.advance(2.0)
