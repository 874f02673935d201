"""
Who somebody proves to be, against those who guess.

A :class:`ProvingService` owns the way from what was typed to a user: how many
may try at once and how soon again, the password's hash, the second factor, and
the audit of what failed. What proof is good for is :mod:`mezite.auth.login`'s
and :mod:`mezite.auth.inviting`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from attrs import frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import LoginRefused, TooManyLogins
from mezite.auth.limiter import FailureLimiter
from mezite.auth.passwords import AT_ONCE, WAITING_LIMIT, Passwords
from mezite.auth.secondfactor import SecondFactors, Shown
from mezite.auth.trail import AuditTrail
from mezite.names import InvalidName, UserName, network_of
from mezite.store.error import InviteRefused
from mezite.store.interfaces import IUsers
from mezite.store.records import UserRecord

# Of one network at a time, a quarter of those whose passwords may wait to be checked:
# who tries name after name must not take the places of all others.
TRIES_OF_ONE_NETWORK: Final = (WAITING_LIMIT + AT_ONCE) // 4

T = TypeVar("T")


@frozen
class Proved:
    """A user, and what they showed beside the password."""

    record: UserRecord
    second_factor: str


class ProvingService:
    """Checks passwords and second factors, a few at a time."""

    _log = Logger()

    def __init__(
        self,
        users: IUsers,
        passwords: Passwords,
        second_factors: SecondFactors,
        trail: AuditTrail,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._passwords = passwords
        self._second_factors = second_factors
        self._trail = trail
        self._wall_clock = wall_clock
        self._failures = FailureLimiter()
        # How many of each network are trying, or wait for it.
        self._trying: Counter[str] = Counter()

    async def prove(
        self,
        user: str,
        password: str,
        shown: Shown,
        address: str,
        *,
        must_have_factor: bool = True,
    ) -> Proved:
        """
        The user whose password and second factor these are.

        :param address: where the caller is, for delays and for the audit.
        :param must_have_factor: refuse who has none where one is required.
        :raises LoginRefused: for every cause with one sentence.
        :raises SecondFactorRequired: the password is right; as is it for SecondFactorMissing.
        :raises TooManyFailures: this user must not try from there now.
        :raises TooManyLogins:
        """
        try:
            name: UserName | None = UserName.parse(user)
        except InvalidName:
            # People type their password where their name belongs: not in the log.
            name = None
        by = Actor("nobody" if name is None else name.text, address)
        key = "" if name is None else name.text
        work = self._check(name, password, shown, by, must_have_factor)
        return await self.counted(key, by, work)

    async def counted(self, key: str, by: Actor, work: Coroutine[Any, Any, T]) -> T:
        """
        Do this unless they failed too often or too many try; a refusal counts as a failure.

        :param key: whose failures they are.
        """
        network = network_of(by.address)
        try:
            if self._trying[network] >= TRIES_OF_ONE_NETWORK:
                raise TooManyLogins()
            self._failures.begin(key, by.address, self._wall_clock())
        except BaseException:
            work.close()
            raise
        self._trying[network] += 1
        try:
            answer = await work
        except LoginRefused as error:
            await self._note(by, error)
            raise
        except InviteRefused:
            raise
        except BaseException:
            # Cancelled, the store failed, or half of a proof: not a guess.
            self._failures.withdraw(key, by.address)
            raise
        finally:
            self._trying[network] -= 1
            if not self._trying[network]:
                del self._trying[network]
        self._failures.succeeded(key, by.address, self._wall_clock())
        return answer

    async def _note(self, by: Actor, error: LoginRefused) -> None:
        self._log.warn(
            "login of {user} from {address} refused: {reason}",
            user=by.name,
            address=by.address,
            reason=error.reason,
        )
        kind = EventType.USER_LOGIN_FAILED
        await self._trail.record(self._trail.event(kind, by, success=False, error=error.reason))

    async def _check(
        self, name: UserName | None, password: str, shown: Shown, by: Actor, must_have_factor: bool
    ) -> Proved:
        record = None if name is None else await self._users.get(name)
        # Who was invited, or reset, has no password yet.
        stored = None if record is None else record.password_hash or None
        matches = await self._passwords.matches(stored, password)
        if record is None:
            raise LoginRefused("no such user")
        if not matches:
            raise LoginRefused("wrong password" if stored else "no password yet")
        if record.disabled:
            raise LoginRefused("disabled")
        second_factor = await self._second_factors.check(
            record.name, shown, by, must_have=must_have_factor
        )
        # All that took its time; a password replaced meanwhile is worth nothing.
        again = await self._users.get(record.name)
        if again is None or again.disabled or again.password_hash != record.password_hash:
            raise LoginRefused("changed during the login")
        return Proved(again, second_factor)
