"""
Access requests in a database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define
from sqlalchemy import Connection, Row, delete, func, insert, select, tuple_, update
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mezite.audit.events import AuditEvent
from mezite.identity.requests import AccessRequest, Change, State
from mezite.names import RoleName, UserName
from mezite.store import schema
from mezite.store.error import NoSuchRequest, NoSuchUser, RequestExists, TooManyRequests
from mezite.store.requests import (
    APPROVED_PER_USER,
    OVER_PER_USER,
    PENDING_PER_USER,
    IAccessRequests,
    RequestQuery,
)
from mezite.store.transactions import Transactions

_requests: Final = schema.access_requests
_users: Final = schema.users
_LIVE: Final = [state.value for state in State if not state.is_final]


@implementer(IAccessRequests)
@define(eq=False)
class DatabaseRequests:
    """The table ``access_requests``."""

    _transactions: Transactions

    def add(self, request: AccessRequest, *, event: AuditEvent | None = None) -> Deferred[None]:
        def step(connection: Connection) -> None:
            user = request.user.text
            chosen = select(_users.c.disabled).where(_users.c.name == user)
            if connection.execute(chosen).scalar() is not False:
                raise NoSuchUser(request.user)
            if _row(connection, request.id) is not None:
                raise RequestExists(request.id)
            if _number(connection, user, State.PENDING, request.created) >= PENDING_PER_USER:
                raise TooManyRequests("that wait for a review", PENDING_PER_USER)
            connection.execute(insert(_requests).values(_values(request)))
            over = _requests.c.user == user, _requests.c.state.not_in(_LIVE)
            ordered = select(_requests.c.id).where(*over).order_by(*_newest_first())
            # SQLite takes no OFFSET without a LIMIT.
            kept = ordered.limit(OVER_PER_USER)
            connection.execute(delete(_requests).where(*over, _requests.c.id.not_in(kept)))

        return self._transactions.write(step, event)

    def get(self, request_id: str) -> Deferred[AccessRequest | None]:
        def step(connection: Connection) -> AccessRequest | None:
            row = _row(connection, request_id)
            return None if row is None else _request(row)

        return self._transactions.read(step)

    def change(
        self,
        request_id: str,
        change: Callable[[AccessRequest], AccessRequest],
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[AccessRequest]:
        def step(connection: Connection) -> AccessRequest:
            row = _row(connection, request_id)
            if row is None:
                raise NoSuchRequest(request_id)
            before = _request(row)
            after = change(before)
            if after.state is State.APPROVED and before.state is not State.APPROVED:
                now = after.changes[-1].time
                number = _number(connection, after.user.text, State.APPROVED, now)
                if number >= APPROVED_PER_USER:
                    raise TooManyRequests("that are approved", APPROVED_PER_USER)
            statement = update(_requests).where(_requests.c.id == request_id)
            connection.execute(statement.values(_values(after)))
            return after

        return self._transactions.write(step, event)

    def approved(self, user: UserName, now: float) -> Deferred[tuple[AccessRequest, ...]]:
        chosen = (
            select(_requests)
            .where(
                _requests.c.user == user.text,
                _requests.c.state == State.APPROVED.value,
                _requests.c.expires > now,
            )
            .order_by(_requests.c.created, _requests.c.id)
            .limit(APPROVED_PER_USER)
        )
        return self._transactions.read(lambda connection: _all(connection, chosen))

    def list(self, query: RequestQuery, limit: int) -> Deferred[tuple[AccessRequest, ...]]:
        chosen = select(_requests).order_by(*_newest_first()).limit(limit)
        if query.user is not None:
            chosen = chosen.where(_requests.c.user == query.user.text)
        if query.states:
            chosen = chosen.where(_requests.c.state.in_([state.value for state in query.states]))
        if query.before is not None:
            place = tuple_(_requests.c.created, _requests.c.id)
            chosen = chosen.where(place < tuple_(*query.before))
        return self._transactions.read(lambda connection: _all(connection, chosen))

    def due(self, now: float, limit: int) -> Deferred[tuple[AccessRequest, ...]]:
        chosen = (
            select(_requests)
            .where(_requests.c.state.in_(_LIVE), _requests.c.expires <= now)
            .order_by(_requests.c.expires, _requests.c.id)
            .limit(limit)
        )
        return self._transactions.read(lambda connection: _all(connection, chosen))


def _newest_first() -> tuple[Any, Any]:
    return _requests.c.created.desc(), _requests.c.id.desc()


def _row(connection: Connection, request_id: str) -> Row[Any] | None:
    return connection.execute(select(_requests).where(_requests.c.id == request_id)).first()


def _all(connection: Connection, chosen: Any) -> tuple[AccessRequest, ...]:
    return tuple(_request(row) for row in connection.execute(chosen))


def _number(connection: Connection, user: str, state: State, now: float) -> int:
    counted = (
        select(func.count())
        .select_from(_requests)
        .where(
            _requests.c.user == user, _requests.c.state == state.value, _requests.c.expires > now
        )
    )
    number: int = connection.execute(counted).scalar_one()
    return number


def _values(request: AccessRequest) -> dict[str, Any]:
    return {
        "id": request.id,
        "user": request.user.text,
        "roles": [role.text for role in request.roles],
        "nodes": list(request.nodes),
        "window": request.window,
        "expires": request.expires,
        "state": request.state.value,
        "created": request.created,
        "changes": [
            [change.state.value, change.time, change.by, change.reason]
            for change in request.changes
        ],
    }


def _request(row: Row[Any]) -> AccessRequest:
    return AccessRequest(
        id=row.id,
        user=UserName(row.user),
        roles=tuple(RoleName(role) for role in row.roles),
        nodes=tuple(row.nodes),
        window=row.window,
        expires=row.expires,
        changes=tuple(
            Change(State(state), time, by, reason) for state, time, by, reason in row.changes
        ),
    )
