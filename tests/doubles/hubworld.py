"""
A whole hub in memory: the real service over a store in memory, and peers that
dial its router over TLS without a socket.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from mezite.config.hub import HubConfig
from mezite.config.recordings import RecordingsConfig
from mezite.hub.livesessions import LiveSession, Visitor
from mezite.hub.service import HubService
from mezite.hub.ways import TunnelWay
from mezite.identity.authorities import Authorities
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.roles import LabelSelector
from mezite.identity.tokens import hash_token, new_token
from mezite.identity.x509 import Identity, NodeIdentity, UserIdentity, issue_node, issue_user
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.names import AgentId, ClusterName, HostPort, LoginName, NodeName, RoleName, UserName
from mezite.rpc.client import AuthClient, GrpcChannel
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.store.memory import MemoryStore
from mezite.store.records import JoinTokenRecord, NodeRecord, UserRecord
from mezite.wire.contexts import client_context
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport
from tests.doubles.keyfiles import MemoryKeyFiles
from tests.doubles.link import Link, link
from tests.doubles.threads import InlineThreads

T = TypeVar("T")
CLUSTER = ClusterName("example.com")


class Heard(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.data = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.reason = reason


@define(eq=False)
class HubWorld:
    """The hub, its store, and what has dialed it."""

    clock: MemoryReactorClock = field(factory=MemoryReactorClock)
    store: MemoryStore = field(factory=MemoryStore)
    key_files: MemoryKeyFiles = field(factory=MemoryKeyFiles)
    # What is on its disk when it starts; made, if nothing is.
    starts_with: Authorities | None = None
    data_dir: Path = Path("/nowhere")
    recordings: RecordingsConfig = field(factory=RecordingsConfig)
    workers: int = 1
    hub: HubService = field(init=False)
    links: list[Link] = field(init=False, factory=list)
    _tokens: Any = field(init=False, factory=itertools.count)
    # A peer has one key, whatever certificates it gets for it.
    _keys: dict[Identity, ec.EllipticCurvePrivateKey] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        if not self.clock.seconds():
            self.clock.advance(time.time())
        now = self.clock.seconds()
        authorities = self.starts_with or Authorities(
            CLUSTER,
            SshAuthority.generate(),
            SshAuthority.generate(),
            X509Authority.generate(CLUSTER, now - 86400),
        )
        self.hub = HubService(
            config=HubConfig(
                cluster_name=CLUSTER,
                cluster_name_is_given=True,
                data_dir=self.data_dir,
                recordings=self.recordings,
                listen=HostPort("127.0.0.1", 3080),
                public_addr=HostPort("hub.example.com", 443),
                drain_grace=0.0,
                workers=self.workers,
            ),
            store=self.store,
            authorities=authorities,
            key_files=self.key_files,
            reactor=self.clock,
            wall_clock=self.clock.seconds,
            recording_threads=InlineThreads(),
            run_in_thread=lambda work, *rest: maybeDeferred(work, *rest),
        )

    @property
    def authorities(self) -> Authorities:
        """Who signs now, and who is trusted."""
        return self.hub.authorities

    def dial(
        self,
        inner: IProtocol,
        protocol: bytes,
        *,
        identity: Identity | None = None,
        server_name: str = "hub.example.com",
        authorities: Authorities | None = None,
        credentials: tuple[bytes, bytes] | None = None,
        issued: float | None = None,
    ) -> TLSTransport:
        """
        Connect to the hub's port; ``inner`` speaks once the handshake is done.

        :param authorities: whom the peer trusts and has its certificate from;
            those of now, if nothing is said.
        :param credentials: a certificate and its key, in the place of fresh ones.
        :param issued: when its certificate was; now, if nothing is said.
        """
        theirs = authorities or self.authorities
        own = credentials or self._credentials(identity, theirs, issued)
        context = client_context(protocol, theirs.tls_pem, *own)
        client = TLSTransport(
            context.connection(server_name),
            self.clock,
            Handshake(
                lambda transport: transport.attach(inner),
                lambda failure: inner.connectionLost(failure),
            ),
        )
        self.links.append(link(client, self.build(), self.clock))
        return client

    def build(self, address: Any = None) -> Any:
        """What a connection to the port is met with."""
        return self.hub.router.buildProtocol(address)

    def flush(self) -> None:
        """Let everything move until nothing moves."""
        for _ in range(20):
            for each in self.links:
                each.flush()

    def done(self, work: Awaitable[T]) -> T:
        """The result of this, once all has come to rest."""

        async def run() -> T:
            return await work

        results: list[Any] = []
        Deferred.fromCoroutine(run()).addBoth(results.append)
        self.flush()
        assert results, "it waits for something that does not come"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def add_user(
        self,
        name: str,
        *logins: str,
        labels: str = "*=*",
        admin: bool = False,
        must_change: bool = False,
        roles: Iterable[str] = (),
    ) -> None:
        """A user whose password nobody knows."""
        self.done(
            self.store.users.create(
                UserRecord(
                    name=UserName(name),
                    password_hash="x",
                    logins=tuple(LoginName(login) for login in logins),
                    node_labels=LabelSelector.parse([labels]),
                    is_admin=admin,
                    must_change_password=must_change,
                    created=self.clock.seconds(),
                    roles=tuple(map(RoleName, roles)),
                )
            )
        )

    def add_node(self, name: str, **labels: str) -> NodeIdentity:
        """A node that has joined and is not connected."""
        now = self.clock.seconds()
        secret = hash_token(new_token())
        token = JoinTokenRecord(f"t{next(self._tokens)}", secret, "test", now, now + 60, 1, 1)
        record = NodeRecord(AgentId.new(), NodeName(name), labels, "0.1", now)
        self.done(self.store.join_tokens.add(token))
        self.done(self.store.joining.admit(secret, record, now))
        return NodeIdentity(CLUSTER, record.agent_id, record.name)

    def user(self, name: str) -> UserIdentity:
        """How a user's certificate names them."""
        return UserIdentity(CLUSTER, UserName(name))

    def open_tunnel(
        self,
        node: NodeIdentity | None = None,
        accept: Callable[[StreamTransport], None] | None = None,
        credentials: tuple[bytes, bytes] | None = None,
    ) -> MuxProtocol:
        """The agent's end of a new tunnel."""
        mux = MuxProtocol(
            role=Role.CLIENT,
            clock=self.clock,
            accept=accept or (lambda stream: stream.abortConnection()),
        )
        self.dial(mux, b"mezite-tunnel", identity=node, credentials=credentials)
        return mux

    def ask_for(self, service: str, tunnel: MuxProtocol, protocol: Any) -> None:
        """Let this speak to a service of the hub, in a stream that the agent opens."""
        stream = tunnel.open_stream()
        stream.write(encode(StreamHeader(service=service)))
        stream.attach(protocol)
        self.flush()

    def calls_in(self, tunnel: MuxProtocol) -> AuthClient:
        """How the agent at the end of this tunnel calls the hub."""
        channel = GrpcChannel(self.clock)
        self.ask_for("auth", tunnel, channel)
        return AuthClient(channel)

    def public_key_of(self, identity: Identity) -> str:
        """The public half of the TLS key that this peer dials with, PEM."""
        return _public_pem(self._key_of(identity))

    def _key_of(self, identity: Identity) -> ec.EllipticCurvePrivateKey:
        return self._keys.setdefault(identity, ec.generate_private_key(ec.SECP256R1()))

    def visit(self, user: str, node: NodeIdentity) -> LiveSession:
        """A user's new connection to a node that holds a tunnel, as the hub knows it."""
        before = set(self.hub.live)
        self.dial(
            Heard(),
            b"mezite-ssh",
            identity=self.user(user),
            server_name=f"{node.node}.hub.example.com",
        )
        self.flush()
        (session,) = set(self.hub.live) - before
        return session

    def opened(self, user: str, node: NodeIdentity) -> LiveSession:
        """A session that the hub has opened to a node with a tunnel, whatever the user may."""
        tunnel = self.hub.registry.find(node.agent_id)
        assert tunnel is not None
        record = self.done(self.store.nodes.get(node.agent_id))
        assert record is not None
        now = self.clock.seconds()
        visitor = Visitor(UserName(user), "192.0.2.7:4711", now, now + 3600)
        session = LiveSession(
            session_id=str(uuid.uuid4()),
            visitor=visitor,
            node=record,
            way=TunnelWay(tunnel, tunnel.open_stream(visitor.user)),
            since=now,
        )
        self.hub.live.add(session)
        return session

    def _credentials(
        self, identity: Identity | None, authorities: Authorities, issued: float | None
    ) -> tuple[bytes, bytes] | tuple[()]:
        if identity is None:
            return ()
        key = self._key_of(identity)
        issue: Any = issue_node if isinstance(identity, NodeIdentity) else issue_user
        certificate = issue(
            authorities.cluster_ca,
            key.public_key(),
            identity,
            now=self.clock.seconds() if issued is None else issued,
            lifetime=3600.0,
        )
        return certificate.public_bytes(Encoding.PEM), key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )


def ssh_public_line() -> str:
    """A fresh SSH key's public line."""
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def tls_public_pem() -> str:
    """A fresh TLS key's public half."""
    return _public_pem(ec.generate_private_key(ec.SECP256R1()))


def _public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()
