"""
Invites and second factors in a database.

They go with their user, by the foreign keys.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from attrs import define
from sqlalchemy import Connection, Table, delete, func, insert, or_, select, union, update
from sqlalchemy.dialects.sqlite import insert as insert_or
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.names import UserName
from mezite.store import rows, schema
from mezite.store.error import InviteRefused, KeyExists, NoSuchFactor, NoSuchUser, TooManyKeys
from mezite.store.proofs import (
    KEYS_PER_USER,
    IInvites,
    InviteRecord,
    ISecondFactors,
    ProofsRecord,
    SecurityKeyRecord,
    TotpRecord,
)
from mezite.store.transactions import Transactions

_users: Final = schema.users
_bearers: Final = schema.bearers
_invites: Final = schema.invites
_totp: Final = schema.totp
_codes: Final = schema.recovery_codes
_keys: Final = schema.security_keys


@implementer(IInvites)
@define(eq=False)
class DatabaseInvites:
    """The table ``invites``."""

    _transactions: Transactions

    def put(
        self, record: InviteRecord, *, void_password: bool, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            _check_user(connection, record.user)
            user = record.user.text
            outdated = or_(_invites.c.user == user, _invites.c.expires <= record.created)
            connection.execute(delete(_invites).where(outdated))
            connection.execute(insert(_invites).values(rows.of_invite(record)))
            if void_password:
                _set_password(connection, user, "")

        return self._transactions.write(step, event)

    def find(self, secret_hash: bytes, now: float) -> Deferred[InviteRecord | None]:
        def step(connection: Connection) -> InviteRecord | None:
            chosen = (
                select(_invites)
                .join(_users, _users.c.name == _invites.c.user)
                .where(
                    _invites.c.secret_hash == secret_hash,
                    _invites.c.expires > now,
                    _users.c.disabled.is_(False),
                )
            )
            row = connection.execute(chosen).first()
            return None if row is None else rows.invite_of(row)

        return self._transactions.read(step)

    def accept(
        self,
        secret_hash: bytes,
        now: float,
        *,
        password_hash: str,
        totp: TotpRecord | None = None,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            enabled = select(_users.c.name).where(_users.c.disabled.is_(False))
            spent = (
                delete(_invites)
                .where(
                    _invites.c.secret_hash == secret_hash,
                    _invites.c.expires > now,
                    _invites.c.user.in_(enabled),
                )
                .returning(_invites.c.user)
            )
            user = connection.execute(spent).scalar()
            if user is None:
                raise InviteRefused
            _set_password(connection, user, password_hash)
            if totp is not None:
                _set_totp(connection, totp)
                _set_codes(connection, totp.user, recovery_hashes)

        return self._transactions.write(step, event)


@implementer(ISecondFactors)
@define(eq=False)
class DatabaseSecondFactors:
    """The tables ``totp``, ``security_keys`` and ``recovery_codes``."""

    _transactions: Transactions

    def get(self, user: UserName) -> Deferred[ProofsRecord]:
        def step(connection: Connection) -> ProofsRecord:
            return _proofs(connection, user)

        return self._transactions.read(step)

    def enrolled(self) -> Deferred[frozenset[UserName]]:
        def step(connection: Connection) -> frozenset[UserName]:
            everybody = union(select(_totp.c.user), select(_keys.c.user))
            return frozenset(UserName(row.user) for row in connection.execute(everybody))

        return self._transactions.read(step)

    def set_totp(
        self,
        record: TotpRecord,
        *,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            _check_user(connection, record.user)
            _set_totp(connection, record)
            _set_codes(connection, record.user, recovery_hashes)

        return self._transactions.write(step, event)

    def use_step(self, record: TotpRecord, step: int) -> Deferred[bool]:
        def spend(connection: Connection) -> bool:
            statement = (
                update(_totp)
                .where(
                    _totp.c.user == record.user.text,
                    _totp.c.secret == record.secret,
                    _totp.c.last_step < step,
                )
                .values(last_step=step)
            )
            return connection.execute(statement).rowcount == 1

        return self._transactions.write(spend)

    def remove_totp(self, user: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            if not connection.execute(delete(_totp).where(_totp.c.user == user.text)).rowcount:
                raise NoSuchFactor
            _forget_codes_of_none(connection, user)

        return self._transactions.write(step, event)

    def set_recovery_codes(
        self, user: UserName, hashes: Collection[bytes], *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            _check_user(connection, user)
            _set_codes(connection, user, hashes)

        return self._transactions.write(step, event)

    def use_recovery_code(
        self, user: UserName, code_hash: bytes, *, event: AuditEvent | None = None
    ) -> Deferred[int]:
        def step(connection: Connection) -> int:
            chosen = delete(_codes).where(
                _codes.c.user == user.text, _codes.c.code_hash == code_hash
            )
            if not connection.execute(chosen).rowcount:
                raise NoSuchFactor
            return _count(connection, _codes, user)

        return self._transactions.write(step, event)

    def add_key(
        self,
        record: SecurityKeyRecord,
        *,
        recovery_hashes: Collection[bytes] = (),
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            _check_user(connection, record.user)
            statement = insert_or(_keys).values(rows.of_security_key(record))
            if not connection.execute(statement.on_conflict_do_nothing()).rowcount:
                raise KeyExists
            if _count(connection, _keys, record.user) > KEYS_PER_USER:
                raise TooManyKeys(KEYS_PER_USER)  # which undoes the step
            _set_codes(connection, record.user, recovery_hashes)

        return self._transactions.write(step, event)

    def use_key(self, credential_id: bytes, sign_count: int, now: float) -> Deferred[bool]:
        def step(connection: Connection) -> bool:
            grown = _keys.c.sign_count < sign_count
            if sign_count == 0:
                grown = _keys.c.sign_count == 0
            statement = (
                update(_keys)
                .where(_keys.c.credential_id == credential_id, grown)
                .values(sign_count=sign_count, last_used=now)
            )
            return connection.execute(statement).rowcount == 1

        return self._transactions.write(step)

    def remove_key(
        self, user: UserName, credential_id: bytes, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            chosen = delete(_keys).where(
                _keys.c.user == user.text, _keys.c.credential_id == credential_id
            )
            if not connection.execute(chosen).rowcount:
                raise NoSuchFactor
            _forget_codes_of_none(connection, user)

        return self._transactions.write(step, event)

    def clear(self, user: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            if not _proofs(connection, user).is_enrolled:
                raise NoSuchFactor
            for table in (_totp, _keys, _codes, _bearers):
                connection.execute(delete(table).where(table.c.user == user.text))

        return self._transactions.write(step, event)


def _check_user(connection: Connection, user: UserName) -> None:
    chosen = select(_users.c.name).where(_users.c.name == user.text)
    if connection.execute(chosen).first() is None:
        raise NoSuchUser(user)


def _set_password(connection: Connection, user: str, password_hash: str) -> None:
    statement = update(_users).where(_users.c.name == user)
    connection.execute(statement.values(password_hash=password_hash, must_change_password=False))
    connection.execute(delete(_bearers).where(_bearers.c.user == user))


def _set_totp(connection: Connection, record: TotpRecord) -> None:
    connection.execute(delete(_totp).where(_totp.c.user == record.user.text))
    connection.execute(insert(_totp).values(rows.of_totp(record)))


def _set_codes(connection: Connection, user: UserName, hashes: Collection[bytes]) -> None:
    if not hashes:
        return
    connection.execute(delete(_codes).where(_codes.c.user == user.text))
    values = [{"user": user.text, "code_hash": each} for each in hashes]
    connection.execute(insert(_codes), values)


def _proofs(connection: Connection, user: UserName) -> ProofsRecord:
    totp = connection.execute(select(_totp).where(_totp.c.user == user.text)).first()
    ordered = _keys.c.created, _keys.c.credential_id
    keys = connection.execute(select(_keys).where(_keys.c.user == user.text).order_by(*ordered))
    return ProofsRecord(
        None if totp is None else rows.totp_of(totp),
        tuple(rows.security_key_of(row) for row in keys),
        _count(connection, _codes, user),
    )


def _count(connection: Connection, table: Table, user: UserName) -> int:
    chosen = select(func.count()).select_from(table).where(table.c.user == user.text)
    number: int = connection.execute(chosen).scalar_one()
    return number


def _forget_codes_of_none(connection: Connection, user: UserName) -> None:
    if not _proofs(connection, user).is_enrolled:
        connection.execute(delete(_codes).where(_codes.c.user == user.text))
