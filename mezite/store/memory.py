"""
A store that lives as long as the process.

The double of :mod:`mezite.store.database`, for tests and for trying things
out: it passes the same contract, and forgets everything at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import attrs
from attrs import define, field
from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.builtinroles import BUILT_IN
from mezite.names import RoleName, UserName
from mezite.store.apitokens import IApiTokens
from mezite.store.error import (
    NoSuchBearer,
    NoSuchRole,
    NoSuchUser,
    RoleExists,
    RoleInUse,
    TooManyRoles,
    UserExists,
)
from mezite.store.interfaces import (
    BEARERS_PER_USER,
    ROLES_LIMIT,
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
from mezite.store.memoryapitokens import MemoryApiTokens
from mezite.store.memoryaudit import MemoryAudit
from mezite.store.memorylocks import MemoryLocks
from mezite.store.memorynodes import MemoryJoining, MemoryJoinTokens, MemoryNodes
from mezite.store.memoryproofs import MemoryInvites, MemorySecondFactors
from mezite.store.memoryrecordings import MemoryRecordings
from mezite.store.memoryrequests import MemoryRequests
from mezite.store.memorytables import Tables, step
from mezite.store.proofs import IInvites, ISecondFactors
from mezite.store.recordings import IRecordings
from mezite.store.records import (
    BearerRecord,
    RoleRecord,
    UserRecord,
)
from mezite.store.requests import IAccessRequests


@implementer(IUsers)
@define(eq=False)
class MemoryUsers:
    """Users in a dictionary."""

    _tables: Tables

    @step
    def create(self, record: UserRecord, *, event: AuditEvent | None = None) -> None:
        if record.name in self._tables.users:
            raise UserExists(record.name)
        self._tables.check_roles(record)
        self._tables.users[record.name] = record

    @step
    def get(self, name: UserName) -> UserRecord | None:
        return self._tables.users.get(name)

    @step
    def list(self) -> tuple[UserRecord, ...]:
        return tuple(record for _, record in sorted(self._tables.users.items()))

    @step
    def remove(self, name: UserName, *, event: AuditEvent | None = None) -> None:
        if self._tables.users.pop(name, None) is None:
            raise NoSuchUser(name)
        requests = self._tables.requests
        self._tables.requests = {key: each for key, each in requests.items() if each.user != name}
        self._tables.forget_bearers(name)
        self._tables.forget_api_tokens(name)
        self._tables.forget_proofs(name)
        self._tables.invites.pop(name, None)

    @step
    def set_password(
        self,
        name: UserName,
        password_hash: str,
        must_change: bool,
        *,
        event: AuditEvent | None = None,
    ) -> None:
        record = self._tables.users.get(name)
        if record is None:
            raise NoSuchUser(name)
        self._tables.users[name] = attrs.evolve(
            record, password_hash=password_hash, must_change_password=must_change
        )

    @step
    def change(
        self,
        name: UserName,
        change: Callable[[UserRecord], UserRecord],
        *,
        event: AuditEvent | None = None,
    ) -> UserRecord:
        record = self._tables.users.get(name)
        if record is None:
            raise NoSuchUser(name)
        changed = attrs.evolve(
            change(record),
            name=record.name,
            password_hash=record.password_hash,
            must_change_password=record.must_change_password,
            created=record.created,
        )
        self._tables.check_roles(changed)
        self._tables.users[name] = changed
        return changed


@implementer(IRoles)
@define(eq=False)
class MemoryRoles:
    """Roles in a dictionary."""

    _tables: Tables

    @step
    def put(self, record: RoleRecord, *, replace: bool, event: AuditEvent | None = None) -> None:
        name, roles = record.role.name, self._tables.roles
        if name in BUILT_IN:
            raise RoleExists(name, is_built_in=True)
        if name in roles and not replace:
            raise RoleExists(name)
        if name not in roles and len(roles) >= ROLES_LIMIT:
            raise TooManyRoles(ROLES_LIMIT)
        created = roles[name].created if name in roles else record.created
        roles[name] = attrs.evolve(record, created=created)

    @step
    def get(self, name: RoleName) -> RoleRecord | None:
        return self._tables.roles.get(name)

    @step
    def named(self, names: Collection[RoleName]) -> Mapping[RoleName, RoleRecord]:
        return {name: self._tables.roles[name] for name in names if name in self._tables.roles}

    @step
    def list(self) -> tuple[RoleRecord, ...]:
        return tuple(record for _, record in sorted(self._tables.roles.items()))

    @step
    def remove(self, name: RoleName, *, event: AuditEvent | None = None) -> None:
        if name not in self._tables.roles:
            raise NoSuchRole(name)
        users = sorted(user.name for user in self._tables.users.values() if name in user.roles)
        if users:
            raise RoleInUse(name, users)
        del self._tables.roles[name]


@implementer(IBearers)
@define(eq=False)
class MemoryBearers:
    """Bearer secrets in a dictionary."""

    _tables: Tables

    @step
    def add(self, record: BearerRecord, *, event: AuditEvent | None = None) -> None:
        if record.user not in self._tables.users:
            raise NoSuchUser(record.user)
        bearers = self._tables.bearers
        bearers[record.secret_hash] = record
        held = sorted(
            (other for other in bearers.values() if other.user == record.user),
            key=lambda other: other.expires,
            reverse=True,
        )
        for other in held[BEARERS_PER_USER:]:
            del bearers[other.secret_hash]

    @step
    def find(self, secret_hash: bytes, now: float) -> BearerRecord | None:
        record = self._tables.bearers.get(secret_hash)
        return record if record is not None and now < record.expires else None

    @step
    def prove(
        self, secret_hash: bytes, new_hash: bytes, now: float, *, event: AuditEvent | None = None
    ) -> BearerRecord:
        record = self._tables.bearers.get(secret_hash)
        if record is None or record.expires <= now:
            raise NoSuchBearer
        del self._tables.bearers[secret_hash]
        proved = attrs.evolve(record, secret_hash=new_hash, proved=now)
        self._tables.bearers[new_hash] = proved
        return proved

    @step
    def remove(self, secret_hash: bytes, *, event: AuditEvent | None = None) -> None:
        self._tables.bearers.pop(secret_hash, None)

    @step
    def remove_for(self, user: UserName, *, event: AuditEvent | None = None) -> None:
        self._tables.forget_bearers(user)

    @step
    def purge(self, now: float) -> int:
        bearers = self._tables.bearers
        kept = {key: record for key, record in bearers.items() if now < record.expires}
        self._tables.bearers = kept
        return len(bearers) - len(kept)


@implementer(ISerials)
@define(eq=False)
class MemorySerials:
    """A number that grows."""

    _tables: Tables

    @step
    def next(self) -> int:
        self._tables.serial += 1
        return self._tables.serial


@implementer(IStore)
@define(eq=False)
class MemoryStore:
    """All of it, in dictionaries."""

    _tables: Tables = field(init=False, factory=Tables)
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
        self.users = MemoryUsers(self._tables)
        self.roles = MemoryRoles(self._tables)
        self.nodes = MemoryNodes(self._tables)
        self.join_tokens = MemoryJoinTokens(self._tables)
        self.joining = MemoryJoining(self._tables)
        self.bearers = MemoryBearers(self._tables)
        self.serials = MemorySerials(self._tables)
        self.locks = MemoryLocks(self._tables)
        self.api_tokens = MemoryApiTokens(self._tables)
        self.requests = MemoryRequests(self._tables)
        self.invites = MemoryInvites(self._tables)
        self.second_factors = MemorySecondFactors(self._tables)
        self.recordings = MemoryRecordings(self._tables)
        self.audit = MemoryAudit(self._tables)

    @step
    def check(self) -> None:
        return None

    def close(self) -> Deferred[None]:
        self._tables.is_closed = True
        return execute(lambda: None)
