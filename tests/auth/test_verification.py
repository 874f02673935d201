"""Tests of the verification of the audit, over a store whose lines are then changed."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.chain import ChainedLine
from mezite.audit.events import HUB, Actor, AuditEvent, EventType
from mezite.auth.verification import Progress, Verdict, Verification
from mezite.error import BadInput
from mezite.store.memory import MemoryStore
from mezite.store.memorytables import Tables

EVENT = AuditEvent(type=EventType.USER_LOGIN, time=1000.0, actor=Actor("ada"), target="ada")
PRUNED = AuditEvent(type=EventType.AUDIT_PRUNED, time=1000.0, actor=HUB)


class VerificationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.clock = Clock()
        self.verification = Verification(
            self.store.audit, self.clock, lambda work, *rest: maybeDeferred(work, *rest)
        )
        for number in range(5):
            self.record(time=1000.0 + number)

    def record(self, **changes: Any) -> None:
        self.successResultOf(self.store.audit.record(attrs.evolve(EVENT, **changes)))

    def verify(self, *arguments: Any, **options: Any) -> Verdict:
        return self.successResultOf(
            Deferred.fromCoroutine(self.verification.verify(*arguments, **options))
        )

    @property
    def tables(self) -> Tables:
        return self.store._tables

    def broken(self) -> tuple[int, str]:
        verdict = self.verify()
        self.assertTrue(verdict.is_done)
        return verdict.broken_seq, verdict.broken

    def change(self, seq: int, **changes: Any) -> None:
        self.tables.audit[seq - 1] = attrs.evolve(self.tables.audit[seq - 1], **changes)

    def test_whole(self) -> None:
        """A chain as it was written is right, from its first event to its last."""
        verdict = self.verify()
        self.assertEqual((verdict.count, verdict.broken, verdict.is_done), (5, "", True))
        self.assertEqual(verdict.progress.hash, self.tables.chain.last_hash)

    def test_empty(self) -> None:
        """A chain without events is right."""
        self.store = MemoryStore()
        self.verification = attrs.evolve(self.verification, log=self.store.audit)
        self.assertEqual((self.verify().count, self.verify().broken), (0, ""))

    def test_changed(self) -> None:
        """A changed line is named."""
        self.change(3, line=self.tables.audit[2].line.replace('"ada"', '"bob"'))
        self.assertEqual(self.broken()[0], 3)
        self.assertIn("event 3 was changed", self.broken()[1])

    def test_changed_hash(self) -> None:
        """A changed hash is, too."""
        self.change(2, hash=b"\0" * 32)
        self.assertEqual(self.broken()[0], 2)

    def test_removed(self) -> None:
        """A removed line is named, also at the beginning and at the end."""
        for seq, sentence in ((3, "event 3 is missing"), (1, "event 1 is missing")):
            kept = list(self.tables.audit)
            del self.tables.audit[seq - 1]
            self.assertEqual(self.broken()[0], seq)
            self.assertIn(sentence, self.broken()[1])
            self.tables.audit[:] = kept
        del self.tables.audit[3:]
        self.assertEqual(self.broken(), (4, "event 4 to 5 is missing at the end"))

    def test_added(self) -> None:
        """Lines before the first and after the last are found."""
        last = self.tables.audit[-1]
        self.tables.audit.append(attrs.evolve(last, seq=6))
        self.assertEqual(self.broken(), (6, "event 6 was added: it is none that the hub wrote"))
        del self.tables.audit[-1]
        self.tables.audit.insert(0, ChainedLine(0, "{}", b""))
        self.assertEqual(self.broken(), (0, "event 0 was added: it is none that the hub wrote"))

    def test_other_end(self) -> None:
        """The hub's note of the last line counts."""
        self.tables.chain = attrs.evolve(self.tables.chain, last_hash=b"\1" * 32)
        self.assertEqual(self.broken(), (5, "event 5 is not the one that the hub wrote last"))

    def test_wanted(self) -> None:
        """A hash from elsewhere is found, or its absence is told."""
        wanted = self.tables.audit[1].hash
        self.assertEqual(self.verify(wanted=wanted).progress.found, 2)
        verdict = self.verify(wanted=b"\7" * 32)
        self.assertIn("no event has the hash", verdict.broken)
        self.successResultOf(self.store.audit.prune(1002.0, event=PRUNED))
        self.assertEqual(self.verify(wanted=wanted).progress.found, 2)

    def test_pruned(self) -> None:
        """What retention removed is not missed; what somebody else removed is."""
        self.successResultOf(self.store.audit.prune(1003.0, event=PRUNED))
        verdict = self.verify()
        self.assertEqual((verdict.count, verdict.broken), (3, ""))
        kept, self.tables.audit[:] = self.tables.audit[0], self.tables.audit[1:]
        self.tables.chain = attrs.evolve(
            self.tables.chain, first_seq=kept.seq, first_hash=kept.hash
        )
        self.assertIn("the events up to 4 are gone", self.broken()[1])

    def test_in_parts(self) -> None:
        """When its time is up it pauses, and goes on from there."""

        def slow(work: Any, *rest: Any) -> Deferred[Any]:
            self.clock.advance(5)
            return maybeDeferred(work, *rest)

        self.verification = Verification(self.store.audit, self.clock, slow)
        for _ in range(1500):
            self.record()
        first = self.verify()
        self.assertEqual((first.is_done, first.count), (False, 1000))
        second = self.verify(Progress.parse(first.progress.text))
        self.assertEqual((second.is_done, second.count), (True, 1505))

    def test_pruned_between(self) -> None:
        """A verification that retention overtook begins anew where the chain begins."""
        progress = Progress(0, 1, self.tables.audit[0].hash)
        self.successResultOf(self.store.audit.prune(1003.0, event=PRUNED))
        self.assertEqual(self.verify(progress).count, 3)

    def test_bad_progress(self) -> None:
        """Only a text that is a progress is taken for one."""
        for text in ("", "1", "1-2-zz-0", "0-1-" + "0" * 63 + "-0", "9" * 40, "\N{SNOWMAN}"):
            self.assertRaises(BadInput, Progress.parse, text)
