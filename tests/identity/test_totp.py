"""Tests of one-time codes."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote, urlparse

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.totp import (
    SECRET_OCTETS,
    STEP_SECONDS,
    code_at,
    enrolment_uri,
    is_code,
    new_secret,
    secret_text,
    step_of,
)

# RFC 6238, appendix B, for SHA-1; the last six digits of its eight.
SECRET = b"12345678901234567890"
VECTORS = (
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
    (20000000000, "353130"),
)


class TotpTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """The codes are those of the RFC."""
        for now, code in VECTORS:
            self.assertEqual(code_at(SECRET, now), code)
            self.assertEqual(step_of(SECRET, code, now, after=-1), now // STEP_SECONDS)

    def test_neighbours(self) -> None:
        """The code before and the one after are right, too; further ones are not."""
        now = 1111111111.5
        right = [
            offset
            for offset in range(-4, 5)
            if step_of(SECRET, code_at(SECRET, now + offset * STEP_SECONDS), now, after=-1)
            is not None
        ]
        self.assertEqual(right, [-1, 0, 1])

    def test_spent(self) -> None:
        """A step that was used, and those before it, are worth nothing."""
        now = 1111111111.0
        step = step_of(SECRET, code_at(SECRET, now), now, after=-1)
        assert step is not None
        self.assertIsNone(step_of(SECRET, code_at(SECRET, now), now, after=step))
        before = code_at(SECRET, now - STEP_SECONDS)
        self.assertIsNone(step_of(SECRET, before, now, after=step))
        following = code_at(SECRET, now + STEP_SECONDS)
        self.assertEqual(step_of(SECRET, following, now, after=step), step + 1)

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=20))
    def test_anything(self, text: str) -> None:
        """Whatever is typed is a code or is not; it is never a failure."""
        right = {code_at(SECRET, 1e9 + offset * STEP_SECONDS) for offset in (-1, 0, 1)}
        self.assertEqual(step_of(SECRET, text, 1e9, after=-1) is not None, text in right)
        self.assertEqual(is_code(text), len(text) == 6 and set(text) <= set("0123456789"))

    def test_uri(self) -> None:
        """An app finds the secret, the user and the cluster in the link."""
        secret = new_secret()
        self.assertEqual(len(secret), SECRET_OCTETS)
        uri = urlparse(enrolment_uri(secret, user="ada", issuer="Mezite prod:1"))
        self.assertEqual((uri.scheme, uri.netloc), ("otpauth", "totp"))
        self.assertEqual(unquote(uri.path), "/Mezite prod:1:ada")
        query = parse_qs(uri.query)
        self.assertEqual(base64.b32decode(query["secret"][0]), secret)
        self.assertEqual(secret_text(secret).replace(" ", ""), query["secret"][0])
        self.assertNotEqual(new_secret(), secret)
