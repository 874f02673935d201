"""
Where the services' events come from.

An :class:`AuditTrail` stamps events and keeps those that belong to no change
of the store. An event that does is given to the store's method, which keeps
both or neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.logger import Logger

from mezite.audit.error import AuditUnavailable
from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.store.error import StoreUnavailable
from mezite.store.interfaces import IAuditLog


class AuditTrail:
    """Makes events, at the time that it is."""

    _log = Logger()

    def __init__(self, log: IAuditLog, *, wall_clock: Callable[[], float]) -> None:
        self._audit = log
        self._wall_clock = wall_clock

    def event(
        self,
        kind: EventType,
        by: Actor,
        *,
        target: object = "",
        node: object = "",
        login: object = "",
        session_id: str = "",
        success: bool = True,
        error: str = "",
        **details: Any,
    ) -> AuditEvent:
        """
        An event of now.

        Names are given as they are; what stands in ``details`` is text, a
        number, a truth, or several texts.
        """
        return AuditEvent(
            type=kind,
            time=self._wall_clock(),
            actor=by,
            target=str(target),
            node=str(node),
            login=str(login),
            session_id=session_id,
            success=success,
            error=error,
            details=details,
        )

    async def record(self, event: AuditEvent) -> None:
        """
        Keep an event, before what it says is done.

        :raises AuditUnavailable: it is not kept, so what it says must not be done.
        """
        await self.kept(event, self._audit.record(event))

    async def kept(self, event: AuditEvent, change: Awaitable[None]) -> None:
        """
        Wait for a change of the store that keeps an event, too.

        :raises AuditUnavailable: neither was done.
        """
        try:
            await change
        except StoreUnavailable as error:
            self._log.error(
                "{event} by {who} is not in the audit: {reason}",
                event=event.type.text,
                who=event.actor.name,
                reason=error.reason,
            )
            raise AuditUnavailable(error.reason) from None
