"""
Invites: how somebody becomes a user, or comes back as one who forgot the password.

An :class:`InviteService` owns the invites as people handle them. That one is
used up together with what it sets is the promise of
:class:`mezite.store.proofs.IInvites`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.enrolment import EnrolmentService, RecoveryCodes, TotpOffer
from mezite.auth.error import BadRequest, EnrolmentRequired, SecondFactorRequired
from mezite.auth.login import Login, LoginService
from mezite.auth.passwords import Passwords, check_new_password
from mezite.auth.proving import ProvingService
from mezite.auth.secondfactor import NONE, TOTP, SecondFactors, Shown
from mezite.auth.trail import AuditTrail
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.tokens import hash_token, new_invite
from mezite.names import UserName
from mezite.store.error import InviteRefused
from mezite.store.interfaces import IUsers
from mezite.store.proofs import IInvites, InviteRecord, TotpRecord

INVITE_LIFETIME: Final = 86400.0
INVITE_SHORTEST: Final = 60.0
INVITE_LONGEST: Final = 30 * 86400.0
# Ours have 44 characters.
_TOKEN_LIMIT: Final = 256
# Whose failures it is when an invite is none; no user has this name.
_NOBODYS_KEY: Final = "\0invite"


@frozen
class NewInvite:
    """An invite that was made; its secret is shown once and stored nowhere."""

    record: InviteRecord
    secret: str = field(repr=False)


@frozen
class Invitation:
    """
    What somebody is told who holds an invite.

    :param offer: an app may be enrolled with it; ``must_enrol`` if one must be.
    :param wanted: the user has second factors already, and must show one.
    """

    user: UserName
    expires: float
    offer: TotpOffer | None
    must_enrol: bool
    wanted: SecondFactorRequired | None


@frozen
class Accepted:
    """Somebody has accepted, and is logged in."""

    login: Login
    recovery_codes: tuple[str, ...] = field(repr=False)


class InviteService:
    """Makes invites, and lets people in who hold one."""

    _log = Logger()

    def __init__(
        self,
        users: IUsers,
        invites: IInvites,
        trail: AuditTrail,
        *,
        passwords: Passwords,
        proving: ProvingService,
        second_factors: SecondFactors,
        enrolment: EnrolmentService,
        logins: LoginService,
        wall_clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._invites = invites
        self._trail = trail
        self._passwords = passwords
        self._proving = proving
        self._second_factors = second_factors
        self._enrolment = enrolment
        self._logins = logins
        self._wall_clock = wall_clock

    async def invite(
        self, user: UserName, *, ttl: float | None = None, reset: bool = False, by: Actor
    ) -> NewInvite:
        """
        A new invite for a user, in place of any other of theirs.

        :param reset: their password is worth nothing from now on, and their bearers end.
        :raises NoSuchUser:
        :raises BadRequest: the lifetime is out of its bounds.
        """
        lifetime = check_lifetime(ttl)
        secret = new_invite()
        now = self._wall_clock()
        record = InviteRecord(hash_token(secret), user, by.name, now, now + lifetime)
        kind = EventType.USER_PASSWORD_RESET if reset else EventType.USER_INVITED
        event = self._trail.event(kind, by, target=user, invite_seconds=int(lifetime))
        await self._invites.put(record, void_password=reset, event=event)
        self._log.info("{who} invited {user}", who=by.name, user=user)
        return NewInvite(record, secret)

    async def look(self, secret: str, *, address: str) -> Invitation:
        """
        What this invite is for. It is not used up by it.

        :raises InviteRefused:
        :raises TooManyFailures:
        """
        record = await self._find(secret, address)
        proofs = await self._second_factors.of(record.user)
        policy = self._second_factors.policy
        if policy is SecondFactorPolicy.OFF:
            return Invitation(record.user, record.expires, None, False, None)
        if proofs.is_enrolled:
            wanted = self._second_factors.required(record.user, proofs)
            return Invitation(record.user, record.expires, None, False, wanted)
        offer = self._enrolment.begin_totp(record.user)
        must_enrol = policy is SecondFactorPolicy.REQUIRED
        return Invitation(record.user, record.expires, offer, must_enrol, None)

    async def accept(self, secret: str, password: str, shown: Shown, *, address: str) -> Accepted:
        """
        Choose a password, and perhaps enrol an app, and log in.

        :param shown: a code of the app that :meth:`look` offered; for a user
            who has second factors, one of those.
        :raises InviteRefused: of any number who come with one invite, one gets in.
        :raises BadPassword: and the invite is not used up; nor by the others.
        :raises WrongCode: the offered app does not show this code.
        :raises EnrolmentRequired: the cluster wants an app, and no code was given.
        :raises SecondFactorRequired:
        :raises LoginRefused: the second factor is wrong.
        """
        record = await self._find(secret, address)
        check_new_password(password, record.user)
        by = Actor(record.user.text, address)
        work = self._accept(record, password, shown, by)
        return await self._proving.counted(record.user.text, by, work)

    async def _accept(
        self, record: InviteRecord, password: str, shown: Shown, by: Actor
    ) -> Accepted:
        user = record.user
        app, proved = await self._second_factor(user, shown, by)
        codes = RecoveryCodes() if app is None else RecoveryCodes.new()
        event = self._trail.event(
            EventType.USER_INVITE_ACCEPTED, by, target=user, totp_enrolled=app is not None
        )
        await self._invites.accept(
            record.secret_hash,
            self._wall_clock(),
            password_hash=await self._passwords.hash(password),
            totp=app,
            recovery_hashes=codes.hashes,
            event=event,
        )
        if app is not None:
            self._enrolment.forget_offer(user)
        self._log.info("{user} accepted an invite from {address}", user=user, address=by.address)
        accepted = await self._users.get(user)
        if accepted is None:
            raise InviteRefused()
        return Accepted(await self._logins.let_in(accepted, proved, by.address), codes.shown)

    async def _second_factor(
        self, user: UserName, shown: Shown, by: Actor
    ) -> tuple[TotpRecord | None, str]:
        """The app to be enrolled, if one is to be, and what was shown."""
        policy = self._second_factors.policy
        if policy is SecondFactorPolicy.OFF:
            return None, NONE
        if (await self._second_factors.of(user)).is_enrolled:
            return None, await self._second_factors.check(user, shown, by)
        if shown.code:
            return self._enrolment.check_totp(user, shown.code), TOTP
        if policy is SecondFactorPolicy.REQUIRED:
            raise EnrolmentRequired()
        return None, NONE

    async def _find(self, secret: str, address: str) -> InviteRecord:
        by = Actor("nobody", address)
        return await self._proving.counted(_NOBODYS_KEY, by, self._valid(secret, by))

    async def _valid(self, secret: str, by: Actor) -> InviteRecord:
        record = None
        if len(secret) <= _TOKEN_LIMIT:
            record = await self._invites.find(hash_token(secret), self._wall_clock())
        if record is None:
            kind = EventType.USER_INVITE_REFUSED
            reason = "unknown, used or expired"
            await self._trail.record(self._trail.event(kind, by, success=False, error=reason))
            raise InviteRefused()
        return record


def check_lifetime(ttl: float | None) -> float:
    """
    How long an invite is to be accepted, in seconds.

    :raises BadRequest:
    """
    lifetime = INVITE_LIFETIME if ttl is None else ttl
    # Written so that a ttl which is not a number fails, too.
    if not INVITE_SHORTEST <= lifetime <= INVITE_LONGEST:
        raise BadRequest(
            f"an invite is accepted for {INVITE_SHORTEST:.0f} s to"
            f" {INVITE_LONGEST / 86400:.0f} days"
        )
    return lifetime
