"""Tests that the reference of events and the events are the same."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.events import EventType

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "audit.rst"
_ROW = re.compile(r"^   \* - ``([a-z_.]+)``\n     - (MZ[0-9]{4}[IW])$", re.MULTILINE)


class ReferenceTests(SynchronousTestCase):
    def test_every_type(self) -> None:
        """Every type stands in the reference with its code, in the order of the codes."""
        self.assertEqual(
            _ROW.findall(PAGE.read_text()), [(each.text, each.code) for each in EventType]
        )

    def test_codes(self) -> None:
        """No two types share a name or a code."""
        self.assertEqual(len({each.text for each in EventType}), len(EventType))
        self.assertEqual(len({each.code for each in EventType}), len(EventType))
