"""
A hub as an agent meets it: certificates, an auth service, and tunnels in memory.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from mezite.agent.hubcalls import HubCalls
from mezite.agent.membership import Issued, Membership, NodeKeys
from mezite.error import MeziteError
from mezite.identity import sshissuing, x509
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.names import AgentId, ClusterName, HostPort, NodeName
from mezite.rpc.calls import Call, Caller, methods_of
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.opening import Opening
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.server import GrpcServerFactory
from tests.doubles.link import Link, link

NOW = 1_800_000_000.0
HOUR = 3600.0
HUB = HostPort("hub.example.com", 443)
CLUSTER = ClusterName("demo")
NODE = NodeName("db1")
AGENT_ID = AgentId("8a4c6f0e-29c5-4d3b-9d0c-3a1f0f5a7b11")
OTHER_ID = AgentId("8a4c6f0e-29c5-4d3b-9d0c-3a1f0f5a7b12")


@define(eq=False)
class AgentHub:
    """
    Issues real certificates; everything else is as the test sets it.

    ``tunnels`` are the hub's ends, the newest last. ``refusals`` are what the
    next dials fail with.
    """

    clock: Clock = field(factory=Clock)
    began: float = NOW
    user_ca: SshAuthority = field(factory=SshAuthority.generate)
    host_ca: SshAuthority = field(factory=SshAuthority.generate)
    cluster_ca: X509Authority = field(factory=lambda: X509Authority.generate(CLUSTER, NOW - HOUR))
    agent_id: AgentId = AGENT_ID
    ssh_lifetime: float = 24 * HOUR
    tls_lifetime: float = 30 * 24 * HOUR
    # What a method answers in place of what it would, by its name.
    errors: dict[str, MeziteError] = field(factory=dict)
    calls: list[tuple[str, Any]] = field(factory=list)
    allowed: bool = True
    bounds: dict[str, Any] = field(factory=dict)
    # Of its authorities; 0 is a hub that does not say.
    generation: int = 0
    heartbeat_seconds: int = 10
    refusals: list[BaseException] = field(factory=list)
    dials: list[float] = field(factory=list)
    links: list[Link] = field(factory=list)
    tunnels: list[MuxProtocol] = field(factory=list)
    _direct: HubCalls | None = field(init=False, default=None)

    def wall_clock(self) -> float:
        return self.began + self.clock.seconds()

    # --- certificates

    def issue(self, keys: NodeKeys, node: NodeName = NODE) -> Issued:
        return self._issue(keys.ssh_public_line, keys.tls_public_pem, node)

    def _issue(self, ssh_public_line: str, tls_public_pem: bytes, node: NodeName) -> Issued:
        now = self.wall_clock()
        public = load_pem_public_key(tls_public_pem)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        identity = x509.NodeIdentity(CLUSTER, self.agent_id, node)
        certificate = x509.issue_node(
            self.cluster_ca, public, identity, now=now, lifetime=self.tls_lifetime
        )
        return Issued(
            hub_name="hub.example.com",
            ssh_certificate=sshissuing.issue_host(
                self.host_ca,
                ssh_public_line,
                agent_id=self.agent_id,
                principals=[node.text],
                serial=1,
                now=now,
                lifetime=self.ssh_lifetime,
            ),
            tls_certificate_pem=certificate.public_bytes(Encoding.PEM),
            cluster_ca_pem=self.cluster_ca.certificate_pem,
            user_ca=(self.user_ca.public_line("demo-user-ca"),),
        )

    def membership(self, keys: NodeKeys | None = None) -> Membership:
        keys = keys or NodeKeys.generate()
        return Membership.of(HUB, keys, self.issue(keys))

    # --- the auth service

    def _called(self, method: str, request: Any) -> None:
        self.calls.append((method, request))
        if method in self.errors:
            raise self.errors[method]

    async def generate_host_certs(
        self, call: Call, request: pb.GenerateHostCertsRequest
    ) -> pb.GenerateHostCertsResponse:
        self._called("GenerateHostCerts", request)
        node = NodeName.parse(request.hostname or NODE.text)
        issued = self._issue(request.ssh_public_key, request.tls_public_key.encode(), node)
        return pb.GenerateHostCertsResponse(
            agent_id=self.agent_id.text,
            hostname=node.text,
            ssh_certificate=issued.ssh_certificate,
            tls_certificate=issued.tls_certificate_pem.decode(),
            cluster_ca=issued.cluster_ca_pem.decode(),
            user_ca=issued.user_ca,
            cluster_name=CLUSTER.text,
            hub_name=issued.hub_name,
            authorities_generation=self.generation,
        )

    async def register_agent(
        self, call: Call, request: pb.RegisterAgentRequest
    ) -> pb.RegisterAgentResponse:
        self._called("RegisterAgent", request)
        return pb.RegisterAgentResponse(
            heartbeat_seconds=self.heartbeat_seconds, authorities_generation=self.generation
        )

    async def agent_heartbeat(
        self, call: Call, request: pb.AgentHeartbeatRequest
    ) -> pb.AgentHeartbeatResponse:
        self._called("AgentHeartbeat", request)
        return pb.AgentHeartbeatResponse(
            heartbeat_seconds=self.heartbeat_seconds, authorities_generation=self.generation
        )

    async def deregister_agent(
        self, call: Call, request: pb.DeregisterAgentRequest
    ) -> pb.DeregisterAgentResponse:
        self._called("DeregisterAgent", request)
        return pb.DeregisterAgentResponse()

    async def authorize_session(
        self, call: Call, request: pb.AuthorizeSessionRequest
    ) -> pb.AuthorizeSessionResponse:
        self._called("AuthorizeSession", request)
        return pb.AuthorizeSessionResponse(allowed=self.allowed, reason="so it is", **self.bounds)

    def heard(self, method: str) -> list[Any]:
        """The requests to one method."""
        return [request for name, request in self.calls if name == method]

    def service(self) -> GrpcServerFactory:
        caller = Caller(identity=None, is_local_admin=False, address="in memory")
        methods = methods_of(pb.DESCRIPTOR.services_by_name["AuthService"], self)
        return GrpcServerFactory(methods, caller_of=lambda _: caller, clock=self.clock)

    def direct_calls(self) -> HubCalls:
        """Calls over a connection of their own, without TLS; the same one while it lives."""
        if self._direct is not None and self._direct.client.channel.is_open:
            return self._direct
        channel = GrpcChannel(self.clock)
        server = self.service().buildProtocol(None)
        assert server is not None
        self.links.append(link(channel, server, self.clock))
        self._direct = HubCalls.on(channel)
        return self._direct

    # --- tunnels

    def endpoint(self) -> IStreamClientEndpoint:
        return _Endpoint(self)

    def _accept(self, stream: StreamTransport) -> None:
        stream.attach(Opening(self.clock, self._choose))

    def _choose(self, header: StreamHeader) -> IProtocol | None:
        return self.service().buildProtocol(None) if header.service == "auth" else None

    def connect(self, factory: IProtocolFactory) -> IProtocol:
        agent = factory.buildProtocol(None)
        assert agent is not None
        hub = MuxProtocol(role=Role.SERVER, clock=self.clock, accept=self._accept)
        self.tunnels.append(hub)
        self.links.append(link(agent, hub, self.clock, flush=False))
        return agent

    def advance(self, seconds: float = 0.0) -> None:
        """Let time pass in small steps, and bytes flow."""
        self.flush()
        while seconds > 0:
            step = min(seconds, 1.0)
            self.clock.advance(step)
            seconds -= step
            self.flush()

    def flush(self) -> None:
        self.links = [one for one in self.links if not one.client.is_lost]
        for one in self.links:
            one.flush()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class _Endpoint:
    hub: AgentHub

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.hub.dials.append(self.hub.clock.seconds())
        if self.hub.refusals:
            refusal = self.hub.refusals.pop(0)
            if isinstance(refusal, Silence):
                return Deferred()
            return fail(refusal)
        return succeed(self.hub.connect(protocolFactory))


class Silence(Exception):
    """In place of an error: nothing ever answers."""
