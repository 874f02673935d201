"""
The auth service's methods about access requests.

What may be asked and decided is :mod:`mezite.auth.requesting`'s; this translates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.requesting import Party, RequestService
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.paging import length_of, read_token, token_of
from mezite.identity.requests import AccessRequest, State, Step
from mezite.names import RoleName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.requests import RequestQuery

_STATES: Final[Mapping[State, pb.AccessRequestState.ValueType]] = {
    State.PENDING: pb.ACCESS_REQUEST_STATE_PENDING,
    State.APPROVED: pb.ACCESS_REQUEST_STATE_APPROVED,
    State.DENIED: pb.ACCESS_REQUEST_STATE_DENIED,
    State.CANCELLED: pb.ACCESS_REQUEST_STATE_CANCELLED,
    State.EXPIRED: pb.ACCESS_REQUEST_STATE_EXPIRED,
    State.REVOKED: pb.ACCESS_REQUEST_STATE_REVOKED,
}
_STATE_OF: Final = {message: state for state, message in _STATES.items()}
_STEPS: Final[Mapping[int, Step]] = {
    pb.ACCESS_REQUEST_DECISION_APPROVE: Step.APPROVE,
    pb.ACCESS_REQUEST_DECISION_DENY: Step.DENY,
    pb.ACCESS_REQUEST_DECISION_REVOKE: Step.REVOKE,
}
_ID_LENGTH: Final = 64


@frozen
class RequestMethods:
    """The methods, by what they are called."""

    requests: RequestService

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateAccessRequest": self.create,
            "ListAccessRequests": self.list,
            "GetAccessRequest": self.get,
            "ReviewAccessRequest": self.review,
            "CancelAccessRequest": self.cancel,
        }

    async def create(
        self, who: Subject, _call: Call, request: pb.CreateAccessRequestRequest
    ) -> Message:
        made = await self.requests.create(
            _party(who),
            roles=[RoleName.parse(role) for role in request.roles],
            nodes=request.nodes,
            reason=request.reason,
            window=float(request.window_seconds) if request.window_seconds else None,
        )
        return pb.CreateAccessRequestResponse(request=self._message(made))

    async def list(
        self, who: Subject, _call: Call, request: pb.ListAccessRequestsRequest
    ) -> Message:
        size = length_of(request.page_size)
        query = RequestQuery(
            user=UserName.parse(request.user) if request.user else None,
            states=_read_states(request.states),
            before=read_token(request.page_token),
        )
        found, rest = await self.requests.list(_party(who), query, size)
        return pb.ListAccessRequestsResponse(
            requests=[self._message(each) for each in found],
            next_page_token="" if rest is None else token_of(*rest),
        )

    async def get(self, who: Subject, _call: Call, request: pb.GetAccessRequestRequest) -> Message:
        found = await self.requests.get(_party(who), request.id[:_ID_LENGTH])
        return pb.GetAccessRequestResponse(request=self._message(found))

    async def review(
        self, who: Subject, _call: Call, request: pb.ReviewAccessRequestRequest
    ) -> Message:
        step = _STEPS.get(request.decision)
        if step is None:
            raise BadInput("the decision is missing, or is one that this hub does not know")
        decided = await self.requests.review(
            _party(who), request.id[:_ID_LENGTH], step, request.reason
        )
        return pb.ReviewAccessRequestResponse(request=self._message(decided))

    async def cancel(
        self, who: Subject, _call: Call, request: pb.CancelAccessRequestRequest
    ) -> Message:
        ended = await self.requests.withdraw(_party(who), request.id[:_ID_LENGTH])
        return pb.CancelAccessRequestResponse(request=self._message(ended))

    def _message(self, request: AccessRequest) -> pb.AccessRequest:
        return request_message(request, self.requests.now())


def request_message(request: AccessRequest, now: float) -> pb.AccessRequest:
    """A request as it is now."""
    return pb.AccessRequest(
        id=request.id,
        user=str(request.user),
        roles=[str(role) for role in request.roles],
        nodes=request.nodes,
        reason=request.reason,
        state=_STATES[request.state_at(now)],
        created=int(request.created),
        expires=int(request.expires),
        window_seconds=int(request.window),
        changes=[
            pb.AccessRequestChange(
                state=_STATES[change.state],
                time=int(change.time),
                by=change.by,
                reason=change.reason,
            )
            for change in request.changes
        ],
    )


def _party(who: Subject) -> Party:
    return Party(who.actor, None if who.user is None else who.user.name, sees_all=who.is_auditor)


def _read_states(states: Iterable[pb.AccessRequestState.ValueType]) -> frozenset[State]:
    read = set()
    for state in states:
        if state not in _STATE_OF:
            raise BadInput("states names one that this hub does not know")
        read.add(_STATE_OF[state])
    return frozenset(read)
