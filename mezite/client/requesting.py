"""
Access requests as their requester sees them: made, and waited for.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.task import deferLater

from mezite.client.dialer import dial_auth
from mezite.client.profile import Profile
from mezite.error import Denied, Unavailable
from mezite.rpc.proto import auth_pb2 as pb

# A reviewer takes minutes; who waits for one does not feel these seconds.
POLL_SECONDS: Final = 3.0

STATES: Final = {
    pb.ACCESS_REQUEST_STATE_PENDING: "pending",
    pb.ACCESS_REQUEST_STATE_APPROVED: "approved",
    pb.ACCESS_REQUEST_STATE_DENIED: "denied",
    pb.ACCESS_REQUEST_STATE_CANCELLED: "cancelled",
    pb.ACCESS_REQUEST_STATE_EXPIRED: "expired",
    pb.ACCESS_REQUEST_STATE_REVOKED: "revoked",
}


class NotApproved(Denied):
    """A request came to an end without having been approved."""

    def __init__(self, request: pb.AccessRequest) -> None:
        last = request.changes[-1] if request.changes else pb.AccessRequestChange()
        state = STATES.get(request.state, "over")
        by = f" by {last.by}" if last.by and state != "expired" else ""
        why = f": {last.reason}" if last.reason and state != "expired" else ""
        super().__init__(f"the request {request.id} is {state}{by}{why}")


async def until_approved(reactor: Any, profile: Profile, request_id: str) -> pb.AccessRequest:
    """
    Wait for as long as the request is pending.

    A hub that is away for a while is asked again.

    :raises NotApproved:
    """
    while True:
        try:
            client = await dial_auth(reactor, profile)
            try:
                request = await client.get_access_request(request_id)
            finally:
                client.close()
        except Unavailable:
            pass
        else:
            if request.state == pb.ACCESS_REQUEST_STATE_APPROVED:
                return request
            if request.state != pb.ACCESS_REQUEST_STATE_PENDING:
                raise NotApproved(request)
        await deferLater(reactor, POLL_SECONDS)
