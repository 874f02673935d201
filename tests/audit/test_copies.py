"""Tests of the audit's lines outside of the database."""

from __future__ import annotations

import json

import attrs
from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.copies import CopyVerifier, copy_of, read_copy
from mezite.audit.error import BadAuditLine
from mezite.audit.events import HUB, AuditEvent, EventType
from tests.audit.test_chain import VECTORS, chained, events


class CopyTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """The copy of a line is spelled as specified."""
        lines = []
        for number, each in enumerate(VECTORS["chain"], 1):
            line = read_copy(each["copy"])
            self.assertEqual(
                (line.seq, line.line, line.hash.hex()), (number, each["line"], each["hash"])
            )
            self.assertEqual(copy_of(line), each["copy"])
            lines.append(line)
        self.assertTrue(CopyVerifier().check(lines))

    @given(events)
    @settings(max_examples=50, deadline=None)
    def test_round_trip(self, event: AuditEvent) -> None:
        """A copy is one line of JSON, and is read as it was."""
        (line,) = chained([event])
        copy = copy_of(line)
        self.assertEqual(copy.splitlines(), [copy])
        self.assertEqual(json.loads(copy), {**json.loads(line.line), "hash": line.hash.hex()})
        self.assertEqual(read_copy(copy), line)

    def test_not_copies(self) -> None:
        """What is none is refused."""
        good = VECTORS["chain"][0]["copy"]
        for text in ("", "{}", good[:-1], good + " ", good.replace('"hash"', '"Hash"'), "x" * 9999):
            self.assertRaises(BadAuditLine, read_copy, text)


class CopyVerifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        event = AuditEvent(type=EventType.HUB_STARTED, time=1.0, actor=HUB)
        self.lines = chained([event] * 6)

    def test_from_the_middle(self) -> None:
        """A copy that begins later is checked from its first line on."""
        verifier = CopyVerifier(wanted=self.lines[2].hash)
        self.assertTrue(verifier.check(self.lines[2:]))
        assert verifier.chain is not None
        self.assertEqual((verifier.first_seq, verifier.count, verifier.chain.found), (3, 4, 3))

    def test_broken(self) -> None:
        """A line that was changed or removed is named."""
        for changed, sentence in (
            ([*self.lines[:2], *self.lines[3:]], "event 3 is missing"),
            ([attrs.evolve(self.lines[0], hash=b"\0" * 32)], "event 1 was changed"),
            ([self.lines[3], *self.lines[5:]], "event 5 is missing"),
        ):
            verifier = CopyVerifier()
            self.assertFalse(verifier.check(changed))
            assert verifier.chain is not None
            self.assertIn(sentence, str(verifier.chain.broken))
