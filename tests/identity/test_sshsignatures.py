"""Tests of signatures that tokens make; tests/ssh has those of other keys."""

from __future__ import annotations

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.sshsignatures import is_signed
from tests.identity import forge

TOKENS = [
    forge.Token(Ed25519PrivateKey.generate()),
    forge.Token(ec.generate_private_key(ec.SECP256R1())),
]


def accepts(token: forge.Token, signature: bytes, **demands: bool) -> bool:
    blob = forge.public_blob(token)
    return is_signed(blob, signature, b"data", algorithm=token.algorithm, **demands)


class TokenSignatureTests(SynchronousTestCase):
    def test_flags(self) -> None:
        """What is demanded of the person must be among what the token has seen."""
        for token in TOKENS:
            for flags in range(256):
                signature = forge.signature(evolve(token, flags=flags), b"data")
                touched, verified = bool(flags & 1), bool(flags & 4)
                self.assertEqual(accepts(token, signature), touched)
                self.assertEqual(accepts(token, signature, verified=True), touched and verified)
                self.assertEqual(accepts(token, signature, touched=False, verified=True), verified)
                self.assertTrue(accepts(token, signature, touched=False))

    def test_application(self) -> None:
        """A signature that the token made for something else, a web page say, is none."""
        for token in TOKENS:
            other = evolve(token, application=b"https://example.com")
            self.assertFalse(accepts(token, forge.signature(other, b"data")))

    def test_not_on_a_token(self) -> None:
        """The bare key signs nothing in the token's name, nor the token in the key's."""
        for token in TOKENS:
            bare = forge.signature(token.key, b"data")
            self.assertFalse(accepts(token, bare))
            plain = forge.public_blob(token.key)
            made = forge.signature(token, b"data")
            kind = plain[4 : 4 + plain[3]]
            for algorithm in (kind, token.algorithm):
                self.assertFalse(is_signed(plain, made, b"data", algorithm=algorithm))
            self.assertTrue(is_signed(plain, bare, b"data", algorithm=kind))
            self.assertFalse(is_signed(plain, bare, b"data", algorithm=kind, verified=True))

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(TOKENS), st.integers(0, 1023), st.integers(0, 127))
    def test_any_bit(self, token: forge.Token, bit: int, length: int) -> None:
        """No bit of a signature can be changed, and nothing left off or added."""
        made = bytearray(forge.signature(token, b"data"))
        bit %= len(made) * 8  # an ECDSA signature is now longer, now shorter
        made[bit // 8] ^= 1 << bit % 8
        self.assertFalse(accepts(token, bytes(made)))
        whole = forge.signature(token, b"data")
        self.assertFalse(accepts(token, whole[: length % len(whole)]))
        self.assertFalse(accepts(token, whole + b"\0"))
