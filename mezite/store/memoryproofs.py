"""
Invites and second factors in memory.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs
from attrs import define
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.names import UserName
from mezite.store.error import InviteRefused, KeyExists, NoSuchFactor, NoSuchUser, TooManyKeys
from mezite.store.memorytables import Tables, step
from mezite.store.proofs import (
    KEYS_PER_USER,
    IInvites,
    InviteRecord,
    ISecondFactors,
    ProofsRecord,
    SecurityKeyRecord,
    TotpRecord,
)
from mezite.store.records import UserRecord


@implementer(IInvites)
@define(eq=False)
class MemoryInvites:
    """Invites in a dictionary."""

    _tables: Tables

    @step
    def put(
        self, record: InviteRecord, *, void_password: bool, event: AuditEvent | None = None
    ) -> None:
        user = _user(self._tables, record.user)
        self._tables.invites = {
            name: other
            for name, other in self._tables.invites.items()
            if record.created < other.expires
        }
        self._tables.invites[record.user] = record
        if void_password:
            self._tables.users[record.user] = attrs.evolve(
                user, password_hash="", must_change_password=False
            )
            self._tables.forget_bearers(record.user)

    @step
    def find(self, secret_hash: bytes, now: float) -> InviteRecord | None:
        return _valid(self._tables, secret_hash, now)

    @step
    def accept(
        self,
        secret_hash: bytes,
        now: float,
        *,
        password_hash: str,
        totp: TotpRecord | None = None,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> None:
        invite = _valid(self._tables, secret_hash, now)
        if invite is None:
            raise InviteRefused
        user = self._tables.users[invite.user]
        del self._tables.invites[invite.user]
        self._tables.users[invite.user] = attrs.evolve(
            user, password_hash=password_hash, must_change_password=False
        )
        self._tables.forget_bearers(invite.user)
        if totp is not None:
            self._tables.totp[invite.user] = totp
            _set_codes(self._tables, invite.user, recovery_hashes)


@implementer(ISecondFactors)
@define(eq=False)
class MemorySecondFactors:
    """Second factors in dictionaries."""

    _tables: Tables

    @step
    def get(self, user: UserName) -> ProofsRecord:
        return _proofs(self._tables, user)

    @step
    def enrolled(self) -> frozenset[UserName]:
        keys = self._tables.security_keys.values()
        return frozenset((*self._tables.totp, *(key.user for key in keys)))

    @step
    def set_totp(
        self,
        record: TotpRecord,
        *,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> None:
        _user(self._tables, record.user)
        self._tables.totp[record.user] = record
        _set_codes(self._tables, record.user, recovery_hashes)

    @step
    def use_step(self, record: TotpRecord, step: int) -> bool:
        kept = self._tables.totp.get(record.user)
        if kept is None or kept.secret != record.secret or kept.last_step >= step:
            return False
        self._tables.totp[record.user] = attrs.evolve(kept, last_step=step)
        return True

    @step
    def remove_totp(self, user: UserName, *, event: AuditEvent | None = None) -> None:
        if self._tables.totp.pop(user, None) is None:
            raise NoSuchFactor
        _forget_codes_of_none(self._tables, user)

    @step
    def set_recovery_codes(
        self, user: UserName, hashes: Collection[bytes], *, event: AuditEvent | None = None
    ) -> None:
        _user(self._tables, user)
        self._tables.recovery_codes[user] = frozenset(hashes)

    @step
    def use_recovery_code(
        self, user: UserName, code_hash: bytes, *, event: AuditEvent | None = None
    ) -> int:
        codes = self._tables.recovery_codes.get(user, frozenset())
        if code_hash not in codes:
            raise NoSuchFactor
        self._tables.recovery_codes[user] = codes - {code_hash}
        return len(codes) - 1

    @step
    def add_key(
        self,
        record: SecurityKeyRecord,
        *,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> None:
        _user(self._tables, record.user)
        if record.credential_id in self._tables.security_keys:
            raise KeyExists
        if len(_proofs(self._tables, record.user).keys) >= KEYS_PER_USER:
            raise TooManyKeys(KEYS_PER_USER)
        self._tables.security_keys[record.credential_id] = record
        _set_codes(self._tables, record.user, recovery_hashes)

    @step
    def use_key(self, credential_id: bytes, sign_count: int, now: float) -> bool:
        key = self._tables.security_keys.get(credential_id)
        if key is None or (sign_count <= key.sign_count and (sign_count or key.sign_count)):
            return False
        self._tables.security_keys[credential_id] = attrs.evolve(
            key, sign_count=sign_count, last_used=now
        )
        return True

    @step
    def remove_key(
        self, user: UserName, credential_id: bytes, *, event: AuditEvent | None = None
    ) -> None:
        key = self._tables.security_keys.get(credential_id)
        if key is None or key.user != user:
            raise NoSuchFactor
        del self._tables.security_keys[credential_id]
        _forget_codes_of_none(self._tables, user)

    @step
    def clear(self, user: UserName, *, event: AuditEvent | None = None) -> None:
        if not _proofs(self._tables, user).is_enrolled:
            raise NoSuchFactor
        self._tables.forget_proofs(user)
        self._tables.forget_bearers(user)


def _user(tables: Tables, name: UserName) -> UserRecord:
    record = tables.users.get(name)
    if record is None:
        raise NoSuchUser(name)
    return record


def _valid(tables: Tables, secret_hash: bytes, now: float) -> InviteRecord | None:
    for record in tables.invites.values():
        if record.secret_hash == secret_hash and now < record.expires:
            return None if tables.users[record.user].disabled else record
    return None


def _proofs(tables: Tables, user: UserName) -> ProofsRecord:
    return ProofsRecord(
        tables.totp.get(user),
        tuple(
            sorted(
                (key for key in tables.security_keys.values() if key.user == user),
                key=lambda key: (key.created, key.credential_id),
            )
        ),
        len(tables.recovery_codes.get(user, ())),
    )


def _set_codes(tables: Tables, user: UserName, hashes: Collection[bytes]) -> None:
    if hashes:
        tables.recovery_codes[user] = frozenset(hashes)


def _forget_codes_of_none(tables: Tables, user: UserName) -> None:
    if not _proofs(tables, user).is_enrolled:
        tables.recovery_codes.pop(user, None)
