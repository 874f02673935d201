"""
Password hashes, computed in threads, a few at a time.

It owns the rules for passwords and the cost of a guess. Who somebody is, and
what a wrong password leads to, is :mod:`mezite.auth.login`.
"""

from __future__ import annotations

import secrets
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore

from mezite.auth.commonpasswords import COMMON_PASSWORDS
from mezite.auth.error import BadPassword, TooManyLogins
from mezite.names import UserName

# NIST SP 800-63B asks for 8 at least; the end keeps normalization and hashing cheap.
LENGTHS: Final = range(8, 1024 + 1)
# Shorter names stand in too many words by chance.
_NAME_LENGTH: Final = 3
# One hash takes 64 MiB and most of a core for about 50 ms.
AT_ONCE: Final = 2
# These wait two or three seconds; who comes after them is told to come back.
WAITING_LIMIT: Final = 64

T = TypeVar("T")
RunInThread = Callable[[Callable[[], Any]], Deferred[Any]]


def check_new_password(password: str, user: UserName | None = None) -> None:
    """
    Refuse what must not become a password, as NIST SP 800-63B, section 5.1.1.2, asks.

    :param user: whose name must not stand in it.
    :raises BadPassword:
    """
    if len(password) not in LENGTHS:
        raise BadPassword(f"a password has {LENGTHS[0]} to {LENGTHS[-1]} characters")
    folded = unicodedata.normalize("NFKC", password).casefold()
    if folded.strip() in COMMON_PASSWORDS:
        raise BadPassword("this password is one of those that are tried first")
    if user is not None and len(user.text) >= _NAME_LENGTH and user.text.casefold() in folded:
        raise BadPassword("a password must not contain the user's name")


@define(eq=False)
class Passwords:
    """Makes and checks argon2id hashes; at most ``AT_ONCE`` of them at any time."""

    _run_in_thread: RunInThread
    _hasher: PasswordHasher = field(factory=PasswordHasher)
    _slots: DeferredSemaphore = field(init=False, factory=lambda: DeferredSemaphore(AT_ONCE))
    _waiting: int = field(init=False, default=0)
    _nobodys_hash: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._nobodys_hash = _unmatched_hash(self._hasher)

    async def hash(self, password: str) -> str:
        """
        What is stored of this password.

        :raises BadPassword: it is too short or too long.
        :raises TooManyLogins:
        """
        check_new_password(password)
        octets = _octets(password)
        return await self._in_turn(lambda: self._hasher.hash(octets))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """
        Whether this is the password, in the same time if there is none (``None``).

        :raises TooManyLogins:
        """
        if len(password) > LENGTHS[-1]:
            password_hash, password = None, ""
        octets = _octets(password)
        stored = self._nobodys_hash if password_hash is None else password_hash

        def check() -> bool:
            try:
                return self._hasher.verify(stored, octets)
            except VerifyMismatchError:
                return False
            except (Argon2Error, InvalidHashError):
                # A hash that cannot be read matches no password.
                return False

        return await self._in_turn(check) and password_hash is not None

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_LIMIT:
            raise TooManyLogins()
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        # A thread cannot be cancelled. Its slot is free when it ends, and not
        # when the caller who cancels stops waiting for it.
        answer: Deferred[T] = Deferred()
        running = self._run_in_thread(work)
        running.addBoth(self._release)
        running.addCallbacks(answer.callback, answer.errback)
        return await answer

    def _release(self, result: T) -> T:
        self._slots.release()
        return result


def _octets(password: str) -> bytes:
    # RFC 8265, section 4.2: what is typed on one keyboard matches on another.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _unmatched_hash(hasher: PasswordHasher) -> str:
    """A hash that costs what the others cost, of no password."""

    def field_of(length: int) -> str:
        return b64encode(secrets.token_bytes(length)).decode().rstrip("=")

    return (
        f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        f"${field_of(hasher.salt_len)}${field_of(hasher.hash_len)}"
    )
