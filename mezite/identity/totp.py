"""
One-time codes of an authenticator app (RFC 6238): SHA-1, six digits, 30 seconds.

Pure: the caller says what time it is, and remembers the last step that was
used, without which a code read over a shoulder could be typed a second time.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import Final

import pyotp

STEP_SECONDS: Final = 30
DIGITS: Final = 6
# As long as the hash, as RFC 4226, section 4, recommends.
SECRET_OCTETS: Final = 20
# A clock that is wrong by so many steps, or a person who types slowly (RFC 6238, section 5.2).
_SKEW: Final = 1


def new_secret() -> bytes:
    """What the hub and the app share."""
    return secrets.token_bytes(SECRET_OCTETS)


def enrolment_uri(secret: bytes, *, user: str, issuer: str) -> str:
    """The ``otpauth:`` link that apps read from a QR code."""
    return pyotp.TOTP(_base32(secret)).provisioning_uri(name=user, issuer_name=issuer)


def secret_text(secret: bytes) -> str:
    """The secret as it is typed into an app that sees no QR code, in groups of four."""
    text = _base32(secret)
    return " ".join(text[begin : begin + 4] for begin in range(0, len(text), 4))


def code_at(secret: bytes, now: float) -> str:
    """The code that an app shows at this time, POSIX seconds."""
    return pyotp.TOTP(_base32(secret)).at(int(now))


def step_of(secret: bytes, code: str, now: float, *, after: int) -> int | None:
    """
    The step whose code this is, if it may be used now; None for a wrong code.

    Every step is compared, so that the time tells nothing.

    :param after: the last step that was used; it and those before it are spent.
    """
    totp = pyotp.TOTP(_base32(secret))
    given = code.encode("utf-8", "surrogatepass")
    current = int(now) // STEP_SECONDS
    found = None
    for step in range(max(0, current - _SKEW), current + _SKEW + 1):
        expected = totp.at(step * STEP_SECONDS).encode()
        if hmac.compare_digest(expected, given) and step > after:
            found = step
    return found


def is_code(text: str) -> bool:
    """Whether this has the form of a code, and not of a recovery code."""
    return len(text) == DIGITS and text.isascii() and text.isdigit()


def _base32(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=")
