"""
Access requests as people make and decide them.

What a request is and who may decide is :mod:`mezite.identity.requests`; this
asks it over what is stored, makes each step one with its event, and tells
:class:`IRequestWatcher` what was done. What an approved request opens is
:mod:`mezite.auth.rights`'s and :mod:`mezite.auth.issuing`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen
from twisted.logger import Logger
from zope.interface import Interface

from mezite.audit.events import HUB, Actor, AuditEvent, EventType
from mezite.auth.error import RequestRefused, ReviewRefused
from mezite.auth.rights import Rights
from mezite.auth.trail import AuditTrail
from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.error import BadRequestText, NotPossible
from mezite.identity.requests import (
    LONGEST_WINDOW,
    AccessRequest,
    State,
    Step,
    check_reason,
    may_request,
    may_review,
)
from mezite.identity.roles import UserRights
from mezite.identity.tokens import new_request_id
from mezite.names import RoleName, UserName
from mezite.store.error import NoSuchRequest, NoSuchRole, NoSuchUser, RequestExists
from mezite.store.interfaces import IRoles
from mezite.store.requests import IAccessRequests, RequestQuery

_LIVE: Final = frozenset(state for state in State if not state.is_final)
_EVENTS: Final[Mapping[State, EventType]] = {
    State.PENDING: EventType.ACCESS_REQUEST_CREATED,
    State.APPROVED: EventType.ACCESS_REQUEST_APPROVED,
    State.DENIED: EventType.ACCESS_REQUEST_DENIED,
    State.CANCELLED: EventType.ACCESS_REQUEST_CANCELLED,
    State.REVOKED: EventType.ACCESS_REQUEST_REVOKED,
    State.EXPIRED: EventType.ACCESS_REQUEST_EXPIRED,
}
_STATE_AFTER: Final[Mapping[Step, State]] = {
    Step.APPROVE: State.APPROVED,
    Step.DENY: State.DENIED,
    Step.CANCEL: State.CANCELLED,
    Step.REVOKE: State.REVOKED,
    Step.EXPIRE: State.EXPIRED,
}
# A list is filtered by what its reader may see; so many are looked at for one page.
_CHUNK: Final = 200
_CHUNKS: Final = 10
# What ends in one second and is more than this waits for the next look.
_SWEPT: Final = 100
_TRIES: Final = 5


class IRequestWatcher(Interface):
    """Somebody who is told of each change, once it is in the store."""

    def request_changed(request: AccessRequest) -> None:
        """The request is now in the state of its last change; must not wait."""


@frozen
class Party:
    """
    Who asks about requests: a user, or the admin socket, which is nobody's.

    ``sees_all`` lets them see every request, and decide about none.
    """

    actor: Actor
    user: UserName | None
    sees_all: bool = False


class RequestService:
    """Makes requests, decides about them, and ends them."""

    _log = Logger()

    def __init__(
        self,
        requests: IAccessRequests,
        roles: IRoles,
        rights: Rights,
        trail: AuditTrail,
        *,
        wall_clock: Callable[[], float],
        longest: float = LONGEST_WINDOW,
        watchers: Sequence[Any] = (),
    ) -> None:
        self._requests = requests
        self._roles = roles
        self._rights = rights
        self._trail = trail
        self._wall_clock = wall_clock
        self._longest = longest
        self._watchers = watchers

    def now(self) -> float:
        """By which states are told."""
        return self._wall_clock()

    async def create(
        self,
        by: Party,
        *,
        roles: Iterable[RoleName],
        nodes: Iterable[str] = (),
        reason: str,
        window: float | None = None,
    ) -> AccessRequest:
        """
        Ask for roles, as the user that ``by`` is.

        :raises BadRequestText: or InvalidName.
        :raises RequestRefused: the user may not ask for one of the roles, or has it.
        :raises NoSuchRole: they may ask for it, and there is none.
        :raises TooManyRequests:
        """
        if by.user is None:
            raise BadRequestText("a request is made by a user: the admin socket is nobody's")
        request = AccessRequest.create(
            new_request_id(),
            by.user,
            roles=roles,
            nodes=nodes,
            reason=reason,
            window=window,
            longest=self._longest,
            now=self._wall_clock(),
        )
        rights = await self._may_still_request(request)
        held = {role.name for role in rights.roles}
        if already := held.intersection(request.roles):
            raise RequestRefused(f"you have the role {min(already)} already")
        for _ in range(_TRIES):
            try:
                await self._requests.add(request, event=self._event(request, by.actor))
                break
            except RequestExists:
                request = evolve(request, id=new_request_id())
        else:
            raise RequestExists(request.id)
        self._tell(request)
        return request

    async def get(self, by: Party, request_id: str) -> AccessRequest:
        """
        A request of the caller's own, or one that they may review or see.

        :raises NoSuchRequest:
        """
        request = await self._requests.get(request_id)
        if request is None or not await self._is_visible(by, request):
            raise NoSuchRequest(request_id)
        return request

    async def list(
        self, by: Party, query: RequestQuery, size: int
    ) -> tuple[list[AccessRequest], tuple[float, str] | None]:
        """
        So many at most of those that the caller may see, and where to go on.

        A page may have fewer, or none, although there are more.
        """
        rights = None if by.user is None else await self._rights.of(by.user)
        now = self._wall_clock()
        found: list[AccessRequest] = []
        for _ in range(_CHUNKS):
            chunk = await self._requests.list(query, _CHUNK)
            for request in chunk:
                query = evolve(query, before=(request.created, request.id))
                is_wanted = not query.states or request.state_at(now) in query.states
                if is_wanted and _sees(by, rights, request):
                    found.append(request)
                    if len(found) == size:
                        return found, query.before
            if len(chunk) < _CHUNK:
                return found, None
        return found, query.before

    async def review(
        self, by: Party, request_id: str, step: Step, reason: str = ""
    ) -> AccessRequest:
        """
        Approve, deny or revoke, as somebody who may, and never one's own.

        :raises NoSuchRequest: or none that the caller may see.
        :raises ReviewRefused:
        :raises RequestRefused: the requester may not ask for this (any more).
        :raises NotPossible: somebody else was faster, or time was.
        """
        request = await self.get(by, request_id)
        if by.user is not None:
            if by.user == request.user:
                raise ReviewRefused("nobody decides about their own request")
            rights = await self._rights.of(by.user)
            if rights is None or not may_review(rights, request):
                names = ", ".join(map(str, request.roles))
                raise ReviewRefused(f"you may not decide about requests of {names}")
        if step is Step.APPROVE:
            await self._may_still_request(request)
        return await self._step(request, step, by.actor, reason)

    async def withdraw(self, by: Party, request_id: str) -> AccessRequest:
        """
        Take back one's own request, or give back what it gave.

        :raises NoSuchRequest: or it is somebody else's.
        :raises NotPossible:
        """
        request = await self.get(by, request_id)
        if request.user != by.user:
            raise NoSuchRequest(request_id)
        step = Step.REVOKE if request.state is State.APPROVED else Step.CANCEL
        return await self._step(request, step, by.actor, "")

    async def end_all(self, user: UserName, by: Actor, reason: str) -> None:
        """End whatever of this user's waits or is approved: they are no user any more."""
        query = RequestQuery(user=user, states=_LIVE)
        for request in await self._requests.list(query, _CHUNK):
            step = Step.REVOKE if request.state is State.APPROVED else Step.CANCEL
            await self._try_step(request, step, by, reason)

    async def sweep(self) -> None:
        """Write down what has ended by itself."""
        for request in await self._requests.due(self._wall_clock(), _SWEPT):
            await self._try_step(request, Step.EXPIRE, HUB, "")

    async def _is_visible(self, by: Party, request: AccessRequest) -> bool:
        rights = None if by.user is None else await self._rights.of(by.user)
        return _sees(by, rights, request)

    async def _may_still_request(self, request: AccessRequest) -> UserRights:
        rights = await self._rights.of(request.user)
        if rights is None:
            raise NoSuchUser(request.user)
        for role in request.roles:
            if not may_request(rights, role):
                raise RequestRefused(f"{request.user} may not request the role {role}")
        written = [role for role in request.roles if role not in BUILT_IN]
        found = await self._roles.named(written) if written else {}
        for role in written:
            if role not in found:
                raise NoSuchRole(role)
        return rights

    async def _step(
        self, request: AccessRequest, step: Step, by: Actor, reason: str
    ) -> AccessRequest:
        now, longest = self._wall_clock(), self._longest
        kept = check_reason(reason)

        def change(found: AccessRequest) -> AccessRequest:
            return found.step(step, now=now, by=by.name, reason=kept, longest=longest)

        # Made beforehand, so that it can be kept with the change; it is not, if that is refused.
        event = self._trail.event(
            _EVENTS[_STATE_AFTER[step]], by, target=request.id, **_details(request, kept)
        )
        changed = await self._requests.change(request.id, change, event=event)
        self._tell(changed)
        return changed

    async def _try_step(self, request: AccessRequest, step: Step, by: Actor, reason: str) -> None:
        try:
            await self._step(request, step, by, reason)
        except (NotPossible, NoSuchRequest):
            # Somebody else was faster, such as another hub.
            pass

    def _event(self, request: AccessRequest, by: Actor) -> AuditEvent:
        return self._trail.event(
            _EVENTS[request.state], by, target=request.id, **_details(request, request.reason)
        )

    def _tell(self, request: AccessRequest) -> None:
        change = request.changes[-1]
        self._log.info(
            "access request {request} of {user} is {state}, by {by}",
            request=request.id,
            user=request.user,
            state=change.state.value,
            by=change.by,
        )
        for watcher in self._watchers:
            try:
                watcher.request_changed(request)
            except Exception:
                # It is in the store: whoever fails to hear of it cannot undo it.
                self._log.failure("a change of an access request was not heard")


def _sees(by: Party, rights: UserRights | None, request: AccessRequest) -> bool:
    if by.sees_all or by.user == request.user:
        return True
    return rights is not None and may_review(rights, request)


def _details(request: AccessRequest, reason: str) -> dict[str, Any]:
    return {
        "user": request.user.text,
        "roles": tuple(role.text for role in request.roles),
        "nodes": request.nodes,
        "window": int(request.window),
        "reason": reason,
    }
