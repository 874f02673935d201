"""
What agents ask of the auth service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mezite.rpc.authcalls import AuthCalls
from mezite.rpc.proto import auth_pb2 as pb


class AgentCalls(AuthCalls):
    """The methods of nodes, and of those that want to be one."""

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
        self, sessions: Iterable[pb.LivingSession], beginning: Iterable[str] = ()
    ) -> pb.ReportSessionsResponse:
        request = pb.ReportSessionsRequest(sessions=sessions, beginning=beginning)
        return await self._call(request, pb.ReportSessionsResponse)
