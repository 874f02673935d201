"""
Which live tunnel leads to which node.

A :class:`TunnelRegistry` knows every tunnel whose agent has proved its name.
It owns the map and nothing else: tunnels close themselves, and
:mod:`mezite.hub.sessions` decides who may use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from typing import Protocol as TypingProtocol
from weakref import WeakKeyDictionary

from attrs import define, field
from twisted.logger import Logger

from mezite.hub.error import TooManySessions
from mezite.identity.x509 import NodeIdentity
from mezite.names import AgentId, NodeName, UserName
from mezite.store.records import NodeWord
from mezite.wire.splice import Spliceable

# A tunnel has 1,024 streams. One user has a quarter of them, so that nobody who may
# reach a node keeps the others from it, nor its agent from asking the hub.
STREAMS_OF_ONE_USER: Final = 256


class TunnelStream(Spliceable, TypingProtocol):
    """A stream of a tunnel, as :class:`~mezite.mux.transport.StreamTransport` is one."""

    @property
    def disconnecting(self) -> bool: ...


class TunnelMux(TypingProtocol):
    """
    The mux of a tunnel, of which :class:`~mezite.mux.protocol.MuxProtocol` says more.

    The other kind is :class:`~mezite.hub.workers.fartunnels.FarMux`, whose tunnel
    another process holds.
    """

    # With the agent's certificate, as ``peer_certificate``.
    transport: Any

    @property
    def is_up(self) -> bool: ...
    @property
    def stream_count(self) -> int: ...
    def open_stream(self) -> TunnelStream: ...
    def go_away(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


@define(eq=False)
class Tunnel:
    """
    The hub's end of one agent's tunnel.

    ``labels`` are what the agent says of its node and what the hub gave it,
    ``version`` is the agent's; who it is
    stands in ``identity``, which its certificate proved. ``last_seen`` and
    ``last_saved`` are POSIX seconds; ``last_saved`` is when the store last
    learned of them.
    """

    identity: NodeIdentity
    mux: TunnelMux = field(repr=False)
    address: str
    since: float
    labels: Mapping[str, str]
    version: str
    last_seen: float
    last_saved: float
    # What the agent said last; on a new tunnel, what it said on the one before.
    word: NodeWord = field()
    # It differs from what the store knows.
    has_news: bool = False
    # That of the authorities its agent has certificates of; 0 until it says so.
    generation: int = 0
    # Whose each stream is, for as long as it is somebody's.
    _users: WeakKeyDictionary[TunnelStream, UserName] | None = field(
        init=False, default=None, repr=False
    )

    @word.default
    def _word_of_labels(self) -> NodeWord:
        return NodeWord(self.labels, self.version)

    def seen(self, now: float) -> float:
        """When the tunnel last spoke, in POSIX seconds, by what the clock shows now."""
        # A tunnel that another process holds is alive for as long as that one says so.
        self.last_seen = now - getattr(self.mux, "silence", 0.0)
        return self.last_seen

    def open_stream(self, user: UserName) -> TunnelStream:
        """
        A new stream towards the agent, for this user.

        :raises TooManySessions: at the user's share of the tunnel.
        :raises mezite.mux.error.MuxClosed: when the tunnel has just gone.
        :raises mezite.mux.error.TooManyStreams: at the tunnel's limit.
        """
        if self._users is None:
            self._users = WeakKeyDictionary()
        streams = list(self._users.items())
        theirs = sum(whose == user and not stream.disconnecting for stream, whose in streams)
        if theirs >= STREAMS_OF_ONE_USER:
            raise TooManySessions(user, self.identity.node, STREAMS_OF_ONE_USER)
        stream = self.mux.open_stream()
        self._users[stream] = user
        return stream

    def close(self) -> None:
        """Drop the connection at once, and every stream on it."""
        self.mux.abort()


class TunnelRegistry:
    """The live tunnels, by agent id and by host name."""

    _log = Logger()

    def __init__(self) -> None:
        self._by_agent: dict[AgentId, Tunnel] = {}
        self._by_name: dict[NodeName, Tunnel] = {}

    def __len__(self) -> int:
        return len(self._by_agent)

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(tuple(self._by_agent.values()))

    def add(self, tunnel: Tunnel) -> None:
        """
        Take in a tunnel; the newest of an agent id replaces the one before.

        An old tunnel is closed, since it may be a half-open connection that
        will not know of its death for minutes: the newest is the one that
        lives. A name goes to the tunnel that came last with it, and the store
        gives each name to one agent id only.
        """
        identity = tunnel.identity
        replaced = {
            id(old): old
            for old in (self._by_agent.get(identity.agent_id), self._by_name.get(identity.node))
            if old is not None and old is not tunnel
        }
        for old in replaced.values():
            self._forget(old)
        self._by_agent[identity.agent_id] = tunnel
        self._by_name[identity.node] = tunnel
        self._log.info(
            "tunnel up: {node} ({agent_id}) from {address}",
            node=identity.node,
            agent_id=identity.agent_id,
            address=tunnel.address,
        )
        for old in replaced.values():
            self._log.info("closing the older tunnel of {node}", node=old.identity.node)
            old.close()

    def remove(self, tunnel: Tunnel, reason: str) -> bool:
        """Forget a tunnel that is down; ``False`` if it had been replaced before."""
        if self._by_agent.get(tunnel.identity.agent_id) is not tunnel:
            return False
        self._forget(tunnel)
        self._log.info(
            "tunnel down: {node} ({agent_id}): {reason}",
            node=tunnel.identity.node,
            agent_id=tunnel.identity.agent_id,
            reason=reason,
        )
        return True

    def find(self, agent_id: AgentId) -> Tunnel | None:
        """The live tunnel of this agent."""
        return self._by_agent.get(agent_id)

    def find_name(self, node: NodeName) -> Tunnel | None:
        """The live tunnel to the node of this host name."""
        return self._by_name.get(node)

    def _forget(self, tunnel: Tunnel) -> None:
        identity = tunnel.identity
        if self._by_agent.get(identity.agent_id) is tunnel:
            del self._by_agent[identity.agent_id]
        if self._by_name.get(identity.node) is tunnel:
            del self._by_name[identity.node]
