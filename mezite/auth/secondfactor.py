"""
Second factors as they are checked at a login.

A :class:`SecondFactors` says whether one is needed, and whether what was shown
is one: a code of an app, each used once, a recovery code, likewise, or the
answer of a security key. How people come to have them is
:mod:`mezite.auth.enrolment`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from mezite.audit.events import Actor, EventType
from mezite.auth.error import LoginRefused, SecondFactorMissing, SecondFactorRequired
from mezite.auth.trail import AuditTrail
from mezite.auth.webauthn import SecurityKeys
from mezite.identity import totp
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.tokens import canonical_recovery_code, hash_token
from mezite.names import UserName
from mezite.store.error import NoSuchFactor
from mezite.store.proofs import ISecondFactors, ProofsRecord

TOTP: Final = "totp"
WEBAUTHN: Final = "webauthn"
RECOVERY_CODE: Final = "recovery_code"
NONE: Final = "none"


@frozen
class Shown:
    """What somebody shows beside a password, if anything."""

    code: str = field(default="", repr=False)
    assertion: str = field(default="", repr=False)


NOTHING: Final = Shown()


@frozen(eq=False)
class SecondFactors:
    """Checks what is shown; it counts nothing, which is :mod:`mezite.auth.proving`'s."""

    policy: SecondFactorPolicy
    keys: SecurityKeys
    _store: ISecondFactors
    _trail: AuditTrail
    _wall_clock: Callable[[], float]

    async def of(self, user: UserName) -> ProofsRecord:
        """What the user has."""
        return await self._store.get(user)

    async def check(
        self, user: UserName, shown: Shown, by: Actor, *, must_have: bool = True
    ) -> str:
        """
        Let in a user whose password was right; which factor it was, for the record.

        :param must_have: refuse who has none where one is required.
        :raises SecondFactorRequired: nothing was shown.
        :raises SecondFactorMissing:
        :raises LoginRefused: what was shown is wrong, or was used before.
        """
        if self.policy is SecondFactorPolicy.OFF:
            return NONE
        proofs = await self.of(user)
        if not proofs.is_enrolled:
            if must_have and self.policy is SecondFactorPolicy.REQUIRED:
                raise SecondFactorMissing(user)
            return NONE
        if shown.assertion:
            return await self._check_assertion(user, shown.assertion, proofs)
        if shown.code:
            return await self._check_code(user, shown.code, proofs, by)
        raise self.required(user, proofs)

    def required(self, user: UserName, proofs: ProofsRecord) -> SecondFactorRequired:
        """What to ask a user for who has these."""
        kinds = (
            *((TOTP,) if proofs.totp is not None else ()),
            *((WEBAUTHN,) if proofs.keys else ()),
            *((RECOVERY_CODE,) if proofs.recovery_codes else ()),
        )
        return SecondFactorRequired(kinds, self.keys.begin_assertion(user, proofs.keys))

    async def _check_code(self, user: UserName, typed: str, proofs: ProofsRecord, by: Actor) -> str:
        code = "".join(typed[:256].split())
        if not totp.is_code(code):
            return await self._check_recovery_code(user, typed, proofs, by)
        app = proofs.totp
        if app is None:
            raise LoginRefused("wrong code: there is no app")
        step = totp.step_of(app.secret, code, self._wall_clock(), after=app.last_step)
        # Of two who come with one code at the same time, the store lets one in.
        if step is None or not await self._store.use_step(app, step):
            raise LoginRefused("wrong code")
        return TOTP

    async def _check_recovery_code(
        self, user: UserName, typed: str, proofs: ProofsRecord, by: Actor
    ) -> str:
        used = hash_token(canonical_recovery_code(typed))
        left = max(0, proofs.recovery_codes - 1)
        event = self._trail.event(
            EventType.USER_RECOVERY_CODE_USED, by, target=user, codes_left=left
        )
        try:
            await self._store.use_recovery_code(user, used, event=event)
        except NoSuchFactor:
            raise LoginRefused("wrong recovery code") from None
        return RECOVERY_CODE

    async def _check_assertion(self, user: UserName, response: str, proofs: ProofsRecord) -> str:
        signed = self.keys.finish_assertion(user, response, proofs.keys)
        now = self._wall_clock()
        if not await self._store.use_key(signed.credential_id, signed.sign_count, now):
            raise LoginRefused("a security key whose count did not grow")
        return WEBAUTHN
