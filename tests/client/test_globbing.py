"""Tests of patterns of file names."""

from __future__ import annotations

import fnmatch
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import globbing
from mezite.client.copylocal import LocalFiles
from mezite.client.copysides import FileTrouble
from mezite.client.globbing import (
    MAX_ALTERNATIVES,
    Pattern,
    alternatives,
    escaped,
    expand,
    has_magic,
    unescaped,
)
from mezite.error import BadInput
from tests.doubles.sftp import at_once

texts = st.text(st.sampled_from("ab*?[]-!^\\.{},x "), max_size=12)


class PatternTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The shell's patterns match what the shell matches."""
        for pattern, yes, no in (
            ("*", ["a", "a.b"], [".a", ".."]),
            (".*", [".a", "."], ["a"]),
            ("?", ["a", "é"], ["", "ab", "."]),
            ("*.gz", ["x.gz", "a.b.gz"], [".gz", "x.gzz", ".a.gz"]),
            ("[a-c]x", ["ax", "cx"], ["dx", "x", "-x"]),
            ("[!a-c]x", ["dx"], ["ax"]),
            ("[^a]", ["b"], ["a"]),
            ("[]a]", ["]", "a"], ["b"]),
            ("[a-]", ["-", "a"], ["b"]),
            ("[", ["["], ["a"]),
            ("[ab", ["[ab"], ["a"]),
            ("\\*", ["*"], ["a"]),
            ("[\\]]", ["]"], ["\\"]),
            ("a\\", ["a\\"], ["a"]),
            ("*a*b*", ["ab", "xaxbx"], ["ba"]),
            ("", [""], ["a"]),
        ):
            parsed = Pattern.parse(pattern)
            for name in yes:
                self.assertTrue(parsed.matches(name), (pattern, name))
            for name in no:
                self.assertFalse(parsed.matches(name), (pattern, name))

    @given(texts.filter(lambda text: not set(text) & set("\\^")), st.text("ab-x]", max_size=10))
    @settings(max_examples=100, deadline=None)
    def test_as_fnmatch(self, pattern: str, name: str) -> None:
        """Where Python knows the pattern, it agrees."""
        self.assertEqual(
            Pattern.parse(pattern).matches(name), fnmatch.fnmatchcase(name, pattern), pattern
        )

    @given(texts, texts)
    @settings(max_examples=100, deadline=None)
    def test_escaped(self, text: str, other: str) -> None:
        """What was escaped means itself, and nothing else."""
        self.assertFalse(has_magic(escaped(text)))
        self.assertEqual(unescaped(escaped(text)), text)
        self.assertEqual(Pattern.parse(escaped(text)).matches(other), text == other)
        self.assertEqual(alternatives(escaped(text)), [escaped(text)])

    def test_no_explosion(self) -> None:
        """A pattern made to take for ever does not."""
        begun = time.monotonic()
        self.assertFalse(Pattern.parse("*a" * 50 + "b").matches("a" * 255))
        self.assertLess(time.monotonic() - begun, 1)


class AlternativesTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Braces with a comma in them are alternatives; others are characters."""
        for pattern, expected in (
            ("a", ["a"]),
            ("{a,b}c", ["ac", "bc"]),
            ("x{a,b{1,2}}", ["xa", "xb1", "xb2"]),
            ("{a,b}{1,2}", ["a1", "a2", "b1", "b2"]),
            ("{a}", ["{a}"]),
            ("{a}{b,c}", ["{a}b", "{a}c"]),
            ("{", ["{"]),
            ("\\{a,b}", ["\\{a,b}"]),
            ("a{,b}", ["a", "ab"]),
        ):
            self.assertEqual(alternatives(pattern), expected)

    def test_too_many(self) -> None:
        """Alternatives that double without end are refused."""
        self.assertRaises(BadInput, alternatives, "{a,b}" * 30)
        self.assertEqual(len(alternatives("{a,b}" * 9)), 512)
        self.assertLess(512, MAX_ALTERNATIVES)


class ExpandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir(parents=True)
        for name in ("a.gz", "b.gz", ".c.gz", "d/e.gz", "d/f", "g/e.gz", "w[x]", "-h"):
            path = self.here / name
            path.parent.mkdir(exist_ok=True)
            path.touch()

    def expanded(self, pattern: str) -> list[str]:
        side = LocalFiles(at_once, str(self.here))
        return self.successResultOf(Deferred.fromCoroutine(expand(side, pattern)))

    def test_table(self) -> None:
        """Patterns name what is there, in order, in any part of a path."""
        for pattern, expected in (
            ("*.gz", ["a.gz", "b.gz"]),
            (".*.gz", [".c.gz"]),
            ("*/e.gz", ["d/e.gz", "g/e.gz"]),
            ("*/f", ["d/f"]),
            ("d/*", ["d/e.gz", "d/f"]),
            ("*/", ["d", "g"]),
            ("-*", ["-h"]),
            ("plain", ["plain"]),
            ("no*", ["no*"]),
            ("w[x]", ["w[x]"]),
            ("w\\[x]", ["w[x]"]),
            (f"{self.here}/?.gz", [f"{self.here}/a.gz", f"{self.here}/b.gz"]),
        ):
            self.assertEqual(self.expanded(pattern), expected, pattern)

    def test_too_many(self) -> None:
        """A pattern that names more than can be kept is refused."""
        self.patch(globbing, "MAX_MATCHES", 1)
        side = LocalFiles(at_once, str(self.here))
        self.failureResultOf(Deferred.fromCoroutine(expand(side, "*.gz")), FileTrouble)
