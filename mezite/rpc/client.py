"""
The auth service as its callers see it: one coroutine for each of its methods.
"""

from __future__ import annotations

from collections.abc import Iterable

from mezite.rpc.admincalls import AdminCalls
from mezite.rpc.agentcalls import AgentCalls
from mezite.rpc.channel import GrpcChannel as GrpcChannel
from mezite.rpc.channel import open_channel as open_channel
from mezite.rpc.proto import auth_pb2 as pb


class AuthClient(AgentCalls, AdminCalls):
    """
    Calls ``mezite.v1.AuthService`` on a channel.

    Its bearer is the token of :meth:`authenticate_local`.
    """

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
        request = pb.ListNodesRequest(labels=labels)
        return await self._all(request, pb.ListNodesResponse, lambda answer: answer.nodes)

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
        request = pb.ListAccessRequestsRequest(user=user, states=states)
        return await self._all(
            request, pb.ListAccessRequestsResponse, lambda answer: answer.requests
        )

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

    # Sessions.

    async def list_sessions(self) -> list[pb.Session]:
        """The live sessions that the caller may see."""
        request = pb.ListSessionsRequest()
        return await self._all(request, pb.ListSessionsResponse, lambda answer: answer.sessions)

    async def end_session(self, session_id: str, message: str = "") -> None:
        request = pb.EndSessionRequest(session_id=session_id, message=message)
        await self._call(request, pb.EndSessionResponse)

    # Recordings.

    async def list_recordings(
        self, wanted: pb.ListRecordingsRequest | None = None
    ) -> list[pb.Recording]:
        """All recordings that are wanted and that the caller may see, the newest first."""
        request = pb.ListRecordingsRequest()
        if wanted is not None:
            request.CopyFrom(wanted)
        return await self._all(request, pb.ListRecordingsResponse, lambda answer: answer.recordings)

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
