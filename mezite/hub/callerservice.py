"""
The auth service's methods about whoever calls: who they are, and how they leave.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.login import LoginService
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject, bearer_of
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call


@frozen
class CallerMethods:
    """The methods, by what they are called."""

    logins: LoginService

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {"WhoAmI": self.who_am_i, "Logout": self.logout}

    async def who_am_i(self, who: Subject, _call: Call, _request: pb.WhoAmIRequest) -> Message:
        user = who.user
        return pb.WhoAmIResponse(
            name=who.name,
            is_admin=who.is_admin,
            is_auditor=who.is_auditor,
            roles=[] if user is None else [str(role) for role in user.roles],
            logins=[] if user is None else [str(login) for login in user.logins],
        )

    async def logout(self, who: Subject, call: Call, _request: pb.LogoutRequest) -> Message:
        bearer = bearer_of(call.metadata)
        if bearer is None:
            raise BadInput("a certificate is not logged out: it ends by itself")
        await self.logins.log_out(bearer, by=who.actor)
        return pb.LogoutResponse()
