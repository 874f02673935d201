"""
The auth service's methods about API tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.apitokens import ApiTokenService
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.paging import page
from mezite.identity.tokens import ApiAccess
from mezite.names import UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.apitokens import ApiTokenRecord

_ACCESSES: Final[Mapping[pb.ApiAccess.ValueType, ApiAccess]] = {
    pb.API_ACCESS_UNSPECIFIED: ApiAccess.FULL,
    pb.API_ACCESS_FULL: ApiAccess.FULL,
    pb.API_ACCESS_READ_ONLY: ApiAccess.READ_ONLY,
    pb.API_ACCESS_CERTIFICATES: ApiAccess.CERTIFICATES,
}
_NUMBERS: Final = {access: number for number, access in _ACCESSES.items()}


@frozen
class ApiTokenMethods:
    """The methods, by what they are called."""

    tokens: ApiTokenService

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateApiToken": self.create_api_token,
            "ListApiTokens": self.list_api_tokens,
            "DeleteApiToken": self.delete_api_token,
        }

    async def create_api_token(
        self, who: Subject, _call: Call, request: pb.CreateApiTokenRequest
    ) -> Message:
        if request.access not in _ACCESSES:
            raise BadInput("this hub does not know that access")
        made = await self.tokens.create(
            UserName.parse(request.user),
            name=request.name,
            access=_ACCESSES[request.access],
            ttl=float(request.ttl_seconds) if request.ttl_seconds else None,
            by=who.actor,
        )
        return pb.CreateApiTokenResponse(
            api_token=api_token_message(made.record), secret=made.secret
        )

    async def list_api_tokens(
        self, _who: Subject, _call: Call, request: pb.ListApiTokensRequest
    ) -> Message:
        records, next_token = page(
            await self.tokens.list(),
            lambda record: record.token_id,
            request.page_size,
            request.page_token,
        )
        return pb.ListApiTokensResponse(
            api_tokens=[api_token_message(record) for record in records],
            next_page_token=next_token,
        )

    async def delete_api_token(
        self, who: Subject, _call: Call, request: pb.DeleteApiTokenRequest
    ) -> Message:
        await self.tokens.revoke(request.token_id, by=who.actor)
        return pb.DeleteApiTokenResponse()


def api_token_message(record: ApiTokenRecord) -> pb.ApiToken:
    """A token as lists show it: never its secret."""
    return pb.ApiToken(
        token_id=record.token_id,
        name=record.name,
        user=str(record.user),
        access=_NUMBERS[record.access],
        created_by=record.created_by,
        created=int(record.created),
        expires=int(record.expires),
        last_used=int(record.last_used or 0),
    )
