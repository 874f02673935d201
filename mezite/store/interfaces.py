"""
What can be asked of a store.

These interfaces are the seam between the hub's services and where things are
kept; :mod:`mezite.store.memory` and :mod:`mezite.store.database` provide them
and pass one contract. Every method is one atomic step, and a Deferred that
fires without error means that the change survives the death of the process
(of the double: as long as the double lives). Besides what is named in each
method, all may fail with :class:`~mezite.store.error.StoreUnavailable`.

A method that takes an ``event`` keeps it in the audit in the same step: the
change and its event are both there afterwards, or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from mezite.audit.chain import ChainedLine
from mezite.audit.events import AuditEvent
from mezite.names import AgentId, NodeName, RoleName, UserName
from mezite.store.apitokens import IApiTokens
from mezite.store.locks import ILocks
from mezite.store.proofs import IInvites, ISecondFactors
from mezite.store.recordings import IRecordings
from mezite.store.records import (
    AuditChain,
    AuditQuery,
    AuditRecord,
    BearerRecord,
    JoinTokenRecord,
    NodeRecord,
    NodeWord,
    RoleRecord,
    UserRecord,
)
from mezite.store.requests import IAccessRequests

# Enough for every machine and window that one person uses at once; without a bound, a
# script that logs in each minute would fill the table until its secrets expire.
BEARERS_PER_USER: Final = 64
# More cannot be overseen; all of them are read at once for a list.
ROLES_LIMIT: Final = 1000
# To remove so many takes some tens of milliseconds, which is what other writes wait.
PRUNED_AT_ONCE: Final = 5000


class IUsers(Interface):
    """The people who may log in."""

    def create(record: UserRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Add a user.

        :raises UserExists: and the one who is there stays as they are.
        :raises NoSuchRole: they are to have a role that there is not.
        """

    def get(name: UserName) -> Deferred[UserRecord | None]:
        """The user of this name, if there is one."""

    def list() -> Deferred[tuple[UserRecord, ...]]:
        """All users, by name."""

    def remove(name: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget a user, and with them every bearer secret they hold and their requests.

        :raises NoSuchUser:
        """

    def set_password(
        name: UserName,
        password_hash: str,
        must_change: bool,
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        """
        Replace the password's hash. Bearer secrets stay; see :meth:`IBearers.remove_for`.

        :raises NoSuchUser:
        """

    def change(
        name: UserName,
        change: Callable[[UserRecord], UserRecord],
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[UserRecord]:
        """
        Replace a user by what ``change`` makes of them, and fire with that.

        It is called in a thread, may be called twice, and is to do nothing but
        compute. The name, the password and the time of creation stay.

        :raises NoSuchUser:
        :raises NoSuchRole: they are to have a role that there is not.
        """


class IRoles(Interface):
    """The roles that administrators wrote. The built-in ones are there without it."""

    def put(
        record: RoleRecord, *, replace: bool, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """
        Add a role, or replace it, if that is wanted and it is there.

        :raises RoleExists: it is there and not to be replaced, or is built in.
        :raises TooManyRoles:
        """

    def get(name: RoleName) -> Deferred[RoleRecord | None]:
        """The role of this name, if there is one."""

    def named(names: Collection[RoleName]) -> Deferred[Mapping[RoleName, RoleRecord]]:
        """Those of these roles that there are, in one step."""

    def list() -> Deferred[tuple[RoleRecord, ...]]:
        """All roles, by name."""

    def remove(name: RoleName, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget a role.

        :raises NoSuchRole:
        :raises RoleInUse: users have it.
        """


class INodes(Interface):
    """The machines of the cluster. Those with an agent are added by :class:`IJoining` alone."""

    def add(record: NodeRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Keep a machine that has no agent.

        :raises NodeExists: its name is taken.
        """

    def get(agent_id: AgentId) -> Deferred[NodeRecord | None]:
        """The node whose agent has this id, if there is one."""

    def by_name(name: NodeName) -> Deferred[NodeRecord | None]:
        """The node of this host name, if there is one; two never share a name."""

    def list() -> Deferred[tuple[NodeRecord, ...]]:
        """All nodes, by name."""

    def remove(agent_id: AgentId, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget a node, and the token with which it might have joined once more.

        Its host name is free again.

        :raises NoSuchNode:
        """

    def touch(
        agent_id: AgentId, word: NodeWord, *, last_seen: float, address: str
    ) -> Deferred[None]:
        """
        Note a heartbeat; labels that the hub gave stay as they are.

        :raises NoSuchNode: a removed node does not come back by a heartbeat.
        """

    def see(seen: Mapping[AgentId, float]) -> Deferred[None]:
        """Note when these nodes were last seen; those that are not there are passed over."""

    def bind_key(
        agent_id: AgentId, old: bytes | None, new: bytes, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """
        Let a node prove itself by another key, in the place of the one that it had.

        :raises NoSuchNode:
        :raises NodeKeyReplaced: the key is not ``old`` any more.
        """


class IJoinTokens(Interface):
    """The join tokens that have been issued and not yet used up."""

    def add(record: JoinTokenRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Keep a token, and forget those that had expired when it was created.

        A token for a node to join once more takes the place of an older one.

        :raises TokenExists:
        :raises NoSuchNode: it is for a node that is not there.
        """

    def list() -> Deferred[tuple[JoinTokenRecord, ...]]:
        """All tokens, the oldest first; expired ones may be among them."""

    def remove(token_id: str, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Forget a token, so that nobody joins with it any more.

        :raises NoSuchToken:
        """

    def find(secret_hash: bytes, now: float) -> Deferred[JoinTokenRecord | None]:
        """
        The token with which one could join now; it never changes but for its uses.

        An answer for a form, not a right: only :class:`IJoining` uses a token.
        """

    def purge(now: float) -> Deferred[int]:
        """Forget what has expired; fires with how many there were."""


class IJoining(Interface):
    """The door by which nodes come in."""

    def admit(
        secret_hash: bytes, node: NodeRecord, now: float, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """
        Use up one use of a token and add the node, both or neither.

        :raises TokenRefused: the token is unknown, used up, expired, or for a
            node that is there; this is decided first, so that only who holds a
            token learns about names.
        :raises NodeNameTaken: and the token is not spent.
        """

    def readmit(
        secret_hash: bytes,
        agent_id: AgentId,
        now: float,
        *,
        tls_key: bytes,
        version: str,
        event: AuditEvent | None = None,
    ) -> Deferred[None]:
        """
        Use up a token for this node, which proves itself by another key from now on.

        :raises TokenRefused: the token is unknown, used up, expired, or not for this node.
        :raises NoSuchNode:
        """


class IBearers(Interface):
    """The bearer secrets of users who have logged in."""

    def add(record: BearerRecord, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Keep a secret. Beyond ``BEARERS_PER_USER`` the user's soonest to expire are forgotten.

        :raises NoSuchUser: they may have been removed while they logged in.
        """

    def find(secret_hash: bytes, now: float) -> Deferred[BearerRecord | None]:
        """What this secret is good for, if it has not expired."""

    def prove(
        secret_hash: bytes, new_hash: bytes, now: float, *, event: AuditEvent | None = None
    ) -> Deferred[BearerRecord]:
        """
        Put a new secret in place of this one, with the same end; its holder has proved now.

        :raises NoSuchBearer: it has expired, or was removed.
        """

    def remove(secret_hash: bytes, *, event: AuditEvent | None = None) -> Deferred[None]:
        """Forget a secret; that it was not there is no error."""

    def remove_for(user: UserName, *, event: AuditEvent | None = None) -> Deferred[None]:
        """Forget every secret of this user."""

    def purge(now: float) -> Deferred[int]:
        """Forget what has expired; fires with how many there were."""


class ISerials(Interface):
    """The serial numbers of certificates."""

    def next() -> Deferred[int]:
        """A positive number that was never given before and never will be again."""


class IAuditLog(Interface):
    """The events of the audit, as a chain in which a changed one is found."""

    def record(event: AuditEvent) -> Deferred[None]:
        """Keep an event that no other change of the store is part of."""

    def chain() -> Deferred[AuditChain]:
        """Where the chain begins and ends now."""

    def lines(after: int, limit: int) -> Deferred[tuple[ChainedLine, ...]]:
        """
        The lines after this number, as they are kept, for whoever checks them.

        What was changed by hand comes as it is now, with a hash that does not
        match it.
        """

    def search(
        query: AuditQuery, *, after: int = 0, limit: int, newest_first: bool = False
    ) -> Deferred[tuple[AuditRecord, ...]]:
        """
        Events that match, in the order of their numbers.

        What was changed by hand is found by what its columns say, and comes
        without an event.

        :param after: the number of the last one that is known; 0 begins at the
            beginning, or with ``newest_first`` at the end.
        """

    def unended(
        since: float, *, upto: int, after: int = 0, limit: int
    ) -> Deferred[tuple[AuditRecord, ...]]:
        """
        The beginnings of sessions whose end is not here, the oldest first.

        :param since: from this time on.
        :param upto: the number of the last event that counts as a beginning.
        :param after: the number of the last one that is known.
        """

    def prune(
        before: float, *, limit: int = PRUNED_AT_ONCE, event: AuditEvent | None = None
    ) -> Deferred[int]:
        """
        Forget the oldest events, up to the first at or after this time.

        Fires with how many, at most ``limit``; the chain can still be checked
        from there on. The ``event`` is kept only if there were any, with
        details about them: see :func:`mezite.store.records.pruning`.
        """


class IStore(Interface):
    """All that the hub remembers."""

    users: IUsers = Attribute("the people who may log in")
    roles: IRoles = Attribute("the roles that administrators wrote")
    nodes: INodes = Attribute("the machines that have joined")
    join_tokens: IJoinTokens = Attribute("the join tokens not yet used up")
    joining: IJoining = Attribute("the door by which nodes come in")
    bearers: IBearers = Attribute("the bearer secrets of those who have logged in")
    serials: ISerials = Attribute("the serial numbers of certificates")
    locks: ILocks = Attribute("the locks that hold")
    api_tokens: IApiTokens = Attribute("the tokens of programs that speak as users")
    requests: IAccessRequests = Attribute("the wishes of users for roles")
    invites: IInvites = Attribute("the invites not yet accepted")
    second_factors: ISecondFactors = Attribute("the second factors of users")
    recordings: IRecordings = Attribute("what is known of recordings")
    audit: IAuditLog = Attribute("what was done, and by whom")

    def check() -> Deferred[None]:
        """
        Find out whether an event could be written now, by writing and forgetting one.

        :raises StoreUnavailable: when that fails.
        """

    def close() -> Deferred[None]:
        """Finish what was begun, then let go of everything; later calls fail."""
