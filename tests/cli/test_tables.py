"""Tests of tables and JSON."""

from __future__ import annotations

import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli.tables import Column, ago, cell, duration, print_rows, timestamp, until

NOW = 1_800_000_000.0


class PrintRowsTests(SynchronousTestCase):
    def test_json(self) -> None:
        """JSON is an array of objects with the columns' keys and untouched values."""
        out = io.StringIO()
        row = {"a": {"k": "ü"}, "b": None, "c": 1, "hidden": 2}
        print_rows([row], ["a", Column("b"), "c"], "json", file=out)
        self.assertEqual(json.loads(out.getvalue()), [{"a": {"k": "ü"}, "b": None, "c": 1}])

    def test_no_rows(self) -> None:
        """Without rows JSON is an empty array, and the text has titles only."""
        out = io.StringIO()
        print_rows([], ["a"], "json", file=out)
        self.assertEqual(json.loads(out.getvalue()), [])
        out = io.StringIO()
        print_rows([], ["last_seen"], file=out)
        self.assertEqual(out.getvalue().split(), ["last", "seen"])

    def test_text(self) -> None:
        """One line for each row, never folded or cut where no terminal is."""
        out = io.StringIO()
        wide = "x" * 300
        rows = [{"a": wide, "b": wide}, {"a": {"z": "1", "y": "2"}, "b": ["p", "q"]}]
        print_rows(rows, ["a", "b"], file=out)
        lines = [line.split() for line in out.getvalue().splitlines()]
        self.assertEqual(lines, [["a", "b"], [wide, wide], ["y=2", "z=1", "p", "q"]])

    def test_hostile_text(self) -> None:
        """Neither escape sequences nor markup in a value have an effect."""
        out = io.StringIO()
        print_rows([{"a": "\x1b[31m[red]x[/red]\n:smile:"}], ["a"], file=out)
        self.assertEqual(out.getvalue().splitlines()[1].rstrip(), "�[31m[red]x[/red]�:smile:")

    @given(st.text(max_size=30))
    @settings(max_examples=50, deadline=None)
    def test_one_line_each(self, text: str) -> None:
        """Whatever a value is, it stays on its line."""
        out = io.StringIO()
        print_rows([{"a": text}], ["a"], file=out)
        self.assertEqual(out.getvalue().count("\n"), 2)


class CellTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Nothing is a dash, truth is a word."""
        self.assertEqual([cell(value) for value in (None, "", {}, [])], ["-"] * 4)
        self.assertEqual([cell(True), cell(False), cell(0)], ["yes", "no", "0"])


class TimeTests(SynchronousTestCase):
    def test_timestamp(self) -> None:
        """A time in JSON is RFC 3339 in UTC."""
        self.assertEqual(timestamp(NOW), "2027-01-15T08:00:00Z")
        self.assertIsNone(timestamp(None))

    def test_ago_and_until(self) -> None:
        """People read how long ago, or how long still."""
        self.assertEqual(ago(NOW)(timestamp(NOW - 75)), "1m 15s ago")
        self.assertEqual(ago(NOW)(None), "never")
        self.assertEqual(until(NOW)(timestamp(NOW + 3600)), "in 1h")
        self.assertEqual(until(NOW)(timestamp(NOW - 1)), "1s ago")

    def test_duration(self) -> None:
        """A length of time has its two largest units."""
        for seconds, text in (
            (0, "0s"),
            (-5, "0s"),
            (59.9, "59s"),
            (3600, "1h"),
            (86399, "23h 59m"),
            (86400 + 5, "1d"),
            (90061, "1d 1h"),
        ):
            self.assertEqual(duration(seconds), text)
