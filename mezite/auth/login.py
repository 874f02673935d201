"""
Local users: who they prove to be, by password or by bearer.

A :class:`LoginService` owns bearers, and every change of a password. Whether a
password is right is :mod:`mezite.auth.proving`'s, how somebody comes to choose
one :mod:`mezite.auth.inviting`'s; what a user then gets is
:mod:`mezite.auth.issuing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from attrs import field, frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadPassword, Locked, LoginRefused
from mezite.auth.locking import LockService
from mezite.auth.passwords import Passwords, check_new_password
from mezite.auth.people import check_logins, check_roles
from mezite.auth.proving import ProvingService
from mezite.auth.rights import role_names
from mezite.auth.secondfactor import NOTHING, Shown
from mezite.auth.trail import AuditTrail
from mezite.identity.locks import Attempt
from mezite.identity.roles import LabelSelector
from mezite.identity.tokens import hash_token, new_bearer, new_password
from mezite.identity.traits import check_traits
from mezite.names import LoginName, RoleName, UserName
from mezite.store.error import NoSuchBearer, NoSuchUser
from mezite.store.interfaces import IBearers, IUsers
from mezite.store.records import BearerRecord, UserRecord

# As long as the certificates that it is exchanged for.
BEARER_LIFETIME: Final = 12 * 3600.0
# How long a proof is good for what changes how somebody logs in: enough to set up an app, and
# little of the time that a bearer which somebody else got hold of is good for.
PROOF_LIFETIME: Final = 10 * 60.0
# A one-time password proves little: enough time to type a new one.
BEARER_LIFETIME_ONE_TIME: Final = 10 * 60.0
# Ours have 47 characters.
_BEARER_LIMIT: Final = 256


@frozen
class Login:
    """Somebody has logged in; the bearer is shown once and stored nowhere."""

    bearer: str = field(repr=False)
    expires: float
    user: UserName
    must_change_password: bool


@frozen
class Caller:
    """Somebody who is logged in, and whether they have proved lately who they are."""

    record: UserRecord
    has_proved: bool


@frozen
class NewUser:
    """A user who was added, and the password to give them if one was made up."""

    record: UserRecord
    one_time_password: str | None = field(repr=False)


class LoginService:
    """Checks passwords and bearers, against the store and against guessing."""

    _log = Logger()

    def __init__(
        self,
        users: IUsers,
        bearers: IBearers,
        trail: AuditTrail,
        *,
        passwords: Passwords,
        proving: ProvingService,
        locks: LockService,
        wall_clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._bearers = bearers
        self._trail = trail
        self._wall_clock = wall_clock
        self._passwords = passwords
        self._proving = proving
        self._locks = locks

    async def authenticate(
        self, user: str, password: str, address: str, shown: Shown = NOTHING
    ) -> Login:
        """
        Exchange a password, and a second factor where one is needed, for a bearer.

        :param address: where the caller is, for delays and for the audit.
        :raises LoginRefused: and others, as :meth:`ProvingService.prove` says.
        """
        proved = await self._proving.prove(user, password, shown, address)
        return await self.let_in(proved.record, proved.second_factor, address)

    async def let_in(self, record: UserRecord, second_factor: str, address: str) -> Login:
        """
        A bearer for somebody who has proved to be this user.

        :raises LoginRefused: they were removed meanwhile.
        :raises Locked:
        """
        await self._check_lock(record, address)
        now = self._wall_clock()
        expires = now + (
            BEARER_LIFETIME_ONE_TIME if record.must_change_password else BEARER_LIFETIME
        )
        bearer = new_bearer()
        event = self._trail.event(
            EventType.USER_LOGIN, Actor(str(record.name), address), second_factor=second_factor
        )
        try:
            await self._bearers.add(
                BearerRecord(hash_token(bearer), record.name, expires, proved=now), event=event
            )
        except NoSuchUser:
            raise LoginRefused("removed during the login") from None
        self._log.info("{user} logged in from {address}", user=record.name, address=address)
        return Login(bearer, expires, record.name, record.must_change_password)

    async def _check_lock(self, record: UserRecord, address: str) -> None:
        """Only now, when they have proved who they are, is somebody told of a lock."""
        try:
            await self._locks.check(Attempt(user=record.name, roles=role_names(record)))
        except Locked as error:
            await self._trail.record(
                self._trail.event(
                    EventType.USER_LOGIN_FAILED,
                    Actor(str(record.name), address),
                    success=False,
                    error=f"lock {error.lock.lock_id}: {error}",
                )
            )
            raise

    async def caller_of(self, bearer: str) -> Caller | None:
        """Whose bearer this is; None once it expired or its user may not log in."""
        if len(bearer) > _BEARER_LIMIT:
            return None
        now = self._wall_clock()
        found = await self._bearers.find(hash_token(bearer), now)
        record = None if found is None else await self._users.get(found.user)
        if found is None or record is None or record.disabled:
            return None
        # A clock that was set back has every proof made in the future, which is none.
        has_proved = found.proved is not None and 0 <= now - found.proved < PROOF_LIFETIME
        return Caller(record, has_proved)

    async def prove_again(
        self, bearer: str, password: str, address: str, shown: Shown = NOTHING
    ) -> Login:
        """
        Exchange a bearer for another by proving once more who they are who have it.

        The old one ends in the same step: somebody else may have it, too, who is not
        to gain by the proof of its owner. The new one ends when it would have.

        :raises NoSuchBearer: it is none, or ended meanwhile.
        :raises LoginRefused: and others, as :meth:`ProvingService.prove` says.
        :raises Locked:
        """
        caller = await self.caller_of(bearer)
        if caller is None:
            raise NoSuchBearer()
        # Who logged in before a second factor was required can still come to have one.
        proved = await self._proving.prove(
            caller.record.name.text, password, shown, address, must_have_factor=False
        )
        record = proved.record
        await self._check_lock(record, address)
        event = self._trail.event(
            EventType.USER_PROVED,
            Actor(str(record.name), address),
            second_factor=proved.second_factor,
        )
        newer = new_bearer()
        kept = await self._bearers.prove(
            hash_token(bearer), hash_token(newer), self._wall_clock(), event=event
        )
        self._log.info("{user} proved anew who they are", user=record.name)
        return Login(newer, kept.expires, record.name, record.must_change_password)

    async def log_out(self, bearer: str, *, by: Actor) -> None:
        """Make this bearer worthless."""
        event = self._trail.event(EventType.USER_LOGOUT, by)
        await self._bearers.remove(hash_token(bearer), event=event)

    async def change_password(
        self,
        user: str,
        old: str,
        new: str,
        *,
        address: str = "",
        shown: Shown = NOTHING,
        keep_bearer: str | None = None,
    ) -> None:
        """
        Let a person choose a new password, by proving the old one and a second factor.

        Every bearer of theirs ends, since somebody else may hold one, but the
        one to keep: it lives on as if they had logged in now.

        :raises BadPassword: the new one is not accepted; said before the old
            one is looked at.
        :raises LoginRefused: and as :meth:`authenticate`.
        """
        check_new_password(new)
        if new == old:
            raise BadPassword("the new password is the old one")
        record = (await self._proving.prove(user, old, shown, address)).record
        await self._check_lock(record, address)
        check_new_password(new, record.name)
        caller = None if keep_bearer is None else await self.caller_of(keep_bearer)
        event = self._trail.event(
            EventType.USER_PASSWORD_CHANGED, Actor(str(record.name), address), target=record.name
        )
        hashed = await self._passwords.hash(new)
        await self._users.set_password(record.name, hashed, False, event=event)
        await self._bearers.remove_for(record.name)
        self._log.info("password of {user} changed", user=record.name)
        if keep_bearer is not None and caller is not None and caller.record.name == record.name:
            now = self._wall_clock()
            kept = hash_token(keep_bearer)
            await self._bearers.add(
                BearerRecord(kept, record.name, now + BEARER_LIFETIME, proved=now)
            )

    async def set_password(
        self, user: UserName, password: str | None = None, *, must_change: bool = True, by: Actor
    ) -> str:
        """
        Replace a password by an administrator's right, and end the user's bearers.

        Without a password one is made up. Returns the password that now holds.

        :raises NoSuchUser:
        :raises BadPassword:
        """
        chosen = new_password() if password is None else password
        event = self._trail.event(EventType.USER_PASSWORD_RESET, by, target=user)
        hashed = await self._passwords.hash(chosen)
        await self._users.set_password(user, hashed, must_change, event=event)
        await self._bearers.remove_for(user)
        self._log.info("password of {user} replaced by {who}", user=user, who=by.name)
        return chosen

    async def create_user(
        self,
        name: UserName,
        *,
        logins: Iterable[LoginName],
        node_labels: LabelSelector,
        is_admin: bool = False,
        password: str | None = None,
        one_time_password: bool = False,
        roles: Collection[RoleName] = (),
        traits: Mapping[str, Iterable[str]] | None = None,
        by: Actor,
    ) -> NewUser:
        """
        Add a user; without any password they need an invite to log in.

        :param one_time_password: make one up, to be replaced at the first login.
        :raises UserExists:
        :raises BadPassword:
        :raises BadRequest: more logins than a certificate can name, or too many
            roles; BadTraits, likewise.
        :raises NoSuchRole:
        """
        kept = check_logins(tuple(logins))
        kept_roles = check_roles(roles)
        kept_traits = check_traits(traits or {})
        if password is not None:
            check_new_password(password, name)
        made_up = new_password() if one_time_password and password is None else None
        chosen = made_up if password is None else password
        record = UserRecord(
            name=name,
            password_hash="" if chosen is None else await self._passwords.hash(chosen),
            logins=kept,
            node_labels=node_labels,
            is_admin=is_admin,
            must_change_password=made_up is not None,
            created=self._wall_clock(),
            roles=kept_roles,
            traits=kept_traits,
        )
        event = self._trail.event(
            EventType.USER_CREATED,
            by,
            target=name,
            logins=tuple(map(str, kept)),
            node_labels=tuple(node_labels.pairs()),
            roles=tuple(map(str, kept_roles)),
            is_admin=is_admin,
        )
        await self._users.create(record, event=event)
        self._log.info("user {user} created by {who}", user=name, who=by.name)
        return NewUser(record, made_up)

    async def remove_user(self, name: UserName, *, by: Actor) -> None:
        """
        Forget a user and their bearers; their certificates open nothing more.

        :raises NoSuchUser:
        """
        event = self._trail.event(EventType.USER_DELETED, by, target=name)
        await self._users.remove(name, event=event)
        self._log.info("user {user} removed by {who}", user=name, who=by.name)
