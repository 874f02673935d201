"""
The auth service as administrators and auditors call it.

What everybody else calls is :mod:`mezite.hub.authservice`, what is about roles
:mod:`mezite.hub.roleservice`; who may call is decided in
:mod:`mezite.hub.callers`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from attrs import frozen
from google.protobuf.message import Message

from mezite import __version__
from mezite.auth.joining import TOKEN_LIFETIME, JoinService
from mezite.auth.login import LoginService
from mezite.hub.authservice import Handler, page
from mezite.hub.callers import Subject
from mezite.hub.nodes import NodeDirectory
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.usermessages import read_traits, user_message
from mezite.hub.web.site import HubFacts
from mezite.identity.roles import LabelSelector
from mezite.names import LoginName, RoleName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.interfaces import IStore
from mezite.store.records import JoinTokenRecord


@frozen
class Expiries:
    """When the hub's certificate and its cluster's authority end, in POSIX seconds."""

    certificate: float
    authority: float


@frozen
class AdminService:
    """The methods of administrators."""

    facts: HubFacts
    store: IStore
    logins: LoginService
    joining: JoinService
    directory: NodeDirectory
    registry: TunnelRegistry
    expiries: Callable[[], Expiries]
    started: float
    wall_clock: Callable[[], float]

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "DeleteNode": self.delete_node,
            "CreateUser": self.create_user,
            "ListUsers": self.list_users,
            "DeleteUser": self.delete_user,
            "CreateToken": self.create_token,
            "ListTokens": self.list_tokens,
            "DeleteToken": self.delete_token,
            "GetStatus": self.get_status,
        }

    async def delete_node(
        self, who: Subject, _call: Call, request: pb.DeleteNodeRequest
    ) -> Message:
        """Forget a node and close its tunnel, so that it must join again."""
        record = await self.directory.find(request.node)
        await self.joining.remove_node(record, by=who.actor)
        tunnel = self.registry.find(record.agent_id)
        if tunnel is not None:
            tunnel.close()
        return pb.DeleteNodeResponse()

    async def create_user(
        self, who: Subject, _call: Call, request: pb.CreateUserRequest
    ) -> Message:
        created = await self.logins.create_user(
            UserName.parse(request.name),
            logins=[LoginName.parse(login) for login in request.logins],
            node_labels=LabelSelector.parse(request.node_labels),
            is_admin=request.is_admin,
            password=request.password or None,
            roles=[RoleName.parse(role) for role in request.roles],
            traits=read_traits(request.traits),
            by=who.actor,
        )
        return pb.CreateUserResponse(
            user=user_message(created.record),
            one_time_password=created.one_time_password or "",
        )

    async def list_users(self, _who: Subject, _call: Call, request: pb.ListUsersRequest) -> Message:
        records = await self.store.users.list()
        users, next_token = page(
            sorted(records, key=lambda record: str(record.name)),
            lambda record: str(record.name),
            request.page_size,
            request.page_token,
        )
        return pb.ListUsersResponse(
            users=[user_message(record) for record in users], next_page_token=next_token
        )

    async def delete_user(
        self, who: Subject, _call: Call, request: pb.DeleteUserRequest
    ) -> Message:
        await self.logins.remove_user(UserName.parse(request.name), by=who.actor)
        return pb.DeleteUserResponse()

    async def create_token(
        self, who: Subject, _call: Call, request: pb.CreateTokenRequest
    ) -> Message:
        record, secret = await self.joining.create_token(
            ttl=float(request.ttl_seconds) or TOKEN_LIFETIME,
            uses=request.uses or 1,
            by=who.actor,
        )
        command = shlex.join(
            [
                "twist",
                "mezd",
                f"--hub={self.facts.public_address}",
                f"--token={secret}",
                f"--ca-pin={self.facts.ca_pin}",
            ]
        )
        return pb.CreateTokenResponse(
            token_id=record.token_id,
            token=secret,
            expires=int(record.expires),
            uses=record.uses_left,
            ca_pin=self.facts.ca_pin,
            hub_address=self.facts.public_address,
            join_command=command,
        )

    async def list_tokens(
        self, _who: Subject, _call: Call, request: pb.ListTokensRequest
    ) -> Message:
        now = self.wall_clock()
        records = [record for record in await self.store.join_tokens.list() if record.expires > now]
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
        await self.joining.remove_token(request.token_id, by=who.actor)
        return pb.DeleteTokenResponse()

    async def get_status(
        self, _who: Subject, _call: Call, _request: pb.GetStatusRequest
    ) -> Message:
        statuses = await self.directory.listing()
        users = await self.store.users.list()
        expiries = self.expiries()
        return pb.GetStatusResponse(
            cluster_name=self.facts.cluster_name,
            hub_name=self.facts.hub_name,
            public_address=self.facts.public_address,
            version=__version__,
            started=int(self.started),
            server_time=int(self.wall_clock()),
            ca_pin=self.facts.ca_pin,
            certificate_expires=int(expiries.certificate),
            authority_expires=int(expiries.authority),
            nodes_online=sum(status.is_online for status in statuses),
            nodes_known=len(statuses),
            users=len(users),
            tunnels=len(self.registry),
            streams=sum(tunnel.mux.stream_count for tunnel in self.registry),
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
    )
