"""
The auth service's methods about join tokens, and about single nodes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.error import BadRequest, NodeOnline
from mezite.auth.joining import JoinService
from mezite.auth.jointokens import TOKEN_LIFETIME, TokenService
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.nodemessages import node_message
from mezite.hub.nodes import NodeDirectory
from mezite.hub.paging import page
from mezite.hub.web.site import HubFacts
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.interfaces import IJoinTokens
from mezite.store.records import JoinTokenRecord


@frozen
class NodeMethods:
    """The methods, by what they are called."""

    facts: HubFacts
    join_tokens: IJoinTokens
    tokens: TokenService
    joining: JoinService
    directory: NodeDirectory
    wall_clock: Callable[[], float]

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateToken": self.create_token,
            "ListTokens": self.list_tokens,
            "DeleteToken": self.delete_token,
            "GetNode": self.get_node,
            "AllowRejoin": self.allow_rejoin,
            "DeleteNode": self.delete_node,
        }

    async def create_token(
        self, who: Subject, _call: Call, request: pb.CreateTokenRequest
    ) -> Message:
        record, secret = await self.tokens.create(
            ttl=float(request.ttl_seconds) or TOKEN_LIFETIME,
            uses=request.uses or 1,
            labels=request.labels,
            hostnames=request.hostnames,
            description=request.description,
            by=who.actor,
        )
        return pb.CreateTokenResponse(
            token_id=record.token_id,
            token=secret,
            expires=int(record.expires),
            uses=record.uses_left,
            ca_pin=self.facts.ca_pin,
            hub_address=self.facts.public_address,
            join_command=self._command(secret),
        )

    async def list_tokens(
        self, _who: Subject, _call: Call, request: pb.ListTokensRequest
    ) -> Message:
        now = self.wall_clock()
        records = [record for record in await self.join_tokens.list() if record.expires > now]
        tokens, next_token = page(
            sorted(records, key=lambda record: record.token_id),
            lambda record: record.token_id,
            request.page_size,
            request.page_token,
        )
        return pb.ListTokensResponse(
            tokens=[token_message(record) for record in tokens], next_page_token=next_token
        )

    async def delete_token(
        self, who: Subject, _call: Call, request: pb.DeleteTokenRequest
    ) -> Message:
        await self.tokens.remove(request.token_id, by=who.actor)
        return pb.DeleteTokenResponse()

    async def get_node(self, _who: Subject, _call: Call, request: pb.GetNodeRequest) -> Message:
        status = await self.directory.find_status(request.node)
        return pb.GetNodeResponse(node=node_message(status, is_full=True))

    async def allow_rejoin(
        self, who: Subject, _call: Call, request: pb.AllowRejoinRequest
    ) -> Message:
        status = await self.directory.find_status(request.node)
        if status.is_online:
            raise NodeOnline(status.record.name)
        if not status.record.has_agent:
            raise BadRequest(f"{status.record.name} has no agent that could join")
        node = status.record
        record, secret = await self.tokens.allow_rejoin(
            node, ttl=float(request.ttl_seconds) or TOKEN_LIFETIME, by=who.actor
        )
        return pb.AllowRejoinResponse(
            agent_id=str(node.agent_id),
            hostname=str(node.name),
            token_id=record.token_id,
            token=secret,
            expires=int(record.expires),
            ca_pin=self.facts.ca_pin,
            hub_address=self.facts.public_address,
            join_command=self._command(secret, f"--hostname={node.name}"),
        )

    async def delete_node(
        self, who: Subject, _call: Call, request: pb.DeleteNodeRequest
    ) -> Message:
        """Forget a node and close its tunnel, so that it must join again."""
        record = await self.directory.find(request.node)
        await self.joining.remove_node(record, by=who.actor)
        self.directory.hang_up(record.agent_id)
        return pb.DeleteNodeResponse()

    def _command(self, secret: str, *more: str) -> str:
        """What to type on the node."""
        hub = f"--hub={self.facts.public_address}"
        return shlex.join(
            ["twist", "mezd", hub, f"--token={secret}", f"--ca-pin={self.facts.ca_pin}", *more]
        )


def token_message(record: JoinTokenRecord) -> pb.Token:
    """A token as lists show it: never its secret."""
    return pb.Token(
        token_id=record.token_id,
        created_by=record.created_by,
        created=int(record.created),
        expires=int(record.expires),
        uses_left=record.uses_left,
        max_uses=record.max_uses,
        labels=record.labels,
        hostnames=record.hostnames,
        description=record.description,
        rejoins="" if record.rejoins is None else str(record.rejoins),
    )
