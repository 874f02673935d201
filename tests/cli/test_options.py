"""Tests of values that are typed on command lines."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli.options import parse_duration
from mezite.error import BadInput


class ParseDurationTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Numbers with units, alone or added up."""
        for text, seconds in (
            ("90s", 90),
            ("30m", 1800),
            ("12h", 43200),
            ("7d", 604800),
            ("1w", 604800),
            ("1h30m", 5400),
        ):
            self.assertEqual(parse_duration(text), seconds)

    def test_refused(self) -> None:
        """What is not that is refused with what can be written."""
        for text in ("", "5", "m", "0s", "-1h", "1.5h", "1y", "1h ", "٣h", "9" * 40 + "s"):
            self.assertRaises(BadInput, parse_duration, text)

    @given(st.text(max_size=40))
    @settings(max_examples=100, deadline=None)
    def test_any_text(self, text: str) -> None:
        """Any text is a duration or is refused."""
        try:
            self.assertGreater(parse_duration(text), 0)
        except BadInput:
            pass
