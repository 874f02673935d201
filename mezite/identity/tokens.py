"""
Secrets that we make up: join tokens, one-time passwords, bearers.

Only the hash of a token or a bearer is ever stored. A plain SHA-256 is enough,
since there is nothing to guess in 200 random bits.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

# 30 symbols: no 0 and o, 1, l and i, u and v to mistake, since people read these aloud.
_SPOKEN: Final = "abcdefghjkmnpqrstvwxyz23456789"
_TOKEN_OCTETS: Final = 25  # 200 bits, 40 symbols of base32 without padding
_BEARER_OCTETS: Final = 32
_TOKEN_ID_LENGTH: Final = 12


def new_token() -> str:
    """A join token: ``mzt_`` and 200 random bits."""
    return "mzt_" + base64.b32encode(secrets.token_bytes(_TOKEN_OCTETS)).decode().lower()


def new_bearer() -> str:
    """What a logged-in user shows with each call: ``mzb_`` and 256 random bits."""
    return "mzb_" + secrets.token_urlsafe(_BEARER_OCTETS)


def new_password() -> str:
    """A password to be used once: 78 random bits in four groups."""
    return "-".join("".join(secrets.choice(_SPOKEN) for _ in range(4)) for _ in range(4))


def hash_token(text: str) -> bytes:
    """What is stored of a token or a bearer."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def token_id(secret_hash: bytes) -> str:
    """What a token goes by in listings: the first hex digits of its hash."""
    return secret_hash.hex()[:_TOKEN_ID_LENGTH]
