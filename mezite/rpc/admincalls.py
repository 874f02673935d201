"""
What administrators ask of the auth service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from mezite.rpc.authcalls import AuthCalls
from mezite.rpc.proto import auth_pb2 as pb


class AdminCalls(AuthCalls):
    """The methods of those who look after a cluster."""

    # Nodes, users and tokens.

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
        request = pb.ListUsersRequest()
        return await self._all(request, pb.ListUsersResponse, lambda answer: answer.users)

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
        request = pb.ListTokensRequest()
        return await self._all(request, pb.ListTokensResponse, lambda answer: answer.tokens)

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
        request = pb.ListApiTokensRequest()
        return await self._all(request, pb.ListApiTokensResponse, lambda answer: answer.api_tokens)

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
        request = pb.ListRolesRequest()
        return await self._all(request, pb.ListRolesResponse, lambda answer: answer.roles)

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

    # Locks.

    async def create_lock(
        self, target: pb.LockTarget, *, ttl_seconds: int = 0, message: str = ""
    ) -> pb.Lock:
        request = pb.CreateLockRequest(target=target, ttl_seconds=ttl_seconds, message=message)
        return (await self._call(request, pb.CreateLockResponse)).lock

    async def list_locks(self) -> list[pb.Lock]:
        request = pb.ListLocksRequest()
        return await self._all(request, pb.ListLocksResponse, lambda answer: answer.locks)

    async def delete_lock(self, lock_id: str) -> None:
        await self._call(pb.DeleteLockRequest(lock_id=lock_id), pb.DeleteLockResponse)


def trait_messages(traits: Mapping[str, Iterable[str]]) -> list[pb.Trait]:
    """Traits as messages carry them."""
    return [pb.Trait(name=name, values=values) for name, values in traits.items()]
