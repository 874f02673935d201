"""
What people prove who they are with, beside a password: what is kept, and what can be asked.

As in :mod:`mezite.store.interfaces`, every method is one atomic step, and an
``event`` is kept with it or neither.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from mezite.audit.events import AuditEvent
from mezite.names import UserName

# A person carries one or two, and keeps some in drawers; all are named at each login.
KEYS_PER_USER: Final = 10


@frozen
class InviteRecord:
    """The right to choose a user's password once, known by the hash of its secret only."""

    secret_hash: bytes = field(repr=False)
    user: UserName
    created_by: str
    created: float
    expires: float


@frozen
class TotpRecord:
    """
    An authenticator app; ``last_step`` is the last whose code was used.

    Its secret is kept as it is, since codes are computed from it.
    """

    user: UserName
    secret: bytes = field(repr=False)
    created: float
    last_step: int


@frozen
class SecurityKeyRecord:
    """A WebAuthn credential: its public half, and how often it has signed."""

    credential_id: bytes
    user: UserName
    name: str
    public_key: bytes
    sign_count: int
    created: float
    last_used: float | None = None


@frozen
class ProofsRecord:
    """All second factors of a user. Recovery codes alone are none."""

    totp: TotpRecord | None = None
    keys: tuple[SecurityKeyRecord, ...] = ()
    recovery_codes: int = 0

    @property
    def is_enrolled(self) -> bool:
        return self.totp is not None or bool(self.keys)


class IInvites(Interface):
    """The invites that were made and not yet accepted; each user has one at most."""

    def put(
        record: InviteRecord, *, void_password: bool, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """
        Keep an invite in place of the user's other one, and forget those that had expired.

        :param void_password: no password is right from now on, and no bearer.
        :raises NoSuchUser:
        """

    def find(secret_hash: bytes, now: float) -> Deferred[InviteRecord | None]:
        """The invite, if it can be accepted now."""

    def accept(
        secret_hash: bytes,
        now: float,
        *,
        password_hash: str,
        totp: TotpRecord | None = None,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        """
        Use up an invite, set its user's password and second factor, and end their bearers.

        :param totp: replaces the one they have; None leaves it, and the codes.
        :raises InviteRefused: it is unknown, used or expired, or its user is disabled.
        """


class ISecondFactors(Interface):
    """The second factors of users."""

    def get(user: UserName) -> Deferred[ProofsRecord]:
        """What a user has; nothing, if there is no such user."""

    def enrolled() -> Deferred[frozenset[UserName]]:
        """Everybody who has a second factor."""

    def set_totp(
        record: TotpRecord,
        *,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        """
        Keep an app in place of the user's other one; recovery codes likewise, if any are given.

        :raises NoSuchUser:
        """

    def use_step(record: TotpRecord, step: int) -> Deferred[bool]:
        """Spend the codes up to this step; False if it, or a later one, is spent already."""

    def remove_totp(user: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget the app; with the last second factor go the recovery codes.

        :raises NoSuchFactor:
        """

    def set_recovery_codes(
        user: UserName, hashes: Collection[bytes], *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """
        Replace the codes.

        :raises NoSuchUser:
        """

    def use_recovery_code(
        user: UserName, code_hash: bytes, *, event: AuditEvent | None = None
    ) -> Deferred[int]:
        """
        Use up a code, and fire with how many are left.

        :raises NoSuchFactor: it is none of theirs, or was used.
        """

    def add_key(
        record: SecurityKeyRecord,
        *,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        """
        Keep a security key; recovery codes are replaced if any are given.

        :raises NoSuchUser:
        :raises KeyExists: it is somebody's already.
        :raises TooManyKeys:
        """

    def use_key(credential_id: bytes, sign_count: int, now: float) -> Deferred[bool]:
        """
        Note a use; False if the key is gone, or its count did not grow.

        Keys that count nothing always say 0.
        """

    def remove_key(
        user: UserName, credential_id: bytes, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """
        Forget a key; with the last second factor go the recovery codes.

        :raises NoSuchFactor:
        """

    def clear(user: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget every second factor of a user, and end their bearers.

        :raises NoSuchFactor: they have none.
        """
