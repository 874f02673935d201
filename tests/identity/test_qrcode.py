"""Tests of links as pictures."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import segno
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.qrcode import svg, terminal_text

LINK = "otpauth://totp/Mezite%20prod:ada?secret=HDF3LDECFVJOHTGSHY7UQ7RTFVSTT5RB"
HALVES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


class TerminalTests(SynchronousTestCase):
    def test_modules(self) -> None:
        """The characters are the modules of the code, two rows in a line, black on white."""
        lines = terminal_text(LINK).split("\n")
        self.assertLess(len(lines), 30)
        rows: list[list[int]] = []
        for line in lines:
            self.assertTrue(line.startswith("\x1b[38;5;16m\x1b[48;5;231m"))
            self.assertTrue(line.endswith("\x1b[0m"))
            pairs = [HALVES[each] for each in re.sub(r"\x1b\[[0-9;]*m", "", line)]
            rows += [[upper for upper, _ in pairs], [lower for _, lower in pairs]]
        expected = [
            [int(module) for module in row]
            for row in segno.make(LINK, micro=False, error="m").matrix_iter(border=2)
        ]
        self.assertEqual(rows[: len(expected)], expected)
        self.assertEqual({each for row in rows[len(expected) :] for each in row} - {0}, set())


class SvgTests(SynchronousTestCase):
    def test_element(self) -> None:
        """It is one element, without anything that a strict page would refuse."""
        text = svg(LINK)
        root = ElementTree.fromstring(text)
        self.assertEqual(root.tag, "svg")
        self.assertNotIn("style", text)
        self.assertNotIn("href", text)
        self.assertNotIn("secret", text)
