"""
The auth service as mezctl sees it, over lists in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from google.protobuf.message import Message
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from mezite.auth.verification import Verification
from mezite.config.roles import parse_role_text
from mezite.error import AlreadyExists, BadInput, NotFound
from mezite.hub.auditservice import AuditMethods
from mezite.hub.callers import Subject
from mezite.rpc.calls import Call
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.memory import MemoryStore

PIN: Final = "sha256:" + "0123456789abcdef" * 4
HUB: Final = "hub.example.com:3080"
NOW: Final = 1_750_000_000
AGENT_ID: Final = "8a4c6f0e-29c5-4d3b-9d0c-3a1f0f5a7b11"


@define(eq=False)
class AdminDouble:
    """Keeps what it is told, and refuses what is there or is not."""

    users: dict[str, pb.User] = field(factory=dict)
    passwords: dict[str, str] = field(factory=dict)
    tokens: dict[str, pb.Token] = field(factory=dict)
    nodes: dict[str, pb.Node] = field(factory=dict)
    invited: list[tuple[str, int]] = field(factory=list)
    roles: dict[str, pb.Role] = field(factory=dict)
    locks: dict[str, pb.Lock] = field(factory=dict)
    sessions: dict[str, pb.Session] = field(factory=dict)
    recordings: dict[str, pb.Recording] = field(factory=dict)
    recordings_asked: list[pb.ListRecordingsRequest] = field(factory=list)
    api_tokens: dict[str, pb.ApiToken] = field(factory=dict)
    explained: list[pb.ExplainAccessRequest] = field(factory=list)
    explanation: pb.ExplainAccessResponse = field(factory=pb.ExplainAccessResponse)
    store: MemoryStore = field(factory=MemoryStore)
    audit: AuditMethods = field(init=False)

    authorities: list[pb.Authority] = field(factory=list)
    rotations: list[pb.RotateAuthorityRequest] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        def at_once(work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return maybeDeferred(work, *arguments)

        audit = self.store.audit
        self.audit = AuditMethods(audit, Verification(audit, Clock(), at_once))

    async def create_lock(self, call: Call, request: pb.CreateLockRequest) -> Message:
        lock = pb.Lock(
            lock_id=f"lock{len(self.locks)}",
            target=request.target,
            message=request.message,
            created_by="local",
            created=NOW,
            expires=NOW + request.ttl_seconds if request.ttl_seconds else 0,
        )
        self.locks[lock.lock_id] = lock
        return pb.CreateLockResponse(lock=lock)

    async def list_locks(self, call: Call, request: pb.ListLocksRequest) -> Message:
        return pb.ListLocksResponse(locks=self.locks.values())

    async def delete_lock(self, call: Call, request: pb.DeleteLockRequest) -> Message:
        if self.locks.pop(request.lock_id, None) is None:
            raise NotFound(f"there is no lock {request.lock_id!r}")
        return pb.DeleteLockResponse()

    async def list_sessions(self, call: Call, request: pb.ListSessionsRequest) -> Message:
        return pb.ListSessionsResponse(sessions=self.sessions.values())

    async def end_session(self, call: Call, request: pb.EndSessionRequest) -> Message:
        if self.sessions.pop(request.session_id, None) is None:
            raise NotFound(f"there is no live session {request.session_id!r}")
        return pb.EndSessionResponse()

    async def list_recordings(self, call: Call, request: pb.ListRecordingsRequest) -> Message:
        self.recordings_asked.append(request)
        return pb.ListRecordingsResponse(recordings=self.recordings.values())

    async def hold_recording(self, call: Call, request: pb.HoldRecordingRequest) -> Message:
        self.recordings[request.id].held_reason = request.reason
        return pb.HoldRecordingResponse(recording=self.recordings[request.id])

    async def release_recording(self, call: Call, request: pb.ReleaseRecordingRequest) -> Message:
        self.recordings[request.id].held_reason = ""
        return pb.ReleaseRecordingResponse(recording=self.recordings[request.id])

    async def delete_recording(self, call: Call, request: pb.DeleteRecordingRequest) -> Message:
        if self.recordings.pop(request.id, None) is None:
            raise NotFound(f"there is no recording {request.id!r}")
        return pb.DeleteRecordingResponse()

    async def list_audit_events(self, call: Call, request: pb.ListAuditEventsRequest) -> Message:
        return await self.audit.list_audit_events(Subject(), call, request)

    async def verify_audit(self, call: Call, request: pb.VerifyAuditRequest) -> Message:
        return await self.audit.verify_audit(Subject(), call, request)

    async def get_status(self, call: Call, request: pb.GetStatusRequest) -> pb.GetStatusResponse:
        return pb.GetStatusResponse(
            cluster_name="example.com",
            hub_name="hub.example.com",
            public_address=HUB,
            version="0.1.0",
            started=NOW - 3600,
            server_time=NOW,
            ca_pin=PIN,
            certificate_expires=NOW + 86400,
            authority_expires=NOW + 10 * 86400,
            nodes_known=len(self.nodes),
            users=len(self.users),
            workers=[
                pb.HubWorker(number=1, pid=4711, tunnels=3, streams=5, connections=8),
                pb.HubWorker(number=2),
            ],
        )

    async def create_user(self, call: Call, request: pb.CreateUserRequest) -> pb.CreateUserResponse:
        if request.name in self.users:
            raise AlreadyExists(f"there is a user {request.name} already")
        self.users[request.name] = pb.User(
            name=request.name,
            logins=request.logins,
            node_labels=request.node_labels,
            is_admin=request.is_admin,
            must_change_password=request.one_time_password,
            has_password=bool(request.password) or request.one_time_password,
            created=NOW,
            roles=request.roles,
            traits=request.traits,
        )
        self.passwords[request.name] = request.password
        return pb.CreateUserResponse(
            user=self.users[request.name],
            one_time_password="abcd-efgh" if request.one_time_password else "",
            invite=None
            if request.password or request.one_time_password
            else self._invite(request.name, request.invite_ttl_seconds),
        )

    def _invite(self, user: str, ttl: int) -> pb.Invite:
        self.invited.append((user, ttl))
        return pb.Invite(
            user=user,
            token="mzi_secret",
            url=f"https://{HUB}/web/invite/mzi_secret",
            expires=NOW + ttl,
            login_command=f"msh login --proxy={HUB} --user={user} --invite=mzi_secret",
        )

    def _user(self, name: str) -> pb.User:
        if name not in self.users:
            raise NotFound(f"there is no user {name}")
        return self.users[name]

    async def create_invite(
        self, call: Call, request: pb.CreateInviteRequest
    ) -> pb.CreateInviteResponse:
        self._user(request.user)
        return pb.CreateInviteResponse(invite=self._invite(request.user, request.ttl_seconds))

    async def reset_user(self, call: Call, request: pb.ResetUserRequest) -> pb.ResetUserResponse:
        self._user(request.user).has_password = False
        return pb.ResetUserResponse(invite=self._invite(request.user, request.ttl_seconds))

    async def reset_second_factors(
        self, call: Call, request: pb.ResetSecondFactorsRequest
    ) -> pb.ResetSecondFactorsResponse:
        self._user(request.user).has_second_factor = False
        return pb.ResetSecondFactorsResponse()

    async def list_users(self, call: Call, request: pb.ListUsersRequest) -> pb.ListUsersResponse:
        return pb.ListUsersResponse(users=self.users.values())

    async def delete_user(self, call: Call, request: pb.DeleteUserRequest) -> pb.DeleteUserResponse:
        if self.users.pop(request.name, None) is None:
            raise NotFound(f"there is no user {request.name}")
        return pb.DeleteUserResponse()

    async def update_user(self, call: Call, request: pb.UpdateUserRequest) -> pb.UpdateUserResponse:
        user = self.users.get(request.user.name)
        if user is None:
            raise NotFound(f"there is no user {request.user.name}")
        for name in request.update_mask.paths:
            user.ClearField(name)
        request.update_mask.MergeMessage(request.user, user)
        return pb.UpdateUserResponse(user=user)

    async def create_role(self, call: Call, request: pb.CreateRoleRequest) -> pb.CreateRoleResponse:
        name = parse_role_text(request.document).name.text
        if name in self.roles and not request.replace:
            raise AlreadyExists(f"there is a role {name} already: --force replaces it")
        self.roles[name] = pb.Role(
            name=name, description="what it is", document=request.document, created=NOW, changed=NOW
        )
        return pb.CreateRoleResponse(role=self.roles[name])

    async def get_role(self, call: Call, request: pb.GetRoleRequest) -> pb.GetRoleResponse:
        if request.name not in self.roles:
            raise NotFound(f"there is no role {request.name}")
        return pb.GetRoleResponse(role=self.roles[request.name])

    async def list_roles(self, call: Call, request: pb.ListRolesRequest) -> pb.ListRolesResponse:
        built_in = pb.Role(name="access", description="every node", built_in=True)
        return pb.ListRolesResponse(roles=[built_in, *self.roles.values()])

    async def delete_role(self, call: Call, request: pb.DeleteRoleRequest) -> pb.DeleteRoleResponse:
        if self.roles.pop(request.name, None) is None:
            raise NotFound(f"there is no role {request.name}")
        return pb.DeleteRoleResponse()

    async def explain_access(
        self, call: Call, request: pb.ExplainAccessRequest
    ) -> pb.ExplainAccessResponse:
        self.explained.append(request)
        return self.explanation

    async def get_authorities(
        self, call: Call, request: pb.GetAuthoritiesRequest
    ) -> pb.GetAuthoritiesResponse:
        return pb.GetAuthoritiesResponse(authorities=self.authorities, generation=7)

    async def rotate_authority(
        self, call: Call, request: pb.RotateAuthorityRequest
    ) -> pb.RotateAuthorityResponse:
        self.rotations.append(request)
        return pb.RotateAuthorityResponse(authorities=self.authorities)

    async def rollback_authority(
        self, call: Call, request: pb.RollbackAuthorityRequest
    ) -> pb.RollbackAuthorityResponse:
        raise BadInput(f"{request.types[0]}: no rotation is under way")

    async def create_token(
        self, call: Call, request: pb.CreateTokenRequest
    ) -> pb.CreateTokenResponse:
        expires = NOW + request.ttl_seconds
        self.tokens["t1"] = pb.Token(
            token_id="t1",
            created_by="local",
            created=NOW,
            expires=expires,
            uses_left=request.uses,
            max_uses=request.uses,
            labels=request.labels,
            hostnames=request.hostnames,
            description=request.description,
        )
        return pb.CreateTokenResponse(
            token_id="t1",
            token="mzt_secret",
            expires=expires,
            uses=request.uses,
            ca_pin=PIN,
            hub_address=HUB,
            join_command=f"twist mezd --hub={HUB} --token=mzt_secret --ca-pin={PIN}",
        )

    async def list_tokens(self, call: Call, request: pb.ListTokensRequest) -> pb.ListTokensResponse:
        return pb.ListTokensResponse(tokens=self.tokens.values())

    async def delete_token(
        self, call: Call, request: pb.DeleteTokenRequest
    ) -> pb.DeleteTokenResponse:
        if self.tokens.pop(request.token_id, None) is None:
            raise NotFound(f"there is no join token {request.token_id!r}")
        return pb.DeleteTokenResponse()

    async def create_api_token(
        self, call: Call, request: pb.CreateApiTokenRequest
    ) -> pb.CreateApiTokenResponse:
        self.api_tokens["a1"] = pb.ApiToken(
            token_id="a1",
            name=request.name,
            user=request.user,
            access=request.access,
            created_by="local",
            created=NOW,
            expires=NOW + request.ttl_seconds,
        )
        return pb.CreateApiTokenResponse(api_token=self.api_tokens["a1"], secret="mza_secret")

    async def list_api_tokens(
        self, call: Call, request: pb.ListApiTokensRequest
    ) -> pb.ListApiTokensResponse:
        return pb.ListApiTokensResponse(api_tokens=self.api_tokens.values())

    async def delete_api_token(
        self, call: Call, request: pb.DeleteApiTokenRequest
    ) -> pb.DeleteApiTokenResponse:
        if self.api_tokens.pop(request.token_id, None) is None:
            raise NotFound(f"there is no API token {request.token_id!r}")
        return pb.DeleteApiTokenResponse()

    async def list_nodes(self, call: Call, request: pb.ListNodesRequest) -> pb.ListNodesResponse:
        wanted = {tuple(label.split("=", 1)) for label in request.labels}
        return pb.ListNodesResponse(
            nodes=[node for node in self.nodes.values() if wanted <= set(node.labels.items())]
        )

    async def get_node(self, call: Call, request: pb.GetNodeRequest) -> pb.GetNodeResponse:
        if request.node not in self.nodes:
            raise NotFound(f"there is no node {request.node}")
        return pb.GetNodeResponse(node=self.nodes[request.node])

    async def allow_rejoin(
        self, call: Call, request: pb.AllowRejoinRequest
    ) -> pb.AllowRejoinResponse:
        node = self.nodes.get(request.node)
        if node is None:
            raise NotFound(f"there is no node {request.node}")
        return pb.AllowRejoinResponse(
            agent_id=node.agent_id,
            hostname=node.hostname,
            token_id="t1",
            token="mzt_secret",
            expires=NOW + request.ttl_seconds,
            ca_pin=PIN,
            hub_address=HUB,
            join_command=f"twist mezd --hub={HUB} --token=mzt_secret --hostname={node.hostname}",
        )

    async def create_open_ssh_node(
        self, call: Call, request: pb.CreateOpenSshNodeRequest
    ) -> pb.CreateOpenSshNodeResponse:
        made = pb.Node(
            hostname=request.hostname,
            agent_id=AGENT_ID,
            status=pb.NODE_STATUS_AGENTLESS,
            labels=request.labels,
            kind="openssh",
            address=request.address,
            host_keys=request.host_keys,
            host_authorities=request.host_authorities,
        )
        self.nodes[request.hostname] = made
        return pb.CreateOpenSshNodeResponse(node=made)

    async def get_open_ssh_setup(
        self, call: Call, request: pb.GetOpenSshSetupRequest
    ) -> pb.GetOpenSshSetupResponse:
        return pb.GetOpenSshSetupResponse(user_ca_lines=["ssh-ed25519 AAAA one"])

    async def delete_node(self, call: Call, request: pb.DeleteNodeRequest) -> pb.DeleteNodeResponse:
        if self.nodes.pop(request.node, None) is None:
            raise NotFound(f"there is no node {request.node}")
        return pb.DeleteNodeResponse()


def node(hostname: str, **labels: str) -> pb.Node:
    """A node that is online."""
    return pb.Node(
        hostname=hostname,
        agent_id=AGENT_ID,
        status=pb.NODE_STATUS_ONLINE,
        labels=labels,
        last_seen=NOW,
        version="0.1.0",
        joined=NOW - 60,
        online_since=NOW - 55,
    )
