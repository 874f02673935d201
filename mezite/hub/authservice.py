"""
The auth service as people and agents call it: messages in, messages out.

Owns the translation between the protocol's messages and the services in
:mod:`mezite.auth`, and each method's own limits. Who may call what is
:mod:`mezite.hub.callers`'; what only administrators do is
:mod:`mezite.hub.adminservice`'s; the wire is :mod:`mezite.rpc.server`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from attrs import frozen
from google.protobuf.message import Message

from mezite import __version__
from mezite.audit.events import EventType
from mezite.auth.access import AccessService
from mezite.auth.error import SecondFactorRequired
from mezite.auth.issuing import IssuingService
from mezite.auth.joining import HostCertificates, JoinService
from mezite.auth.locking import LockService
from mezite.auth.login import LoginService
from mezite.auth.secondfactor import Shown
from mezite.auth.trail import AuditTrail
from mezite.error import Denied, LocalError, NotAuthenticated
from mezite.hub.callers import PERMISSIONS, Callers, Subject, permit
from mezite.hub.nodemessages import node_message, read_word, version_text
from mezite.hub.nodes import NodeDirectory
from mezite.hub.paging import page
from mezite.hub.presence import HEARTBEAT_SECONDS, Presence
from mezite.hub.web.site import HubFacts
from mezite.identity.authorities import Authorities
from mezite.identity.x509 import NodeIdentity
from mezite.names import NodeName, check_labels, parse_labels
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call, Method
from mezite.store.records import NodeWord

SERVICE: Final = "mezite.v1.AuthService"
# A node's record is at most 21 KB of labels (mezite.names): 100 of them stay
# well below the 4 MiB that stock gRPC clients take.

Item = TypeVar("Item")


class Handler(Protocol):
    """One method's work, for a subject that was admitted to it."""

    def __call__(self, subject: Subject, call: Call, request: Any, /) -> Awaitable[Message]: ...


@frozen
class AuthService:
    """The methods of people and agents."""

    facts: HubFacts
    logins: LoginService
    issuing: IssuingService
    joining: JoinService
    access: AccessService
    directory: NodeDirectory
    presence: Presence
    authorities: Callable[[], Authorities]
    locks: LockService
    wall_clock: Callable[[], float]

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "Ping": self.ping,
            "AuthenticateLocal": self.authenticate_local,
            "ChangePassword": self.change_password,
            "IssueUserCerts": self.issue_user_certs,
            "ListNodes": self.list_nodes,
            "ValidateJoinToken": self.validate_join_token,
            "GenerateHostCerts": self.generate_host_certs,
            "RegisterAgent": self.register_agent,
            "AgentHeartbeat": self.agent_heartbeat,
            "DeregisterAgent": self.deregister_agent,
        }

    async def ping(self, _who: Subject, _call: Call, _request: pb.PingRequest) -> Message:
        return pb.PingResponse(
            cluster_name=self.facts.cluster_name,
            hub_name=self.facts.hub_name,
            version=__version__,
            server_time=int(self.wall_clock()),
            ca_pin=self.facts.ca_pin,
            cluster_ca=self.authorities().tls_pem.decode(),
            host_ca=self.authorities().host_lines,
        )

    async def authenticate_local(
        self, _who: Subject, call: Call, request: pb.AuthenticateLocalRequest
    ) -> Message:
        shown = Shown(request.second_factor_code, request.webauthn_assertion)
        address = host_of(call.caller.address)
        try:
            login = await self.logins.authenticate(request.user, request.password, address, shown)
        except SecondFactorRequired as wanted:
            return pb.AuthenticateLocalResponse(
                second_factor_required=True,
                second_factors=wanted.kinds,
                webauthn_request=wanted.webauthn_request,
            )
        return pb.AuthenticateLocalResponse(
            token=login.bearer,
            expires=int(login.expires),
            user=str(login.user),
            must_change_password=login.must_change_password,
        )

    async def change_password(
        self, _who: Subject, call: Call, request: pb.ChangePasswordRequest
    ) -> Message:
        await self.logins.change_password(
            request.user,
            request.old_password,
            request.new_password,
            address=host_of(call.caller.address),
            shown=Shown(request.second_factor_code, request.webauthn_assertion),
        )
        return pb.ChangePasswordResponse()

    async def issue_user_certs(
        self, who: Subject, _call: Call, request: pb.IssueUserCertsRequest
    ) -> Message:
        if who.user is None:
            raise LocalError("IssueUserCerts was admitted without a user")
        issued = await self.issuing.issue_user_certs(
            who.user.name,
            ssh_public_line=request.ssh_public_key,
            tls_public_key_pem=request.tls_public_key.encode(),
            ttl=float(request.ttl_seconds) if request.ttl_seconds else None,
            with_token=who.access is not None,
            requests=request.request_ids,
            by=who.actor,
        )
        return pb.IssueUserCertsResponse(
            ssh_certificate=issued.ssh_certificate,
            tls_certificate=issued.tls_certificate_pem.decode(),
            cluster_ca=issued.cluster_ca_pem.decode(),
            host_ca=issued.host_ca_lines,
            valid_before=int(issued.valid_before),
            logins=[str(login) for login in issued.logins],
            cluster_name=self.facts.cluster_name,
            hub_name=self.facts.hub_name,
        )

    async def list_nodes(self, who: Subject, _call: Call, request: pb.ListNodesRequest) -> Message:
        wanted = parse_labels(request.labels)
        statuses = await self.directory.listing()
        if who.user is not None and not who.is_auditor:
            reachable = await self.access.reachable(who.user.name, [s.record for s in statuses])
            ids = {record.agent_id for record in reachable}
            statuses = [status for status in statuses if status.record.agent_id in ids]
        statuses = [
            status
            for status in statuses
            if all(status.record.labels.get(key) == value for key, value in wanted.items())
        ]
        nodes, next_token = page(
            statuses, lambda s: str(s.record.name), request.page_size, request.page_token
        )
        return pb.ListNodesResponse(
            nodes=[node_message(status, is_full=who.is_auditor) for status in nodes],
            next_page_token=next_token,
        )

    async def validate_join_token(
        self, _who: Subject, _call: Call, request: pb.ValidateJoinTokenRequest
    ) -> Message:
        return pb.ValidateJoinTokenResponse(valid=await self.joining.validate(request.token))

    async def generate_host_certs(
        self, _who: Subject, call: Call, request: pb.GenerateHostCertsRequest
    ) -> Message:
        """Join with a token, or renew with a certificate; with both, the token is ignored."""
        identity = call.caller.identity
        if isinstance(identity, NodeIdentity):
            await self.locks.check_node(identity.node, identity.agent_id)
            issued = await self.joining.renew(
                identity,
                tls_key=call.caller.tls_key,
                ssh_public_line=request.ssh_public_key,
                tls_public_key_pem=request.tls_public_key.encode(),
                address=call.caller.address,
            )
        elif request.token:
            node = NodeName.parse(request.hostname)
            await self.locks.check_node(node)
            issued = await self.joining.join(
                request.token,
                node=node,
                labels=check_labels(request.labels),
                version=version_text(request.version),
                ssh_public_line=request.ssh_public_key,
                tls_public_key_pem=request.tls_public_key.encode(),
                address=call.caller.address,
            )
            # One that joined once more may have an older tunnel, or somebody else has it.
            self.directory.hang_up(issued.agent_id)
        else:
            raise Denied("joining needs a token, and renewing the node's certificate")
        return self._host_certs(issued)

    def _host_certs(self, issued: HostCertificates) -> Message:
        return pb.GenerateHostCertsResponse(
            agent_id=str(issued.agent_id),
            hostname=str(issued.node),
            ssh_certificate=issued.ssh_certificate,
            tls_certificate=issued.tls_certificate_pem.decode(),
            cluster_ca=issued.cluster_ca_pem.decode(),
            user_ca=issued.user_ca_lines,
            host_ca=issued.host_ca_lines,
            valid_before=int(issued.valid_before),
            cluster_name=self.facts.cluster_name,
            hub_name=self.facts.hub_name,
            authorities_generation=issued.generation,
        )

    async def register_agent(
        self, who: Subject, _call: Call, request: pb.RegisterAgentRequest
    ) -> Message:
        await self._heard(who, read_word(request), request.authorities_generation)
        return pb.RegisterAgentResponse(
            heartbeat_seconds=HEARTBEAT_SECONDS,
            authorities_generation=self.authorities().generation,
        )

    async def agent_heartbeat(
        self, who: Subject, _call: Call, request: pb.AgentHeartbeatRequest
    ) -> Message:
        await self._heard(who, read_word(request), request.authorities_generation)
        return pb.AgentHeartbeatResponse(
            heartbeat_seconds=HEARTBEAT_SECONDS,
            authorities_generation=self.authorities().generation,
        )

    async def deregister_agent(
        self, who: Subject, _call: Call, _request: pb.DeregisterAgentRequest
    ) -> Message:
        if who.node is not None:
            self.presence.leaving(who.node)
        return pb.DeregisterAgentResponse()

    async def _heard(self, who: Subject, word: NodeWord, generation: int) -> None:
        if who.node is None:
            raise LocalError("a heartbeat was admitted without a node")
        self.presence.has_generation(who.node, generation)
        await self.presence.heard(who.node, word)


def methods(
    callers: Callers, trail: AuditTrail, *services: Mapping[str, Handler]
) -> dict[str, Method]:
    """Every method by its gRPC path, each behind the permission it needs."""
    handlers = {name: handler for service in services for name, handler in service.items()}
    if handlers.keys() != PERMISSIONS.keys():
        raise LocalError(f"methods and permissions differ: {handlers.keys() ^ PERMISSIONS.keys()}")
    return {
        f"/{SERVICE}/{name}": Method(
            request_type=getattr(pb, f"{name}Request"),
            response_type=getattr(pb, f"{name}Response"),
            handle=_guarded(callers, trail, name, handler),
        )
        for name, handler in handlers.items()
    }


def _guarded(
    callers: Callers, trail: AuditTrail, name: str, handler: Handler
) -> Callable[[Call, Any], Awaitable[Message]]:
    async def handle(call: Call, request: Any) -> Message:
        subject = await callers.identify(name, call)
        try:
            permit(name, subject)
            return await handler(subject, call, request)
        except NotAuthenticated:
            raise
        except Denied as error:
            # Not of strangers, who would fill the audit as fast as they can connect.
            if subject.is_known:
                await trail.record(
                    trail.event(
                        EventType.AUTHZ_DENIED,
                        subject.actor,
                        success=False,
                        error=str(error),
                        method=name,
                    )
                )
            raise

    return handle


def host_of(address: str) -> str:
    """The host of ``HOST:PORT``: a guesser comes back from another port each time."""
    return address.rpartition(":")[0] or address
