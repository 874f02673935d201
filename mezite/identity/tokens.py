"""
Secrets that we make up: tokens, invites, one-time passwords, recovery codes, bearers.

Only the hash of one is ever stored. A plain SHA-256 is enough, since there is
nothing to guess in 78 random bits or more; a password, even of ours, gets
argon2id (:mod:`mezite.auth.passwords`).
"""

from __future__ import annotations

import base64
import enum
import hashlib
import secrets
from typing import Final

# 30 symbols: no 0 and o, 1, l and i, u and v to mistake, since people read these aloud.
_SPOKEN: Final = "abcdefghjkmnpqrstvwxyz23456789"
_TOKEN_OCTETS: Final = 25  # 200 bits, 40 symbols of base32 without padding
_BEARER_OCTETS: Final = 32
# Of a million, two are the same with a chance of one half: then another is taken.
_REQUEST_OCTETS: Final = 5
_TOKEN_ID_LENGTH: Final = 12
_API_PREFIX: Final = "mza_"


class ApiAccess(enum.Enum):
    """What an API token is good for, of what its user may."""

    FULL = "full"
    READ_ONLY = "read-only"
    # Certificates for the user, and nothing else.
    CERTIFICATES = "certificates"


def new_token() -> str:
    """A join token: ``mzt_`` and 200 random bits."""
    return "mzt_" + base64.b32encode(secrets.token_bytes(_TOKEN_OCTETS)).decode().lower()


def new_invite() -> str:
    """What makes somebody a user: ``mzi_`` and 200 random bits."""
    return "mzi_" + base64.b32encode(secrets.token_bytes(_TOKEN_OCTETS)).decode().lower()


def new_bearer() -> str:
    """What a logged-in user shows with each call: ``mzb_`` and 256 random bits."""
    return "mzb_" + secrets.token_urlsafe(_BEARER_OCTETS)


def new_api_token() -> str:
    """What a program shows with each call: ``mza_`` and 256 random bits."""
    return _API_PREFIX + secrets.token_urlsafe(_BEARER_OCTETS)


def is_api_token(text: str) -> bool:
    """Whether this looks like an API token, and so is no bearer of a login."""
    return text.startswith(_API_PREFIX)


def new_password() -> str:
    """A password to be used once: 78 random bits in four groups."""
    return _spoken()


def new_recovery_code() -> str:
    """A code that stands for a lost second factor: 78 random bits in four groups."""
    return _spoken()


def canonical_recovery_code(text: str) -> str:
    """As people type it, in capitals or without the dashes."""
    symbols = "".join(text[:256].lower().replace("-", " ").split())
    return "-".join(symbols[begin : begin + 4] for begin in range(0, len(symbols), 4))


def new_request_id() -> str:
    """What an access request goes by; people type it, and it is no secret."""
    return secrets.token_hex(_REQUEST_OCTETS)


def hash_token(text: str) -> bytes:
    """What is stored of a token or a bearer."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def token_id(secret_hash: bytes) -> str:
    """What a token goes by in listings: the first hex digits of its hash."""
    return secret_hash.hex()[:_TOKEN_ID_LENGTH]


def _spoken() -> str:
    return "-".join("".join(secrets.choice(_SPOKEN) for _ in range(4)) for _ in range(4))
