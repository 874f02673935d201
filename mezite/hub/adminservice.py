"""
The auth service as administrators and auditors call it.

What everybody else calls is :mod:`mezite.hub.authservice`, what is about roles
:mod:`mezite.hub.roleservice`, and about nodes :mod:`mezite.hub.nodeservice`; who
may call is decided in :mod:`mezite.hub.callers`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen
from google.protobuf.message import Message

from mezite import __version__
from mezite.auth.inviting import InviteService, check_lifetime
from mezite.auth.login import LoginService
from mezite.auth.requesting import RequestService
from mezite.hub.auditcopying import CopyStatus
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.nodes import NodeDirectory
from mezite.hub.paging import page
from mezite.hub.proofservice import invite_message, ttl_of
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.usermessages import read_traits, user_message
from mezite.hub.web.site import HubFacts
from mezite.hub.workers.control import WorkerStatus
from mezite.identity.roles import LabelSelector
from mezite.names import LoginName, RoleName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.interfaces import IStore


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
    requests: RequestService
    invites: InviteService
    directory: NodeDirectory
    registry: TunnelRegistry
    workers: Callable[[], Sequence[WorkerStatus]]
    expiries: Callable[[], Expiries]
    copies: Callable[[], Awaitable[Sequence[CopyStatus]]]
    started: float
    wall_clock: Callable[[], float]

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateUser": self.create_user,
            "ListUsers": self.list_users,
            "DeleteUser": self.delete_user,
            "GetStatus": self.get_status,
        }

    async def create_user(
        self, who: Subject, _call: Call, request: pb.CreateUserRequest
    ) -> Message:
        """Add a user, and invite them unless they have a password."""
        ttl = ttl_of(request.invite_ttl_seconds)
        check_lifetime(ttl)
        created = await self.logins.create_user(
            UserName.parse(request.name),
            logins=[LoginName.parse(login) for login in request.logins],
            node_labels=LabelSelector.parse(request.node_labels),
            is_admin=request.is_admin,
            password=request.password or None,
            one_time_password=request.one_time_password,
            roles=[RoleName.parse(role) for role in request.roles],
            traits=read_traits(request.traits),
            by=who.actor,
        )
        invite = None
        if not created.record.password_hash:
            made = await self.invites.invite(created.record.name, ttl=ttl, by=who.actor)
            invite = invite_message(self.facts, made)
        return pb.CreateUserResponse(
            user=user_message(created.record),
            one_time_password=created.one_time_password or "",
            invite=invite,
        )

    async def list_users(self, _who: Subject, _call: Call, request: pb.ListUsersRequest) -> Message:
        records = await self.store.users.list()
        users, next_token = page(
            sorted(records, key=lambda record: str(record.name)),
            lambda record: str(record.name),
            request.page_size,
            request.page_token,
        )
        enrolled = await self.store.second_factors.enrolled()
        shown = [
            user_message(record, has_second_factor=record.name in enrolled) for record in users
        ]
        return pb.ListUsersResponse(users=shown, next_page_token=next_token)

    async def delete_user(
        self, who: Subject, _call: Call, request: pb.DeleteUserRequest
    ) -> Message:
        name = UserName.parse(request.name)
        # The store forgets them with their user; who is told of changes hears that they end.
        await self.requests.end_all(name, who.actor, "the user was removed")
        await self.logins.remove_user(name, by=who.actor)
        return pb.DeleteUserResponse()

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
            audit_copies=[
                pb.AuditCopy(
                    name=copy.name,
                    target=copy.where,
                    last_seq=copy.copied,
                    behind=copy.behind,
                    error=copy.error,
                )
                for copy in await self.copies()
            ],
            workers=[
                pb.HubWorker(
                    number=worker.number,
                    pid=worker.pid or 0,
                    tunnels=worker.tunnels,
                    streams=worker.streams,
                    connections=worker.connections,
                )
                for worker in self.workers()
            ],
        )
