"""
Signs of life of the nodes: shown by their tunnels, kept in the store now and then.

The registry's tunnels have them at once. The store is told when a node's
labels or version change, when its tunnel goes, and otherwise seldom and of
many nodes together, so that ten thousand of them cost the database next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve
from twisted.logger import Logger

from mezite.error import NotFound
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.names import check_labels
from mezite.store.interfaces import INodes
from mezite.store.records import NodeRecord, NodeWord

# How often agents are to say something when they have no news. That they are alive their
# tunnels show by themselves; ten thousand calls in half an hour are 0.5 % of a core.
HEARTBEAT_SECONDS: Final = 1800
# How often it is looked for tunnels of which the store should hear: each look takes a
# hundredth of a second for ten thousand of them.
LOOK_SECONDS: Final = 60.0
# Rows that one write changes; it holds up others for some milliseconds.
_ROWS: Final = 500
# What a hub that is killed may forget of when it last saw a node.
SAVE_SECONDS: Final = 300.0
# News are stored at once, but not more often than this: an agent whose labels
# flap must not write to the database with every call.
NEWS_SECONDS: Final = 5.0


def _has_passed(seconds: float, since: float, now: float) -> bool:
    """Whether so much time has; also where the clock was set back behind the moment."""
    return not 0 <= now - since < seconds


class Presence:
    """Takes heartbeats to the registry, and what must last to the store."""

    _log = Logger()

    def __init__(
        self, nodes: INodes, registry: TunnelRegistry, wall_clock: Callable[[], float]
    ) -> None:
        self._nodes = nodes
        self._registry = registry
        self._wall_clock = wall_clock

    async def heard(self, node: NodeRecord, word: NodeWord) -> None:
        """
        An agent said that it is alive, and what its node is like.

        :raises InvalidName: with the labels that the hub gave, it has too many.
        """
        now = self._wall_clock()
        tunnel = self._registry.find(node.agent_id)
        if tunnel is None:
            # It spoke on a tunnel that has been replaced; the new one has its own word.
            return
        if word.facts is None:
            word = evolve(word, facts=tunnel.word.facts)
        if word != tunnel.word:
            told = node.told(word)
            tunnel.word = word
            tunnel.labels, tunnel.version = check_labels(told.labels), told.version
            tunnel.has_news = tunnel.has_news or told != node
        tunnel.last_seen = now
        if tunnel.has_news and _has_passed(NEWS_SECONDS, tunnel.last_saved, now):
            await self.save(tunnel)

    def has_generation(self, node: NodeRecord, generation: int) -> None:
        """An agent said of which authorities its certificates are."""
        tunnel = self._registry.find(node.agent_id)
        if tunnel is not None:
            tunnel.generation = generation

    async def look(self) -> None:
        """Tell the store which tunnels have spoken, or have news, if that is due."""
        now = self._wall_clock()
        due: list[Tunnel] = []
        for tunnel in self._registry:
            if tunnel.has_news and _has_passed(NEWS_SECONDS, tunnel.last_saved, now):
                await self.save(tunnel)
            elif _has_passed(SAVE_SECONDS, tunnel.last_saved, now):
                tunnel.seen(now)
                due.append(tunnel)
        for first in range(0, len(due), _ROWS):
            some = due[first : first + _ROWS]
            for tunnel in some:
                tunnel.last_saved = tunnel.last_seen
            await self._nodes.see({each.identity.agent_id: each.last_seen for each in some})

    async def went(self, tunnel: Tunnel) -> None:
        """A tunnel is down: note when it spoke last."""
        await self.save(tunnel)

    async def save(self, tunnel: Tunnel) -> None:
        """Tell the store what the tunnel knows, unless the node was removed meanwhile."""
        tunnel.last_saved, tunnel.has_news = tunnel.seen(self._wall_clock()), False
        try:
            await self._nodes.touch(
                tunnel.identity.agent_id,
                tunnel.word,
                last_seen=tunnel.last_seen,
                address=tunnel.address,
            )
        except NotFound:
            pass

    def leaving(self, node: NodeRecord) -> None:
        """An agent is about to stop on purpose; its tunnel will go in a moment."""
        self._log.info("{node} says goodbye", node=node.name)
