"""
The virtual listener of agents' tunnels: from a finished TLS transport to a
tunnel in the registry.

The certificate was demanded and checked in the handshake; here its agent id
is looked up, since a node that was removed still holds a certificate for a
while. What the agent's streams ask for is answered by the auth service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.auth.locking import LockService
from mezite.hub import recordinguploads
from mezite.hub.attendance import Attendance
from mezite.hub.error import TunnelRefused
from mezite.hub.presence import Presence
from mezite.hub.recordinguploads import HeldBytes, RecordingReceiver
from mezite.hub.tunnels import Tunnel, TunnelMux, TunnelRegistry
from mezite.identity.x509 import NodeIdentity, identity_of, key_hash
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.names import ClusterName
from mezite.rpc.opening import Opening
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.server import Caller, GrpcServerFactory, Method
from mezite.store.error import NodeKeyReplaced
from mezite.store.interfaces import INodes
from mezite.tasks import background, within

M = TypeVar("M", bound=TunnelMux)
# The look-up of one row; a database that takes longer is not one to trust a tunnel to.
_ADMISSION_SECONDS = 10.0
# An agent needs one, and another while the one before ends. Each may hold 4 MiB of
# unfinished calls, and a tunnel has a thousand streams.
AUTH_STREAMS = 8
# An agent has 64 at a time, and an inventory; others may not be forgotten yet.
RECORDING_STREAMS = 128


class TunnelServerFactory(Factory):
    """Builds the hub's end of each tunnel."""

    noisy = False

    def __init__(
        self,
        *,
        cluster: ClusterName,
        registry: TunnelRegistry,
        nodes: INodes,
        presence: Presence,
        attendance: Attendance,
        locks: LockService,
        methods: Mapping[str, Method],
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        recordings: Any = None,
    ) -> None:
        self.cluster = cluster
        self.registry = registry
        self.nodes = nodes
        self.presence = presence
        self.attendance = attendance
        self.locks = locks
        self.methods = methods
        self.clock = clock
        self.wall_clock = wall_clock
        # An IRecordingStore; without one, agents keep what they record.
        self.recordings = recordings
        self.held = HeldBytes()

    def buildProtocol(self, addr: IAddress | None) -> MuxProtocol:
        return self.arrive(addr, partial(MuxProtocol, role=Role.SERVER, clock=self.clock))

    def arrive(self, address: IAddress | None, mux_with: Callable[..., M]) -> M:
        """
        Let an agent come; what its tunnel is.

        :param mux_with: makes it, told ``accept``, ``on_up`` and ``on_down`` as
            :class:`~mezite.mux.protocol.MuxProtocol` knows them.
        """
        arrival = _Arrival(self, address)
        arrival.mux = mux = mux_with(accept=arrival.accept, on_up=arrival.up, on_down=arrival.down)
        return mux


class _Arrival:
    """One agent's connection, from its first byte to its last."""

    _log = Logger()
    mux: TunnelMux

    def __init__(self, factory: TunnelServerFactory, address: IAddress | None) -> None:
        self._factory = factory
        self._address = address
        self._tunnel: Tunnel | None = None
        # Streams that came before the tunnel was admitted; the mux bounds them.
        self._waiting: list[StreamTransport] = []
        self._auth: GrpcServerFactory | None = None
        # Made when the first comes: most tunnels are idle, and an empty one takes a kilobyte.
        self._receivers: WeakSet[RecordingReceiver] | None = None
        self._tls_key: bytes | None = None

    @property
    def _place(self) -> str:
        host, port = getattr(self._address, "host", "?"), getattr(self._address, "port", "?")
        return f"{host}:{port}"

    def up(self) -> None:
        background(self._admit(), doing=f"admitting the tunnel from {self._place}")

    async def _admit(self) -> None:
        try:
            carrier: Any = self.mux.transport
            identity = identity_of(carrier.peer_certificate)
            if not isinstance(identity, NodeIdentity) or identity.cluster != self._factory.cluster:
                raise TunnelRefused("a tunnel needs the certificate of one of this cluster's nodes")
            record = await within(
                self._factory.clock,
                _ADMISSION_SECONDS,
                self._factory.nodes.get(identity.agent_id),
                doing="looking up the node",
            )
            if record is None or record.name != identity.node:
                raise TunnelRefused(f"node {identity.node} ({identity.agent_id}) was removed")
            self._tls_key = key_hash(carrier.peer_certificate.public_key())
            if not record.accepts(self._tls_key):
                raise NodeKeyReplaced(record.name)
            await self._factory.locks.check_node(identity.node, identity.agent_id)
        except BaseException:
            # Also after a bug: a tunnel that is up and leads nowhere is not dialed again.
            self.mux.abort()
            raise
        # It would be kept for as long as the tunnel lives, decoded twice.
        forget = getattr(carrier, "forget_peer", None)
        if forget is not None:
            forget()
        if not self.mux.is_up:
            return
        now = self._factory.wall_clock()
        self._tunnel = Tunnel(
            identity=identity,
            mux=self.mux,
            address=self._place,
            since=now,
            labels=record.labels,
            version=record.version,
            last_seen=now,
            last_saved=record.last_seen or 0.0,
            word=record.word,
        )
        self._factory.registry.add(self._tunnel)
        self._factory.attendance.came(identity, self._place, record.last_seen)
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            self.accept(stream)

    def accept(self, stream: StreamTransport) -> None:
        if self._tunnel is None:
            # What an agent says before that would be about no tunnel that we know.
            self._waiting.append(stream)
        else:
            stream.attach(Opening(self._factory.clock, self._choose))

    def _choose(self, header: StreamHeader) -> IProtocol | None:
        if self._tunnel is None:
            return None
        if header.service == recordinguploads.SERVICE:
            return self._recording(self._tunnel)
        if header.service != "auth":
            return None
        if self._auth is None:
            identity = self._tunnel.identity
            caller = Caller(
                identity=identity,
                is_local_admin=False,
                address=self._place,
                tls_key=self._tls_key,
            )
            self._auth = GrpcServerFactory(
                self._factory.methods, caller_of=lambda _: caller, clock=self._factory.clock
            )
        if len(self._auth.connections) >= AUTH_STREAMS:
            self._log.warn("{place} has too many streams for the auth service", place=self._place)
            return None
        serving = self._auth.buildProtocol(self._address)
        if serving is not None:
            serving.closed.addCallback(self._auth_ended)
        return serving

    def _auth_ended(self, _: None) -> None:
        """Keep nothing for an agent that asks nothing."""
        if self._auth is not None and not self._auth.connections:
            self._auth = None

    def _recording(self, tunnel: Tunnel) -> IProtocol | None:
        if self._factory.recordings is None:
            return None
        if self._receivers is None:
            self._receivers = WeakSet()
        if len(self._receivers) >= RECORDING_STREAMS:
            self._log.warn("{place} has too many streams for recordings", place=self._place)
            return None
        receiver = RecordingReceiver(
            tunnel.identity,
            self._factory.recordings,
            self._factory.clock,
            address=self._place,
            since=tunnel.since,
            held=self._factory.held,
        )
        self._receivers.add(receiver)
        return receiver

    def down(self, reason: Failure) -> None:
        self._waiting.clear()
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is None:
            self._log.info("a tunnel from {place} ended before it was one", place=self._place)
            return
        if self._factory.registry.remove(tunnel, reason.getErrorMessage()):
            self._factory.attendance.went(tunnel.identity)
            background(
                self._factory.presence.went(tunnel),
                doing=f"noting when {tunnel.identity.node} was last seen",
            )
