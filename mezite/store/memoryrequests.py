"""
Access requests in a dictionary.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.requests import AccessRequest, State
from mezite.names import UserName
from mezite.store.error import NoSuchRequest, NoSuchUser, RequestExists, TooManyRequests
from mezite.store.memorytables import Tables, step
from mezite.store.requests import (
    APPROVED_PER_USER,
    OVER_PER_USER,
    PENDING_PER_USER,
    IAccessRequests,
    RequestQuery,
)


@implementer(IAccessRequests)
@define(eq=False)
class MemoryRequests:
    """Requests by their ids."""

    _tables: Tables

    @step
    def add(self, request: AccessRequest, *, event: AuditEvent | None = None) -> None:
        requests, user = self._tables.requests, self._tables.users.get(request.user)
        if user is None or user.disabled:
            raise NoSuchUser(request.user)
        if request.id in requests:
            raise RequestExists(request.id)
        if self._number(request.user, State.PENDING, request.created) >= PENDING_PER_USER:
            raise TooManyRequests("that wait for a review", PENDING_PER_USER)
        requests[request.id] = request
        over = [
            each
            for each in self._newest_first()
            if each.user == request.user and each.state.is_final
        ]
        for each in over[OVER_PER_USER:]:
            del requests[each.id]

    @step
    def get(self, request_id: str) -> AccessRequest | None:
        return self._tables.requests.get(request_id)

    @step
    def change(
        self,
        request_id: str,
        change: Callable[[AccessRequest], AccessRequest],
        *,
        event: AuditEvent | None = None,
    ) -> AccessRequest:
        before = self._tables.requests.get(request_id)
        if before is None:
            raise NoSuchRequest(request_id)
        after = change(before)
        if after.state is State.APPROVED and before.state is not State.APPROVED:
            number = self._number(after.user, State.APPROVED, after.changes[-1].time)
            if number >= APPROVED_PER_USER:
                raise TooManyRequests("that are approved", APPROVED_PER_USER)
        self._tables.requests[request_id] = after
        return after

    @step
    def approved(self, user: UserName, now: float) -> tuple[AccessRequest, ...]:
        return tuple(
            each
            for each in reversed(self._newest_first())
            if each.user == user and each.gives_rights(now)
        )

    @step
    def list(self, query: RequestQuery, limit: int) -> tuple[AccessRequest, ...]:
        return tuple(
            [
                each
                for each in self._newest_first()
                if query.user in (None, each.user)
                and (not query.states or each.state in query.states)
                and (query.before is None or (each.created, each.id) < query.before)
            ][:limit]
        )

    @step
    def due(self, now: float, limit: int) -> tuple[AccessRequest, ...]:
        found = [each for each in self._tables.requests.values() if each.is_due(now)]
        return tuple(sorted(found, key=lambda each: (each.expires, each.id))[:limit])

    def _newest_first(self) -> tuple[AccessRequest, ...]:
        return tuple(
            sorted(
                self._tables.requests.values(),
                key=lambda each: (each.created, each.id),
                reverse=True,
            )
        )

    def _number(self, user: UserName, state: State, now: float) -> int:
        return sum(
            each.user == user and each.state is state and now < each.expires
            for each in self._tables.requests.values()
        )
