"""Tests of the host names that a token lets a machine claim."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.error import BadPattern
from mezite.identity.hostpatterns import PATTERNS_LIMIT, HostPattern, parse_patterns
from mezite.names import NodeName


def matches(pattern: str, name: str) -> bool:
    return HostPattern.parse(pattern).matches(NodeName(name))


class HostPatternTests(SynchronousTestCase):
    def test_matches(self) -> None:
        """A star stands for anything within one part of a name, and for nothing, too."""
        for pattern, name, expected in (
            ("db1", "db1", True),
            ("DB1", "db1", True),
            ("db1", "db11", False),
            ("db1", "db1.eu", False),
            ("web-*", "web-1", True),
            ("web-*", "web-", True),
            ("web-*", "web", False),
            ("web-*", "web-1.eu", False),
            ("web-*.eu", "web-1.eu", True),
            ("web-*.eu", "web-1.us", False),
            ("*", "anything", True),
            ("*", "any.thing", False),
            ("*.*", "any.thing", True),
            ("a*a", "a", False),
            ("a*a", "aa", True),
            ("*b*b*", "abab", True),
            ("*b*b*", "aba", False),
            ("a*bc*bc", "abcbc", True),
            ("a*bc*bc", "abc", False),
        ):
            self.assertEqual(matches(pattern, name), expected, (pattern, name))

    def test_refused(self) -> None:
        """What can be no host name, with stars or without, is refused in one sentence."""
        for text in ("", "a b", "a..b", ".", "a_b", "x" * 64, "^db$", "[ab]", "a.b." * 60, "ü"):
            with self.assertRaises(BadPattern) as caught:
                HostPattern.parse(text)
            self.assertLess(len(str(caught.exception)), 250)

    def test_number(self) -> None:
        """So many patterns are taken and no more; the same one twice is one."""
        texts = [f"db{number}" for number in range(PATTERNS_LIMIT)]
        self.assertEqual(len(parse_patterns([*texts, "db0"])), PATTERNS_LIMIT)
        self.assertRaises(BadPattern, parse_patterns, [*texts, "more"])

    @settings(deadline=None, max_examples=100)
    @given(
        st.text("ab*.", min_size=1, max_size=12).filter(lambda t: all(t.split("."))),
        st.text("ab.", min_size=1, max_size=12).filter(lambda t: all(t.split("."))),
    )
    def test_as_expressions(self, pattern: str, name: str) -> None:
        """A pattern is what the regular expression is that says the same."""
        expression = re.escape(pattern).replace(r"\*", "[^.]*")
        self.assertEqual(matches(pattern, name), re.fullmatch(expression, name) is not None)
