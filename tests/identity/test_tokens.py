"""Tests of the secrets that are made up."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.tokens import (
    canonical_recovery_code,
    hash_token,
    new_bearer,
    new_invite,
    new_password,
    new_recovery_code,
    new_request_id,
    new_token,
    token_id,
)


class TokenTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Tokens, bearers and passwords can be told apart, typed and pasted."""
        for make, form in (
            (new_token, r"mzt_[a-z2-7]{40}"),
            (new_invite, r"mzi_[a-z2-7]{40}"),
            (new_recovery_code, r"([a-z2-9]{4}-){3}[a-z2-9]{4}"),
            (new_bearer, r"mzb_[A-Za-z0-9_-]{43}"),
            (new_request_id, r"[0-9a-f]{10}"),
            (new_password, r"([a-z2-9]{4}-){3}[a-z2-9]{4}"),
        ):
            made = {make() for _ in range(100)}
            self.assertEqual(len(made), 100)
            for text in made:
                self.assertTrue(re.fullmatch(form, text), text)

    def test_any_text_hashes(self) -> None:
        """A token that nobody made is hashed like any other, whatever its characters."""
        self.assertEqual(len(hash_token("\ud800\0é")), 32)

    def test_id(self) -> None:
        """A token's id tells a person which it is, and not what it is."""
        secret = new_token()
        self.assertRegex(token_id(hash_token(secret)), r"^[0-9a-f]{12}$")
        self.assertNotIn(token_id(hash_token(secret)), secret)

    def test_recovery_codes_as_typed(self) -> None:
        """A recovery code is the same in capitals, without dashes, and with spaces."""
        code = new_recovery_code()
        for typed in (code, code.upper(), code.replace("-", ""), f" {code.replace('-', '  ')}\n"):
            self.assertEqual(canonical_recovery_code(typed), code)
        self.assertLess(len(canonical_recovery_code("x" * 100_000)), 400)
