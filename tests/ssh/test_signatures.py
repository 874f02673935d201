from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.sshsignatures import is_signed
from mezite.ssh import signatures
from mezite.ssh.fields import string

KEYS: list[Any] = [
    Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
]


class SignatureTests(SynchronousTestCase):
    """Signatures in SSH's form."""

    def signed(self, key: Any, signature: bytes, data: bytes, algorithm: bytes) -> bool:
        return is_signed(signatures.public_blob(key), signature, data, algorithm=algorithm)

    def test_each_kind(self) -> None:
        """What a key signed is signed, and nothing else is."""
        for key in KEYS:
            name = signatures.algorithms_of(key)[0]
            for _ in range(5):  # leading zeros come and go
                made = signatures.sign(key, b"data")
                self.assertTrue(self.signed(key, made, b"data", name))
                self.assertFalse(self.signed(key, made, b"other", name))
            for other in KEYS:
                if other is not key:
                    self.assertFalse(self.signed(other, made, b"data", name))

    def test_both_rsa(self) -> None:
        """RSA signs with SHA-256 as well, but not as another algorithm than was said."""
        key = KEYS[-1]
        made = signatures.sign(key, b"data", algorithm=b"rsa-sha2-256")
        self.assertTrue(self.signed(key, made, b"data", b"rsa-sha2-256"))
        self.assertFalse(self.signed(key, made, b"data", b"rsa-sha2-512"))

    def test_sha1(self) -> None:
        """SHA-1 signs nothing."""
        self.assertFalse(self.signed(KEYS[-1], string(b"ssh-rsa") + string(b"x"), b"", b"ssh-rsa"))

    def test_garbage(self) -> None:
        """What cannot be read is no signature."""
        for key in KEYS:
            name = signatures.algorithms_of(key)[0]
            made = signatures.sign(key, b"data")
            for broken in (b"", made[:-1], made + b"x", string(name), string(name) + string(b"")):
                self.assertFalse(self.signed(key, broken, b"data", name))
        self.assertFalse(is_signed(b"", made, b"data", algorithm=signatures.algorithms_of(key)[0]))
