"""
The auth service as its callers see it: one coroutine for each of its methods.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from mezite.error import LimitReached
from mezite.rpc.channel import GrpcChannel as GrpcChannel
from mezite.rpc.channel import open_channel as open_channel
from mezite.rpc.proto import auth_pb2 as pb

M = TypeVar("M", bound=Message)
Item = TypeVar("Item")

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["AuthService"].full_name

# A page has about a hundred entries; ten thousand nodes are what a hub is made for.
_PAGES: Final = 1000


class AuthClient:
    """
    Calls ``mezite.v1.AuthService`` on a channel.

    ``bearer`` is the token of :meth:`authenticate_local`, sent with each call
    while it is set. All methods raise what :meth:`GrpcChannel.call` raises.
    """

    def __init__(
        self, channel: GrpcChannel, bearer: str | None = None, *, timeout: float = 10.0
    ) -> None:
        self.channel = channel
        self.bearer = bearer
        self.timeout = timeout

    def close(self) -> None:
        """End the channel."""
        self.channel.close()

    # Everybody.

    async def ping(self) -> pb.PingResponse:
        return await self._call(pb.PingRequest(), pb.PingResponse)

    async def authenticate_local(
        self, user: str, password: str, code: str = "", assertion: str = ""
    ) -> pb.AuthenticateLocalResponse:
        """The answer may be that a second factor is required, and then has no token."""
        request = pb.AuthenticateLocalRequest(
            user=user,
            password=password,
            second_factor_code=code,
            webauthn_assertion=assertion,
        )
        return await self._call(request, pb.AuthenticateLocalResponse)

    async def change_password(
        self, user: str, old_password: str, new_password: str, code: str = ""
    ) -> None:
        request = pb.ChangePasswordRequest(
            user=user,
            old_password=old_password,
            new_password=new_password,
            second_factor_code=code,
        )
        await self._call(request, pb.ChangePasswordResponse)

    async def get_invite(self, token: str) -> pb.GetInviteResponse:
        return await self._call(pb.GetInviteRequest(token=token), pb.GetInviteResponse)

    async def accept_invite(
        self, token: str, password: str, code: str = "", assertion: str = ""
    ) -> pb.AcceptInviteResponse:
        request = pb.AcceptInviteRequest(
            token=token,
            password=password,
            second_factor_code=code,
            webauthn_assertion=assertion,
        )
        return await self._call(request, pb.AcceptInviteResponse)

    # Users.

    async def issue_user_certs(
        self,
        *,
        ssh_public_key: str,
        tls_public_key: str,
        ttl_seconds: int = 0,
        request_ids: Iterable[str] = (),
    ) -> pb.IssueUserCertsResponse:
        request = pb.IssueUserCertsRequest(
            ssh_public_key=ssh_public_key,
            tls_public_key=tls_public_key,
            ttl_seconds=ttl_seconds,
            request_ids=request_ids,
        )
        return await self._call(request, pb.IssueUserCertsResponse)

    async def prove_again(
        self, password: str, code: str = "", assertion: str = ""
    ) -> pb.ProveAgainResponse:
        """As :meth:`authenticate_local`; the new token is the ``bearer`` from now on."""
        request = pb.ProveAgainRequest(
            password=password, second_factor_code=code, webauthn_assertion=assertion
        )
        answer = await self._call(request, pb.ProveAgainResponse)
        self.bearer = answer.token or self.bearer
        return answer

    async def who_am_i(self) -> pb.WhoAmIResponse:
        return await self._call(pb.WhoAmIRequest(), pb.WhoAmIResponse)

    async def logout(self) -> None:
        """End the bearer."""
        await self._call(pb.LogoutRequest(), pb.LogoutResponse)

    async def list_second_factors(self) -> pb.ListSecondFactorsResponse:
        return await self._call(pb.ListSecondFactorsRequest(), pb.ListSecondFactorsResponse)

    async def begin_totp(self) -> pb.TotpEnrolment:
        return (await self._call(pb.BeginTotpRequest(), pb.BeginTotpResponse)).totp

    async def confirm_totp(self, code: str) -> list[str]:
        """Enrol the app; recovery codes, if there were none."""
        request = pb.ConfirmTotpRequest(code=code)
        return list((await self._call(request, pb.ConfirmTotpResponse)).recovery_codes)

    async def remove_totp(self) -> None:
        await self._call(pb.RemoveTotpRequest(), pb.RemoveTotpResponse)

    async def create_recovery_codes(self) -> list[str]:
        request = pb.CreateRecoveryCodesRequest()
        return list((await self._call(request, pb.CreateRecoveryCodesResponse)).recovery_codes)

    async def begin_webauthn(self) -> str:
        """What a browser creates a key with, JSON."""
        answer = await self._call(pb.BeginWebauthnRequest(), pb.BeginWebauthnResponse)
        return answer.creation_options

    async def finish_webauthn(self, credential: str, name: str) -> pb.FinishWebauthnResponse:
        request = pb.FinishWebauthnRequest(credential=credential, name=name)
        return await self._call(request, pb.FinishWebauthnResponse)

    async def remove_webauthn(self, key_id: str) -> None:
        await self._call(pb.RemoveWebauthnRequest(id=key_id), pb.RemoveWebauthnResponse)

    async def list_nodes(self, labels: Iterable[str] = ()) -> list[pb.Node]:
        """All nodes with these ``key=value`` labels, from as many pages as there are."""
        wanted = list(labels)

        async def page(token: str) -> tuple[Iterable[pb.Node], str]:
            request = pb.ListNodesRequest(labels=wanted, page_token=token)
            answer = await self._call(request, pb.ListNodesResponse)
            return answer.nodes, answer.next_page_token

        return await _all_pages(page)

    # Agents.

    async def validate_join_token(self, token: str) -> bool:
        request = pb.ValidateJoinTokenRequest(token=token)
        return (await self._call(request, pb.ValidateJoinTokenResponse)).valid

    async def generate_host_certs(
        self,
        *,
        ssh_public_key: str,
        tls_public_key: str,
        token: str = "",
        hostname: str = "",
        labels: Mapping[str, str] | None = None,
        version: str = "",
    ) -> pb.GenerateHostCertsResponse:
        """Join with a token, or renew without one."""
        request = pb.GenerateHostCertsRequest(
            token=token,
            hostname=hostname,
            labels=labels or {},
            version=version,
            ssh_public_key=ssh_public_key,
            tls_public_key=tls_public_key,
        )
        return await self._call(request, pb.GenerateHostCertsResponse)

    async def register_agent(
        self,
        *,
        labels: Mapping[str, str],
        version: str,
        hostname: str = "",
        command_labels: Iterable[str] = (),
        facts: pb.NodeFacts | None = None,
        generation: int = 0,
    ) -> pb.RegisterAgentResponse:
        request = pb.RegisterAgentRequest(
            labels=labels,
            version=version,
            hostname=hostname,
            command_labels=command_labels,
            facts=facts,
            authorities_generation=generation,
        )
        return await self._call(request, pb.RegisterAgentResponse)

    async def agent_heartbeat(
        self,
        *,
        labels: Mapping[str, str],
        version: str,
        command_labels: Iterable[str] = (),
        facts: pb.NodeFacts | None = None,
        generation: int = 0,
    ) -> pb.AgentHeartbeatResponse:
        """``facts`` that have not changed since they were last told are left out."""
        request = pb.AgentHeartbeatRequest(
            labels=labels,
            version=version,
            command_labels=command_labels,
            facts=facts,
            authorities_generation=generation,
        )
        return await self._call(request, pb.AgentHeartbeatResponse)

    async def deregister_agent(self) -> None:
        await self._call(pb.DeregisterAgentRequest(), pb.DeregisterAgentResponse)

    async def authorize_session(
        self, user: str, login: str, session_id: str, request_ids: Iterable[str] = ()
    ) -> pb.AuthorizeSessionResponse:
        request = pb.AuthorizeSessionRequest(
            user=user, login=login, session_id=session_id, request_ids=request_ids
        )
        return await self._call(request, pb.AuthorizeSessionResponse)

    async def resume_session(
        self, session_id: str, session: pb.LivingSession
    ) -> pb.ResumeSessionResponse:
        request = pb.ResumeSessionRequest(session_id=session_id, session=session)
        return await self._call(request, pb.ResumeSessionResponse)

    async def report_sessions(
        self, sessions: Iterable[pb.LivingSession]
    ) -> pb.ReportSessionsResponse:
        request = pb.ReportSessionsRequest(sessions=sessions)
        return await self._call(request, pb.ReportSessionsResponse)

    # Access requests.

    async def create_access_request(
        self,
        roles: Iterable[str],
        reason: str,
        *,
        nodes: Iterable[str] = (),
        window_seconds: int = 0,
    ) -> pb.AccessRequest:
        request = pb.CreateAccessRequestRequest(
            roles=roles, nodes=nodes, reason=reason, window_seconds=window_seconds
        )
        return (await self._call(request, pb.CreateAccessRequestResponse)).request

    async def list_access_requests(
        self, *, user: str = "", states: Iterable[pb.AccessRequestState.ValueType] = ()
    ) -> list[pb.AccessRequest]:
        """Those that the caller may see, the newest first."""
        wanted = list(states)

        async def page(token: str) -> tuple[Iterable[pb.AccessRequest], str]:
            request = pb.ListAccessRequestsRequest(user=user, states=wanted, page_token=token)
            answer = await self._call(request, pb.ListAccessRequestsResponse)
            return answer.requests, answer.next_page_token

        return await _all_pages(page)

    async def get_access_request(self, request_id: str) -> pb.AccessRequest:
        request = pb.GetAccessRequestRequest(id=request_id)
        return (await self._call(request, pb.GetAccessRequestResponse)).request

    async def review_access_request(
        self, request_id: str, decision: pb.AccessRequestDecision.ValueType, reason: str = ""
    ) -> pb.AccessRequest:
        request = pb.ReviewAccessRequestRequest(id=request_id, decision=decision, reason=reason)
        return (await self._call(request, pb.ReviewAccessRequestResponse)).request

    async def cancel_access_request(self, request_id: str) -> pb.AccessRequest:
        request = pb.CancelAccessRequestRequest(id=request_id)
        return (await self._call(request, pb.CancelAccessRequestResponse)).request

    # Administrators.

    async def get_node(self, node: str) -> pb.Node:
        """A node with all that is known of it, by host name or agent id."""
        return (await self._call(pb.GetNodeRequest(node=node), pb.GetNodeResponse)).node

    async def allow_rejoin(self, node: str, *, ttl_seconds: int = 0) -> pb.AllowRejoinResponse:
        """A token with which this very node, and no other, joins once more."""
        request = pb.AllowRejoinRequest(node=node, ttl_seconds=ttl_seconds)
        return await self._call(request, pb.AllowRejoinResponse)

    async def create_openssh_node(
        self,
        hostname: str,
        address: str,
        *,
        labels: Mapping[str, str],
        host_keys: Iterable[str],
        host_authorities: Iterable[str],
    ) -> pb.Node:
        request = pb.CreateOpenSshNodeRequest(
            hostname=hostname,
            address=address,
            labels=labels,
            host_keys=host_keys,
            host_authorities=host_authorities,
        )
        return (await self._call(request, pb.CreateOpenSshNodeResponse)).node

    async def get_openssh_setup(self) -> pb.GetOpenSshSetupResponse:
        return await self._call(pb.GetOpenSshSetupRequest(), pb.GetOpenSshSetupResponse)

    async def delete_node(self, node: str) -> None:
        await self._call(pb.DeleteNodeRequest(node=node), pb.DeleteNodeResponse)

    async def create_user(
        self,
        name: str,
        *,
        logins: Iterable[str],
        node_labels: Iterable[str] = (),
        is_admin: bool = False,
        password: str = "",
        roles: Iterable[str] = (),
        traits: Mapping[str, Iterable[str]] | None = None,
        one_time_password: bool = False,
        invite_ttl_seconds: int = 0,
    ) -> pb.CreateUserResponse:
        request = pb.CreateUserRequest(
            name=name,
            logins=logins,
            node_labels=node_labels,
            is_admin=is_admin,
            password=password,
            roles=roles,
            traits=trait_messages(traits or {}),
            one_time_password=one_time_password,
            invite_ttl_seconds=invite_ttl_seconds,
        )
        return await self._call(request, pb.CreateUserResponse)

    async def create_invite(self, user: str, *, ttl_seconds: int = 0) -> pb.Invite:
        request = pb.CreateInviteRequest(user=user, ttl_seconds=ttl_seconds)
        return (await self._call(request, pb.CreateInviteResponse)).invite

    async def reset_user(self, user: str, *, ttl_seconds: int = 0) -> pb.Invite:
        """An invite; the user's password and bearers end."""
        request = pb.ResetUserRequest(user=user, ttl_seconds=ttl_seconds)
        return (await self._call(request, pb.ResetUserResponse)).invite

    async def reset_second_factors(self, user: str) -> None:
        request = pb.ResetSecondFactorsRequest(user=user)
        await self._call(request, pb.ResetSecondFactorsResponse)

    async def update_user(self, user: pb.User, changed: Iterable[str]) -> pb.User:
        """Replace these fields of a user by what the message has in them."""
        request = pb.UpdateUserRequest(user=user, update_mask=FieldMask(paths=changed))
        return (await self._call(request, pb.UpdateUserResponse)).user

    async def list_users(self) -> list[pb.User]:
        async def page(token: str) -> tuple[Iterable[pb.User], str]:
            request = pb.ListUsersRequest(page_token=token)
            answer = await self._call(request, pb.ListUsersResponse)
            return answer.users, answer.next_page_token

        return await _all_pages(page)

    async def delete_user(self, name: str) -> None:
        await self._call(pb.DeleteUserRequest(name=name), pb.DeleteUserResponse)

    async def create_token(
        self,
        *,
        ttl_seconds: int = 0,
        uses: int = 0,
        labels: Mapping[str, str] | None = None,
        hostnames: Iterable[str] = (),
        description: str = "",
    ) -> pb.CreateTokenResponse:
        request = pb.CreateTokenRequest(
            ttl_seconds=ttl_seconds,
            uses=uses,
            labels=labels or {},
            hostnames=hostnames,
            description=description,
        )
        return await self._call(request, pb.CreateTokenResponse)

    async def list_tokens(self) -> list[pb.Token]:
        async def page(token: str) -> tuple[Iterable[pb.Token], str]:
            request = pb.ListTokensRequest(page_token=token)
            answer = await self._call(request, pb.ListTokensResponse)
            return answer.tokens, answer.next_page_token

        return await _all_pages(page)

    async def delete_token(self, token_id: str) -> None:
        await self._call(pb.DeleteTokenRequest(token_id=token_id), pb.DeleteTokenResponse)

    async def get_status(self) -> pb.GetStatusResponse:
        return await self._call(pb.GetStatusRequest(), pb.GetStatusResponse)

    async def create_api_token(
        self, user: str, name: str, *, access: pb.ApiAccess.ValueType, ttl_seconds: int = 0
    ) -> pb.CreateApiTokenResponse:
        request = pb.CreateApiTokenRequest(
            user=user, name=name, access=access, ttl_seconds=ttl_seconds
        )
        return await self._call(request, pb.CreateApiTokenResponse)

    async def list_api_tokens(self) -> list[pb.ApiToken]:
        async def page(token: str) -> tuple[Iterable[pb.ApiToken], str]:
            request = pb.ListApiTokensRequest(page_token=token)
            answer = await self._call(request, pb.ListApiTokensResponse)
            return answer.api_tokens, answer.next_page_token

        return await _all_pages(page)

    async def delete_api_token(self, token_id: str) -> None:
        await self._call(pb.DeleteApiTokenRequest(token_id=token_id), pb.DeleteApiTokenResponse)

    # Roles.

    async def create_role(self, document: str, *, replace: bool = False) -> pb.Role:
        request = pb.CreateRoleRequest(document=document, replace=replace)
        return (await self._call(request, pb.CreateRoleResponse)).role

    async def get_role(self, name: str) -> pb.Role:
        return (await self._call(pb.GetRoleRequest(name=name), pb.GetRoleResponse)).role

    async def list_roles(self) -> list[pb.Role]:
        """All roles, without their documents."""

        async def page(token: str) -> tuple[Iterable[pb.Role], str]:
            request = pb.ListRolesRequest(page_token=token)
            answer = await self._call(request, pb.ListRolesResponse)
            return answer.roles, answer.next_page_token

        return await _all_pages(page)

    async def delete_role(self, name: str) -> None:
        await self._call(pb.DeleteRoleRequest(name=name), pb.DeleteRoleResponse)

    async def explain_access(self, user: str, login: str, node: str) -> pb.ExplainAccessResponse:
        """Why a user may (not) use a login on a node; any login, if it is empty."""
        request = pb.ExplainAccessRequest(user=user, login=login, node=node)
        return await self._call(request, pb.ExplainAccessResponse)

    # The audit.

    async def list_audit_events(
        self, request: pb.ListAuditEventsRequest
    ) -> pb.ListAuditEventsResponse:
        """One page of events."""
        return await self._call(request, pb.ListAuditEventsResponse)

    async def verify_audit(self, head: str = "", page_token: str = "") -> pb.VerifyAuditResponse:
        """A few seconds of verifying; the ``next_page_token`` goes on."""
        request = pb.VerifyAuditRequest(head=head, page_token=page_token)
        return await self._call(request, pb.VerifyAuditResponse)

    # Authorities.

    async def get_authorities(self) -> pb.GetAuthoritiesResponse:
        return await self._call(pb.GetAuthoritiesRequest(), pb.GetAuthoritiesResponse)

    async def rotate_authority(
        self, types: Iterable[str], *, grace_period_seconds: int = 0, phase: str = ""
    ) -> list[pb.Authority]:
        """Begin the rotation of these, or move it on to a phase."""
        request = pb.RotateAuthorityRequest(
            types=types, grace_period_seconds=grace_period_seconds, phase=phase
        )
        return list((await self._call(request, pb.RotateAuthorityResponse)).authorities)

    async def rollback_authority(self, types: Iterable[str]) -> list[pb.Authority]:
        """Let the old ones sign again."""
        request = pb.RollbackAuthorityRequest(types=types)
        return list((await self._call(request, pb.RollbackAuthorityResponse)).authorities)

    # Sessions and locks.

    async def list_sessions(self) -> list[pb.Session]:
        """The live sessions that the caller may see."""

        async def page(token: str) -> tuple[Iterable[pb.Session], str]:
            request = pb.ListSessionsRequest(page_token=token)
            answer = await self._call(request, pb.ListSessionsResponse)
            return answer.sessions, answer.next_page_token

        return await _all_pages(page)

    async def end_session(self, session_id: str, message: str = "") -> None:
        request = pb.EndSessionRequest(session_id=session_id, message=message)
        await self._call(request, pb.EndSessionResponse)

    async def create_lock(
        self, target: pb.LockTarget, *, ttl_seconds: int = 0, message: str = ""
    ) -> pb.Lock:
        request = pb.CreateLockRequest(target=target, ttl_seconds=ttl_seconds, message=message)
        return (await self._call(request, pb.CreateLockResponse)).lock

    async def list_locks(self) -> list[pb.Lock]:
        async def page(token: str) -> tuple[Iterable[pb.Lock], str]:
            request = pb.ListLocksRequest(page_token=token)
            answer = await self._call(request, pb.ListLocksResponse)
            return answer.locks, answer.next_page_token

        return await _all_pages(page)

    async def delete_lock(self, lock_id: str) -> None:
        await self._call(pb.DeleteLockRequest(lock_id=lock_id), pb.DeleteLockResponse)

    # Recordings.

    async def list_recordings(
        self, wanted: pb.ListRecordingsRequest | None = None
    ) -> list[pb.Recording]:
        """All recordings that are wanted and that the caller may see, the newest first."""

        async def page(token: str) -> tuple[Iterable[pb.Recording], str]:
            request = pb.ListRecordingsRequest()
            if wanted is not None:
                request.CopyFrom(wanted)
            request.page_token = token
            answer = await self._call(request, pb.ListRecordingsResponse)
            return answer.recordings, answer.next_page_token

        return await _all_pages(page)

    async def get_recording(self, recording_id: str) -> pb.Recording:
        request = pb.GetRecordingRequest(id=recording_id)
        return (await self._call(request, pb.GetRecordingResponse)).recording

    async def read_recording(
        self, recording_id: str, offset: int, max_bytes: int = 0
    ) -> pb.ReadRecordingResponse:
        request = pb.ReadRecordingRequest(id=recording_id, offset=offset, max_bytes=max_bytes)
        return await self._call(request, pb.ReadRecordingResponse)

    async def hold_recording(self, recording_id: str, reason: str) -> pb.Recording:
        request = pb.HoldRecordingRequest(id=recording_id, reason=reason)
        return (await self._call(request, pb.HoldRecordingResponse)).recording

    async def release_recording(self, recording_id: str) -> pb.Recording:
        request = pb.ReleaseRecordingRequest(id=recording_id)
        return (await self._call(request, pb.ReleaseRecordingResponse)).recording

    async def delete_recording(self, recording_id: str, reason: str = "") -> None:
        request = pb.DeleteRecordingRequest(id=recording_id, reason=reason)
        await self._call(request, pb.DeleteRecordingResponse)

    async def _call(self, request: Message, response_type: type[M]) -> M:
        method = request.DESCRIPTOR.name.removesuffix("Request")
        metadata = [("authorization", f"Bearer {self.bearer}")] if self.bearer else []
        return await self.channel.call(
            f"/{_SERVICE}/{method}",
            request,
            response_type,
            timeout=self.timeout,
            metadata=metadata,
        )


def trait_messages(traits: Mapping[str, Iterable[str]]) -> list[pb.Trait]:
    """Traits as messages carry them."""
    return [pb.Trait(name=name, values=values) for name, values in traits.items()]


async def _all_pages(
    page: Callable[[str], Awaitable[tuple[Iterable[Item], str]]],
) -> list[Item]:
    """Follow the page tokens to their end, or to a bound that no honest list reaches."""
    items: list[Item] = []
    token = ""
    for _ in range(_PAGES):
        more, token = await page(token)
        items.extend(more)
        if not token:
            return items
    raise LimitReached(f"the list has more than {_PAGES} pages")
