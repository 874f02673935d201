"""Tests of patterns, against Python's own."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.error import BadPattern
from mezite.identity.patterns import PATTERN_LENGTH, Pattern

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\w", r"\.", "[b-]"])
BODIES = st.recursive(
    st.one_of(ATOMS, st.builds("{}{}".format, ATOMS, st.sampled_from("?*+"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.builds("({}|{})".format, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from("?*")),
    ),
    max_leaves=6,
)


class PatternTests(SynchronousTestCase):
    @settings(max_examples=40, deadline=None)
    @given(BODIES, st.lists(st.text("abc0.-", max_size=6), max_size=6))
    def test_like_python(self, body: str, texts: list[str]) -> None:
        """What a pattern means is what Python's means by the same signs."""
        pattern = f"^{body}$"
        for text in texts:
            expected = re.fullmatch(body, text, re.ASCII | re.DOTALL) is not None
            self.assertIs(Pattern.parse(pattern).matches(text), expected, (pattern, text))

    def test_refused(self) -> None:
        """What is not understood is refused, and the sentence says what would be."""
        for text in (
            *("", "^", "a", "^a", "a$", "^(a$", "^a)$", "^[a$", "^[]$", "^a**$", "^a+?$", "^*$"),
            *(
                "^a{2}$",
                r"^\1$",
                r"^\b$",
                "^(?=a)$",
                "^(?:a)$",
                "^a\\$",
                "^[z-a]$",
                "^[[:alpha:]]$",
            ),
            *("^[[:alpha:]]$", r"^[\d-z]$", r"^[a-\d]$", r"^[a-\w]$"),
            *("^a^b$", "^a$b$", "^" + "(" * 20 + ")" * 20 + "$", "^" + "a" * PATTERN_LENGTH + "$"),
        ):
            error = self.assertRaises(BadPattern, Pattern.parse, text)
            self.assertIn("a pattern is written ^...$", str(error))

    @settings(max_examples=40, deadline=None)
    @given(st.text("ab^$|()[]?*+\\.-{}0", max_size=20))
    def test_any_text(self, text: str) -> None:
        """Whatever is written, it is a pattern or it is refused."""
        try:
            pattern = Pattern.parse(f"^{text}$")
        except BadPattern:
            return
        pattern.matches("ab0")

    def test_no_catastrophe(self) -> None:
        """Patterns that keep other matchers busy for ages are answered at once."""
        for body in ("(a*)*b", "(a|a)*b", "(a?)" * 25 + "a" * 25 + "b", ".*" * 40 + "b"):
            self.assertFalse(Pattern.parse(f"^{body}$").matches("a" * 255))

    def test_equality(self) -> None:
        """Patterns are equal when they are written alike."""
        self.assertEqual(Pattern.parse("^a$"), Pattern.parse("^a$"))
        self.assertNotEqual(Pattern.parse("^a$"), Pattern.parse("^a?$"))
