"""
How people come to have second factors, and lose them.

An :class:`EnrolmentService` owns what has been begun and not confirmed, and
the recovery codes, which are shown once. Whether a factor is needed, and
whether one is right, is :mod:`mezite.auth.secondfactor`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadSecurityKey, LastSecondFactor, SecondFactorsOff, WrongCode
from mezite.auth.pending import Pending
from mezite.auth.secondfactor import SecondFactors
from mezite.auth.trail import AuditTrail
from mezite.auth.webauthn import key_id
from mezite.identity import totp
from mezite.identity.qrcode import svg
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.tokens import hash_token, new_recovery_code
from mezite.names import UserName
from mezite.store.error import NoSuchFactor
from mezite.store.proofs import ISecondFactors, ProofsRecord, SecurityKeyRecord, TotpRecord

RECOVERY_CODES: Final = 10


@frozen
class TotpOffer:
    """What an app needs to know: a link, its picture, and the secret for typing."""

    uri: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def qr_svg(self) -> str:
        return svg(self.uri)


@frozen
class RecoveryCodes:
    """Codes to be shown once, and what is stored of them."""

    shown: tuple[str, ...] = field(default=(), repr=False)
    hashes: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def new(cls) -> RecoveryCodes:
        shown = tuple(new_recovery_code() for _ in range(RECOVERY_CODES))
        return cls(shown, tuple(map(hash_token, shown)))


class EnrolmentService:
    """Adds and removes the second factors of users who have just proved who they are."""

    _log = Logger()

    def __init__(
        self,
        store: ISecondFactors,
        second_factors: SecondFactors,
        trail: AuditTrail,
        *,
        cluster: str,
        wall_clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._second_factors = second_factors
        self._trail = trail
        self._cluster = cluster
        self._wall_clock = wall_clock
        self._secrets: Pending[bytes] = Pending()

    @property
    def policy(self) -> SecondFactorPolicy:
        return self._second_factors.policy

    async def of(self, user: UserName) -> ProofsRecord:
        """What the user has."""
        return await self._store.get(user)

    def begin_totp(self, user: UserName) -> TotpOffer:
        """
        A secret for the user's app; the newest counts, since another may have been seen.

        :raises SecondFactorsOff:
        """
        self._check_policy()
        secret = totp.new_secret()
        self._secrets.put(user.text, secret, self._wall_clock())
        uri = totp.enrolment_uri(secret, user=user.text, issuer=f"Mezite {self._cluster}")
        return TotpOffer(uri, totp.secret_text(secret))

    def check_totp(self, user: UserName, code: str) -> TotpRecord:
        """
        The app, to be stored, if it shows this code.

        :raises WrongCode: also if nothing was begun.
        """
        self._check_policy()
        now = self._wall_clock()
        secret = self._secrets.get(user.text, now)
        if secret is None:
            raise WrongCode()
        step = totp.step_of(secret, "".join(code[:64].split()), now, after=-1)
        if step is None:
            raise WrongCode()
        return TotpRecord(user, secret, now, step)

    def forget_offer(self, user: UserName) -> None:
        """The secret that was offered is in use now."""
        self._secrets.take(user.text, self._wall_clock())

    async def confirm_totp(self, user: UserName, code: str, *, by: Actor) -> tuple[str, ...]:
        """
        Enrol the app that shows this code; recovery codes, if there were none.

        :raises WrongCode:
        """
        app = self.check_totp(user, code)
        codes = await self._codes_if_none(user)
        event = self._trail.event(
            EventType.USER_TOTP_ENROLLED, by, target=user, recovery_codes=len(codes.shown)
        )
        await self._store.set_totp(app, recovery_hashes=codes.hashes, event=event)
        self.forget_offer(user)
        self._log.info("{user} enrolled an authenticator app", user=user)
        return codes.shown

    async def remove_totp(self, user: UserName, *, by: Actor) -> None:
        """
        Forget the user's app.

        :raises NoSuchFactor:
        :raises LastSecondFactor:
        """
        proofs = await self.of(user)
        if proofs.totp is not None:
            self._check_last(len(proofs.keys))
        event = self._trail.event(EventType.USER_TOTP_REMOVED, by, target=user)
        await self._store.remove_totp(user, event=event)
        self._log.info("{user} removed their authenticator app", user=user)

    async def new_recovery_codes(self, user: UserName, *, by: Actor) -> tuple[str, ...]:
        """
        Ten new codes in place of all others.

        :raises NoSuchFactor: codes are for those who have a factor to lose.
        """
        if not (await self.of(user)).is_enrolled:
            raise NoSuchFactor()
        codes = RecoveryCodes.new()
        event = self._trail.event(EventType.USER_RECOVERY_CODES_CREATED, by, target=user)
        await self._store.set_recovery_codes(user, codes.hashes, event=event)
        return codes.shown

    async def begin_key(self, user: UserName) -> str:
        """
        What a browser asks a new security key with, JSON.

        :raises NoSecurityKeysHere:
        """
        self._check_policy()
        keys = (await self.of(user)).keys
        return self._second_factors.keys.begin_registration(user, keys)

    async def finish_key(
        self, user: UserName, response: str, name: str, *, by: Actor
    ) -> tuple[SecurityKeyRecord, tuple[str, ...]]:
        """
        Add the key that answered; recovery codes, if there were none.

        :raises BadSecurityKey:
        :raises KeyExists:
        :raises TooManyKeys:
        """
        self._check_policy()
        try:
            key = self._second_factors.keys.finish_registration(user, response, name)
        except BadSecurityKey as error:
            self._log.warn(
                "a security key of {user} refused: {reason}", user=user, reason=error.reason
            )
            raise
        codes = await self._codes_if_none(user)
        event = self._trail.event(
            EventType.USER_WEBAUTHN_ADDED,
            by,
            target=user,
            key=key_id(key),
            name=key.name,
            recovery_codes=len(codes.shown),
        )
        await self._store.add_key(key, recovery_hashes=codes.hashes, event=event)
        self._log.info("{user} added the security key {key}", user=user, key=key_id(key))
        return key, codes.shown

    async def remove_key(self, user: UserName, wanted: str, *, by: Actor) -> None:
        """
        Forget a key, by its id of :func:`key_id`.

        :raises NoSuchFactor:
        :raises LastSecondFactor:
        """
        proofs = await self.of(user)
        key = next((each for each in proofs.keys if key_id(each) == wanted), None)
        if key is None:
            raise NoSuchFactor()
        self._check_last(len(proofs.keys) - 1 + (proofs.totp is not None))
        event = self._trail.event(
            EventType.USER_WEBAUTHN_REMOVED, by, target=user, key=wanted, name=key.name
        )
        await self._store.remove_key(user, key.credential_id, event=event)
        self._log.info("{user} removed the security key {key}", user=user, key=wanted)

    async def reset(self, user: UserName, *, by: Actor) -> None:
        """
        Forget all second factors of a user by an administrator's right, and end their bearers.

        :raises NoSuchFactor:
        """
        proofs = await self.of(user)
        event = self._trail.event(
            EventType.USER_TOTP_REMOVED,
            by,
            target=user,
            security_keys=len(proofs.keys),
            recovery_codes=proofs.recovery_codes,
        )
        await self._store.clear(user, event=event)
        self._log.info("{who} removed the second factors of {user}", who=by.name, user=user)

    async def _codes_if_none(self, user: UserName) -> RecoveryCodes:
        proofs = await self.of(user)
        return RecoveryCodes() if proofs.recovery_codes else RecoveryCodes.new()

    def _check_policy(self) -> None:
        if self.policy is SecondFactorPolicy.OFF:
            raise SecondFactorsOff()

    def _check_last(self, others: int) -> None:
        if self.policy is SecondFactorPolicy.REQUIRED and not others:
            raise LastSecondFactor()
