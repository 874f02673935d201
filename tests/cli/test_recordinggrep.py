"""
Patterns of ``msh recordings grep``.
"""

from __future__ import annotations

import signal
import time

from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import recordinggrep
from mezite.cli.recordinggrep import BoundedPattern
from mezite.error import BadInput


class BoundedPatternTests(SynchronousTestCase):
    """Regular expressions that cannot run for ever."""

    def test_places(self) -> None:
        """All places are told, of expressions and of texts."""
        self.assertEqual(BoundedPattern("a.").places("ab ac"), [(0, 2), (3, 5)])
        self.assertEqual(BoundedPattern("A", ignore_case=True).places("xa"), [(1, 2)])
        self.assertEqual(BoundedPattern("a.", is_fixed=True).places("ab a."), [(3, 5)])
        self.assertEqual(BoundedPattern("b").places("a"), [])

    def test_hostile(self) -> None:
        """One that would take hours is given up, and leaves no alarm behind."""
        self.patch(recordinggrep, "_MATCH_SECONDS", 0.1)
        before = signal.getsignal(signal.SIGALRM)
        began = time.monotonic()
        with self.assertRaises(BadInput) as caught:
            BoundedPattern("(a+)+$").places("a" * 100 + "!")
        self.assertLess(time.monotonic() - began, 5)
        self.assertIn("takes too long", str(caught.exception))
        self.assertEqual(signal.getsignal(signal.SIGALRM), before)
        self.assertEqual(signal.getitimer(signal.ITIMER_REAL), (0.0, 0.0))

    def test_malformed(self) -> None:
        """What is no expression, or too long, is refused in a sentence."""
        for pattern in ("(", "a{99999999999}", "[z-a]", "x" * 1001):
            self.assertRaises(BadInput, BoundedPattern, pattern)

    def test_many_places(self) -> None:
        """A line has a bounded number of places."""
        self.assertEqual(len(BoundedPattern("").places("x" * 10_000)), 100)
