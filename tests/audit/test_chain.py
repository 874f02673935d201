"""
Tests of the audit's events and of their chain.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.chain import (
    GENESIS,
    ChainedLine,
    ChainVerifier,
    decode_event,
    encode_event,
    link,
)
from mezite.audit.error import BadAuditLine
from mezite.audit.events import (
    BY_TEXT,
    DETAILS,
    TEXT_LENGTH,
    VALUES,
    Actor,
    AuditEvent,
    EventType,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "audit.json").read_text())

texts = st.text(max_size=40)
values = st.one_of(texts, st.integers(), st.booleans(), st.lists(texts, max_size=5).map(tuple))
events = st.builds(
    AuditEvent,
    type=st.sampled_from(EventType),
    time=st.floats(0, 4e9),
    actor=st.builds(Actor, texts, texts),
    target=texts,
    node=texts,
    login=texts,
    session_id=texts,
    success=st.booleans(),
    error=texts,
    details=st.dictionaries(texts, values, max_size=5),
    id=st.uuids().map(str),
)


def chained(several: list[AuditEvent]) -> list[ChainedLine]:
    lines: list[ChainedLine] = []
    last = GENESIS
    for seq, event in enumerate(several, 1):
        line = encode_event(event, seq)
        last = link(last, line)
        lines.append(ChainedLine(seq, line, last))
    return lines


class EventTests(SynchronousTestCase):
    def test_types(self) -> None:
        """Types and codes are each used once."""
        self.assertEqual(len(BY_TEXT), len(EventType))
        self.assertEqual(len({each.code for each in EventType}), len(EventType))

    def test_codes_say_outcome(self) -> None:
        """A code ends in I or W."""
        for each in EventType:
            self.assertRegex(each.code, r"^MZ\d{4}[IW]$")

    def test_hostile_text(self) -> None:
        """Text from strangers breaks no line and no bound."""
        event = AuditEvent(
            type=EventType.USER_LOGIN_FAILED,
            time=0.0,
            actor=Actor("a\n\x1b[2J\ud800", "x" * 5000),
            details={str(n): tuple("y" * 5000 for _ in range(99)) for n in range(99)},
        )
        self.assertEqual(event.actor.name, "a\ufffd\ufffd[2J\ufffd")
        self.assertEqual(len(event.actor.address), TEXT_LENGTH)
        self.assertEqual(len(event.details), DETAILS)
        for value in event.details.values():
            self.assertEqual(len(value), VALUES)
        self.assertLess(len(encode_event(event, 1)), 8 * 2**20)


class LineTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """The lines and hashes of the specification come out."""
        for vector in VECTORS["chain"]:
            seq, event = decode_event(vector["line"])
            self.assertEqual(encode_event(event, seq), vector["line"])
            hashed = link(bytes.fromhex(vector["previous"]), vector["line"])
            self.assertEqual(hashed.hex(), vector["hash"])

    @settings(max_examples=100, deadline=None)
    @given(event=events, seq=st.integers(1, 2**53))
    def test_round_trip(self, event: AuditEvent, seq: int) -> None:
        """Encode then decode is the identity."""
        line = encode_event(event, seq)
        self.assertTrue(line.isascii())
        self.assertNotIn("\n", line)
        self.assertEqual(decode_event(line), (seq, event))
        self.assertEqual(encode_event(event, seq), line)

    def test_malformed(self) -> None:
        """What no audit wrote is refused with a sentence."""
        good = json.loads(VECTORS["chain"][0]["line"])
        for bad in (
            "",
            "null",
            "[]",
            "{",
            "[" * 100_000,
            json.dumps({**good, "more": 1}),
            json.dumps({**good, "seq": 0}),
            json.dumps({**good, "seq": True}),
            json.dumps({**good, "time": "yesterday"}),
            json.dumps({**good, "event_type": "user.ate"}),
            json.dumps({**good, "event_type": []}),
            json.dumps({**good, "event_code": "MZ0"}),
            json.dumps({**good, "details": 3}),
            json.dumps({**good, "details": {"a": 1.5}}),
            json.dumps({**good, "user": 3}),
        ):
            with self.assertRaises(BadAuditLine, msg=bad[:80]):
                decode_event(bad)


class VerifierTests(SynchronousTestCase):
    @settings(max_examples=50, deadline=None)
    @given(several=st.lists(events, min_size=1, max_size=6), data=st.data())
    def test_any_byte(self, several: list[AuditEvent], data: st.DataObject) -> None:
        """A byte that was changed is found, whichever it is; so is the line."""
        lines = chained(several)
        self.assertTrue(ChainVerifier().check(lines))
        which = data.draw(st.integers(0, len(lines) - 1))
        victim = lines[which]
        octets = bytearray(victim.line.encode() + victim.hash)
        place = data.draw(st.integers(0, len(octets) - 1))
        octets[place] ^= data.draw(st.integers(1, 127))
        split = len(victim.line)
        lines[which] = attrs.evolve(
            victim,
            line=octets[:split].decode("latin-1"),
            hash=bytes(octets[split:]),
        )
        verifier = ChainVerifier()
        self.assertFalse(verifier.check(lines))
        self.assertIn(str(which + 1), verifier.broken or "")

    def test_missing(self) -> None:
        """A line that was removed is missed, and its number is told."""
        lines = chained([decode_event(VECTORS["chain"][0]["line"])[1]] * 4)
        verifier = ChainVerifier()
        self.assertFalse(verifier.check(lines[:1] + lines[2:]))
        self.assertEqual(verifier.broken, "event 2 is missing: 3 follows 1")

    def test_swapped(self) -> None:
        """Two lines that changed places are found."""
        lines = chained([decode_event(VECTORS["chain"][0]["line"])[1]] * 3)
        self.assertFalse(ChainVerifier().check([lines[1], lines[0], lines[2]]))

    def test_pages(self) -> None:
        """Lines may come in any portions, and from the middle with a known hash."""
        lines = chained([decode_event(VECTORS["chain"][0]["line"])[1]] * 5)
        verifier = ChainVerifier()
        self.assertTrue(all(verifier.check([line]) for line in lines))
        later = ChainVerifier(lines[2].seq, lines[2].hash)
        self.assertTrue(later.check(lines[3:]))
        self.assertEqual((later.seq, later.hash), (5, lines[4].hash))

    def test_wrong_number(self) -> None:
        """A line with another number inside than outside is found."""
        line = encode_event(decode_event(VECTORS["chain"][0]["line"])[1], 7)
        verifier = ChainVerifier()
        self.assertFalse(verifier.check([ChainedLine(1, line, link(GENESIS, line))]))
        self.assertEqual(verifier.broken, "event 1 says that it is number 7")

    def test_stays_broken(self) -> None:
        """After the first wrong line nothing is believed any more."""
        lines = chained([decode_event(VECTORS["chain"][0]["line"])[1]] * 2)
        verifier = ChainVerifier()
        self.assertFalse(verifier.check(lines[1:]))
        self.assertFalse(verifier.check(lines))
