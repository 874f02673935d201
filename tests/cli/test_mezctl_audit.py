"""Tests of mezctl's commands about the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import copy_of
from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.cli.auditcommands import parse_moment
from mezite.error import BadInput
from mezite.store.memorytables import Tables
from tests.cli.test_mezctl import MezctlTestCase

LOGIN = AuditEvent(
    type=EventType.USER_LOGIN, time=1_750_000_000.25, actor=Actor("ada", "192.0.2.1")
)
FAILED = AuditEvent(
    type=EventType.USER_LOGIN_FAILED,
    time=1_750_000_001.0,
    actor=Actor("nobody", "192.0.2.1"),
    target="ada",
    success=False,
    error="wrong password",
    details={"words": "a b"},
)


class AuditTestCase(MezctlTestCase):
    def setUp(self) -> None:
        super().setUp()
        for event in (LOGIN, FAILED, LOGIN):
            self.successResultOf(self.hub.store.audit.record(event))

    @property
    def tables(self) -> Tables:
        return self.hub.store._tables

    def change(self, seq: int, **changes: Any) -> None:
        self.tables.audit[seq - 1] = attrs.evolve(self.tables.audit[seq - 1], **changes)


class ListTests(AuditTestCase):
    def test_text(self) -> None:
        """Events are lines, the oldest first."""
        lines = self.mezctl("audit", "ls").out.splitlines()
        self.assertEqual(
            lines[:2],
            [
                "2025-06-15T15:06:40Z  user.login                ada           from=192.0.2.1",
                "2025-06-15T15:06:41Z  user.login.failed         nobody        to=ada"
                '  words="a b"  from=192.0.2.1  FAILED: wrong password',
            ],
        )

    def test_limit(self) -> None:
        """The newest are shown, and with 0 all."""
        self.assertEqual(len(self.mezctl("audit", "ls", "--limit=2").out.splitlines()), 2)
        self.assertEqual(len(self.mezctl("audit", "ls", "--limit=0").out.splitlines()), 3)
        self.assertIn("FAILED", self.mezctl("audit", "ls", "--limit=2").out)

    def test_json(self) -> None:
        """In JSON the lines are copies of the audit."""
        lines = self.mezctl("audit", "ls", "--format=json").out.splitlines()
        self.assertEqual(lines, [copy_of(each) for each in self.tables.audit])
        self.assertEqual(json.loads(lines[0])["event_code"], "MZ1000I")

    def test_filters(self) -> None:
        """Filters are asked of the hub; a mistake in one is said."""
        for options, number in (
            (["--type=user.login.*"], 1),
            (["--type=user.login", "--type=user.login.failed"], 3),
            (["--user=ada"], 3),
            (["--from=2025-06-15T15:06:41Z"], 1),
            (["--to=2025-06-15T15:06:41+00:00"], 2),
            (["--from=2h"], 0),
            (["--node=db1"], 0),
            (["--session=s1"], 0),
        ):
            ended = self.mezctl("audit", "ls", *options)
            self.assertEqual((ended.code, len(ended.out.splitlines())), (0, number), options)
        self.assertIn("no events of the type", self.refused(2, "audit", "ls", "--type=x"))
        self.assertIn("is not a time", self.refused(2, "audit", "ls", "--from=yesterday?"))

    def test_moments(self) -> None:
        """Times are RFC 3339, dates in UTC, or how long ago."""
        for text, moment in (
            ("1970-01-02", 86400),
            ("1970-01-02T00:00:00Z", 86400),
            ("1970-01-02T02:00:00+02:00", 86400),
            ("1970-01-02T00:00:00", 86400),
            ("2h", 100_000 - 7200),
            ("1h30m", 100_000 - 5400),
            ("900w", 1),
        ):
            self.assertEqual(parse_moment(text, 100_000.5), moment)
        for text in ("", "x", "2", "h", "2026-13-01", "-2h", "1" * 99, "2026-11-21T25:00"):
            self.assertRaises(BadInput, parse_moment, text, 100_000.0)


class VerifyTests(AuditTestCase):
    def test_whole(self) -> None:
        """A chain that is whole ends with 0, and with the hash to write down."""
        head = self.tables.chain.last_hash.hex()
        ended = self.mezctl("audit", "verify")
        self.assertEqual(
            (ended.code, ended.out), (0, f"The audit is whole: 3 events, 1 to 3.\nhead: {head}\n")
        )
        ended = self.mezctl("audit", "verify", f"--head={head.upper()}")
        self.assertIn("is that of event 3", ended.out)
        row = self.mezctl("audit", "verify", "--format=json").json
        self.assertEqual((row["whole"], row["count"], row["head"]), (True, 3, head))

    def test_broken(self) -> None:
        """One that is not ends with 1, and names the event."""
        self.change(2, line=self.tables.audit[1].line.replace("wrong", "right"))
        ended = self.mezctl("audit", "verify")
        self.assertEqual(ended.code, 1)
        self.assertIn("BROKEN: event 2 was changed", ended.out)
        ended = self.mezctl("audit", "verify", "--format=json")
        self.assertEqual((ended.code, ended.json["broken_seq"]), (1, 2))

    def test_head(self) -> None:
        """A hash that is not there breaks it; what is no hash is refused."""
        ended = self.mezctl("audit", "verify", f"--head={'7' * 64}")
        self.assertEqual(ended.code, 1)
        self.assertIn("no event has the hash", ended.out)
        self.refused(2, "audit", "verify", "--head=abc")


class FileTests(AuditTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.write(self.path, *self.tables.audit)

    def write(self, path: Path, *lines: ChainedLine, end: bytes = b"") -> None:
        path.write_bytes("".join(copy_of(each) + "\n" for each in lines).encode() + end)

    def verify(self, *options: str) -> tuple[int, str]:
        ended = self.mezctl("audit", "verify", f"--file={self.path}", *options)
        self.assertEqual((ended.err, self.doors), ("", []))
        return ended.code, ended.out

    def test_whole(self) -> None:
        """A copy is verified without a hub, with what was rotated away from it."""
        head = self.tables.chain.last_hash.hex()
        whole = (0, f"The audit is whole: 3 events, 1 to 3.\nhead: {head}\n")
        self.assertEqual(self.verify(), whole)
        self.write(self.path.with_name(f"{self.path.name}.2"), self.tables.audit[0])
        self.write(self.path.with_name(f"{self.path.name}.1"), self.tables.audit[1])
        self.write(self.path, self.tables.audit[2])
        self.assertEqual(self.verify(), whole)
        self.assertEqual(self.verify(f"--head={self.tables.audit[0].hash.hex()}")[0], 0)
        self.path.with_name(f"{self.path.name}.2").unlink()
        self.assertIn("2 events, 2 to 3", self.verify()[1])

    def test_broken(self) -> None:
        """What was changed, removed, cut off or is none of it is named."""
        first, second, third = self.tables.audit
        cases = [
            ([first, third], b"", "event 2 is missing"),
            ([first, attrs.evolve(second, hash=third.hash)], b"", "event 2 was changed"),
            ([first, second], copy_of(third)[:-9].encode(), "line 3 of"),
            ([first], b"\xff\xff\n", "it is not text"),
            ([], b"{}\n", "not a line of the audit"),
            ([first], b"x" * 9_000_000 + b"\n", "it has no end"),
        ]
        for lines, end, sentence in cases:
            self.write(self.path, *lines, end=end)
            code, out = self.verify()
            self.assertEqual(code, 1)
            self.assertIn(sentence, out)

    def test_missing(self) -> None:
        """A file that is not there is said so."""
        self.assertIn("there is no file", self.refused(5, "audit", "verify", "--file=/nowhere/x"))
        self.refused(2, "audit", "verify", "--file=/")

    def test_help(self) -> None:
        """Every command has a page of help."""
        for command in ([], ["ls"], ["verify"]):
            self.assertIn("Usage: mezctl audit", self.mezctl("audit", *command, "-h").out)
