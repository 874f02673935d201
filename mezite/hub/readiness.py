"""
Whether the hub can do its work: whether its audit can be written.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from mezite.audit.error import AuditUnavailable
from mezite.store.error import StoreUnavailable
from mezite.store.interfaces import IStore
from mezite.tasks import within

_SECONDS: Final = 5.0
# The check writes, and anybody may ask.
_GOOD_FOR: Final = 1.0


@define(eq=False)
class Readiness:
    """For ``/readyz``: an event could be written now, or a moment ago."""

    _store: IStore
    _clock: IReactorTime
    _checked: float | None = field(init=False, default=None)
    _problem: AuditUnavailable | None = field(init=False, default=None)

    async def check(self) -> None:
        """
        :raises AuditUnavailable: nothing can be written.
        :raises TimedOut: the store does not answer.
        """
        if self._checked is None or self._clock.seconds() - self._checked >= _GOOD_FOR:
            self._problem = None
            try:
                await within(
                    self._clock, _SECONDS, self._store.check(), doing="writing to the audit"
                )
            except StoreUnavailable as error:
                self._problem = AuditUnavailable(error.reason)
            self._checked = self._clock.seconds()
        if self._problem is not None:
            raise self._problem
