"""
What can be asked of a store about access requests.

Beside :mod:`mezite.store.interfaces`, and under its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from mezite.audit.events import AuditEvent
from mezite.identity.requests import AccessRequest, State
from mezite.names import UserName

# What one person can have open at once; a reviewer must still see the others' among them.
PENDING_PER_USER: Final = 10
# Approved ones are read for each decision about the user. What is over is kept for people to
# look at; the audit has it all.
APPROVED_PER_USER: Final = 32
OVER_PER_USER: Final = 200


@frozen
class RequestQuery:
    """
    Which requests: those of a user, or in one of these states as written down.

    ``before`` is the time of creation and the id of the last that was seen.
    """

    user: UserName | None = None
    states: frozenset[State] = frozenset()
    before: tuple[float, str] | None = None


class IAccessRequests(Interface):
    """The wishes of users for roles, and what became of them."""

    def add(request: AccessRequest, *, event: AuditEvent | None = None) -> Deferred[None]:
        """
        Keep a new request. Beyond ``OVER_PER_USER`` the user's oldest that are over are forgotten.

        :raises NoSuchUser: or they are disabled.
        :raises RequestExists: there is one with this id.
        :raises TooManyRequests: the user has ``PENDING_PER_USER`` already that
            had not expired when this one was created.
        """

    def get(request_id: str) -> Deferred[AccessRequest | None]:
        """The request of this id, if there is one."""

    def change(
        request_id: str,
        change: Callable[[AccessRequest], AccessRequest],
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[AccessRequest]:
        """
        Replace a request by what ``change`` makes of it, and fire with that.

        It is called in a thread, may be called twice, and is to do nothing but
        compute; what it raises is the answer, and leaves everything as it was.

        :raises NoSuchRequest:
        :raises TooManyRequests: the user has ``APPROVED_PER_USER`` that are approved.
        """

    def approved(user: UserName, now: float) -> Deferred[tuple[AccessRequest, ...]]:
        """The requests that give this user rights now, the oldest first."""

    def list(query: RequestQuery, limit: int) -> Deferred[tuple[AccessRequest, ...]]:
        """So many of those that are asked for at most, the newest first."""

    def due(now: float, limit: int) -> Deferred[tuple[AccessRequest, ...]]:
        """So many at most of those whose state has ended and is still written down."""
