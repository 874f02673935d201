"""
The store in a database, with SQLAlchemy Core.

Each class provides one interface, and says in SQL what each step is. When
they are done, and in which threads, is for :mod:`mezite.store.transactions`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import define, field
from sqlalchemy import Connection, Engine, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.names import UserName
from mezite.store import auditrows, rows, schema
from mezite.store.apitokens import IApiTokens
from mezite.store.databaseapitokens import DatabaseApiTokens
from mezite.store.databaseaudit import DatabaseAudit
from mezite.store.databaselocks import DatabaseLocks
from mezite.store.databasenodes import DatabaseJoining, DatabaseJoinTokens, DatabaseNodes
from mezite.store.databaseproofs import DatabaseInvites, DatabaseSecondFactors
from mezite.store.databaserecordings import DatabaseRecordings
from mezite.store.databaserequests import DatabaseRequests
from mezite.store.databaseroles import DatabaseRoles, check_roles
from mezite.store.error import (
    NoSuchBearer,
    NoSuchUser,
    UserExists,
)
from mezite.store.interfaces import (
    BEARERS_PER_USER,
    IAuditLog,
    IBearers,
    IJoining,
    IJoinTokens,
    INodes,
    IRoles,
    ISerials,
    IStore,
    IUsers,
)
from mezite.store.locks import ILocks
from mezite.store.opening import open_engine
from mezite.store.proofs import IInvites, ISecondFactors
from mezite.store.recordings import IRecordings
from mezite.store.records import BearerRecord, UserRecord
from mezite.store.requests import IAccessRequests
from mezite.store.transactions import IReactorOfThreads, PoolThreads, Threads, Transactions

_users: Final = schema.users
_bearers: Final = schema.bearers
_counters: Final = schema.counters


@implementer(IUsers)
@define(eq=False)
class DatabaseUsers:
    """The table ``users``."""

    _transactions: Transactions

    def create(self, record: UserRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            statement = insert_or(_users).values(rows.of_user(record))
            if not connection.execute(statement.on_conflict_do_nothing()).rowcount:
                raise UserExists(record.name)
            check_roles(connection, record.roles)  # whose refusal undoes the step

        return self._transactions.write(step, event)

    def get(self, name: UserName) -> Deferred[UserRecord | None]:
        def step(connection: Connection) -> UserRecord | None:
            row = connection.execute(select(_users).where(_users.c.name == name.text)).first()
            return None if row is None else rows.user_of(row)

        return self._transactions.read(step)

    def list(self) -> Deferred[tuple[UserRecord, ...]]:
        def step(connection: Connection) -> tuple[UserRecord, ...]:
            ordered = select(_users).order_by(_users.c.name)
            return tuple(rows.user_of(row) for row in connection.execute(ordered))

        return self._transactions.read(step)

    def remove(self, name: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            # Bearers and access requests go with their user, by the foreign keys.
            if not connection.execute(delete(_users).where(_users.c.name == name.text)).rowcount:
                raise NoSuchUser(name)

        return self._transactions.write(step, event)

    def set_password(
        self,
        name: UserName,
        password_hash: str,
        must_change: bool,
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        def step(connection: Connection) -> None:
            statement = (
                update(_users)
                .where(_users.c.name == name.text)
                .values(password_hash=password_hash, must_change_password=must_change)
            )
            if not connection.execute(statement).rowcount:
                raise NoSuchUser(name)

        return self._transactions.write(step, event)

    def change(
        self,
        name: UserName,
        change: Callable[[UserRecord], UserRecord],
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[UserRecord]:
        def step(connection: Connection) -> UserRecord:
            chosen = _users.c.name == name.text
            row = connection.execute(select(_users).where(chosen)).first()
            if row is None:
                raise NoSuchUser(name)
            changed = change(rows.user_of(row))
            check_roles(connection, changed.roles)
            values = rows.of_user(changed)
            for kept in ("name", "password_hash", "must_change_password", "created"):
                del values[kept]
            written = update(_users).where(chosen).values(values).returning(*_users.c)
            return rows.user_of(connection.execute(written).one())

        return self._transactions.write(step, event)


@implementer(IBearers)
@define(eq=False)
class DatabaseBearers:
    """The table ``bearers``."""

    _transactions: Transactions

    def add(self, record: BearerRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            user = record.user.text
            if (
                connection.execute(select(_users.c.name).where(_users.c.name == user)).first()
                is None
            ):
                raise NoSuchUser(record.user)
            connection.execute(insert(_bearers).values(rows.of_bearer(record)))
            kept = (
                select(_bearers.c.secret_hash)
                .where(_bearers.c.user == user)
                .order_by(_bearers.c.expires.desc())
                .limit(BEARERS_PER_USER)
            )
            connection.execute(
                delete(_bearers).where(_bearers.c.user == user, _bearers.c.secret_hash.not_in(kept))
            )

        return self._transactions.write(step, event)

    def find(self, secret_hash: bytes, now: float) -> Deferred[BearerRecord | None]:
        def step(connection: Connection) -> BearerRecord | None:
            chosen = select(_bearers).where(
                _bearers.c.secret_hash == secret_hash, _bearers.c.expires > now
            )
            row = connection.execute(chosen).first()
            return None if row is None else rows.bearer_of(row)

        return self._transactions.read(step)

    def prove(
        self, secret_hash: bytes, new_hash: bytes, now: float, *, event: AuditEvent | None = None
    ) -> Deferred[BearerRecord]:
        def step(connection: Connection) -> BearerRecord:
            statement = (
                update(_bearers)
                .where(_bearers.c.secret_hash == secret_hash, _bearers.c.expires > now)
                .values(secret_hash=new_hash, proved=now)
                .returning(*_bearers.c)
            )
            row = connection.execute(statement).first()
            if row is None:
                raise NoSuchBearer
            return rows.bearer_of(row)

        return self._transactions.write(step, event)

    def remove(self, secret_hash: bytes, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            connection.execute(delete(_bearers).where(_bearers.c.secret_hash == secret_hash))

        return self._transactions.write(step, event)

    def remove_for(self, user: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            connection.execute(delete(_bearers).where(_bearers.c.user == user.text))

        return self._transactions.write(step, event)

    def purge(self, now: float) -> Deferred[int]:
        def step(connection: Connection) -> int:
            return connection.execute(delete(_bearers).where(_bearers.c.expires <= now)).rowcount

        return self._transactions.write(step)


@implementer(ISerials)
@define(eq=False)
class DatabaseSerials:
    """A row of ``counters``."""

    _transactions: Transactions

    def next(self) -> Deferred[int]:
        def step(connection: Connection) -> int:
            statement = (
                update(_counters)
                .where(_counters.c.name == "serial")
                .values(value=_counters.c.value + 1)
                .returning(_counters.c.value)
            )
            value: int = connection.execute(statement).scalar_one()
            return value

        return self._transactions.write(step)


@implementer(IStore)
@define(eq=False)
class DatabaseStore:
    """All of it, over one engine and its threads."""

    _engine: Engine
    _threads: Threads
    _transactions: Transactions = field(init=False)
    users: IUsers = field(init=False)
    roles: IRoles = field(init=False)
    nodes: INodes = field(init=False)
    join_tokens: IJoinTokens = field(init=False)
    joining: IJoining = field(init=False)
    bearers: IBearers = field(init=False)
    serials: ISerials = field(init=False)
    locks: ILocks = field(init=False)
    api_tokens: IApiTokens = field(init=False)
    requests: IAccessRequests = field(init=False)
    invites: IInvites = field(init=False)
    second_factors: ISecondFactors = field(init=False)
    recordings: IRecordings = field(init=False)
    audit: IAuditLog = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._transactions = Transactions(self._engine, self._threads)
        self.users = DatabaseUsers(self._transactions)
        self.roles = DatabaseRoles(self._transactions)
        self.nodes = DatabaseNodes(self._transactions)
        self.join_tokens = DatabaseJoinTokens(self._transactions)
        self.joining = DatabaseJoining(self._transactions)
        self.bearers = DatabaseBearers(self._transactions)
        self.serials = DatabaseSerials(self._transactions)
        self.locks = DatabaseLocks(self._transactions)
        self.api_tokens = DatabaseApiTokens(self._transactions)
        self.requests = DatabaseRequests(self._transactions)
        self.invites = DatabaseInvites(self._transactions)
        self.second_factors = DatabaseSecondFactors(self._transactions)
        self.recordings = DatabaseRecordings(self._transactions)
        self.audit = DatabaseAudit(self._transactions)

    def check(self) -> Deferred[None]:
        return self._transactions.write(auditrows.probe)

    def begin(self, started: AuditEvent) -> bool:
        """
        Write, and wait, that the hub starts; whether it had stopped properly before.

        :raises StoreUnavailable: no audit, no hub.
        """
        return self._transactions.write_now(lambda each: auditrows.begin(each, started))

    def note(self, event: AuditEvent) -> None:
        """
        Write an event, and wait, before the hub serves.

        :raises StoreUnavailable:
        """
        self._transactions.write_now(lambda each: auditrows.append(each, event))

    def close(self) -> Deferred[None]:
        return self._transactions.close()


def open_store(path: Path, reactor: IReactorOfThreads) -> DatabaseStore:
    """
    The store in this file, which is made or brought up to date if need be.

    Blocks while it does so, hence for the time before the hub serves.

    :raises DataUnusable:
    """
    return DatabaseStore(open_engine(path), PoolThreads(reactor))
