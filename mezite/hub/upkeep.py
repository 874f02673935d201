"""
What the hub forgets by itself: join tokens that expired, and nodes that stayed away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from mezite.audit.events import HUB
from mezite.auth.joining import JoinService
from mezite.error import NotFound
from mezite.hub.nodes import NodeDirectory, NodeStatus
from mezite.store.interfaces import IJoinTokens

# Of those that stayed away together, so many go at one time; the rest an hour later.
_AT_ONCE: Final = 500


@frozen
class NodeUpkeep:
    """
    Forgets nodes and tokens whose time is over.

    ``keep_offline`` is how long a node that is offline stays known, in seconds,
    or None for ever.
    """

    directory: NodeDirectory
    joining: JoinService
    join_tokens: IJoinTokens
    keep_offline: float | None
    wall_clock: Callable[[], float]

    _log = Logger()

    async def run(self) -> None:
        now = self.wall_clock()
        expired = await self.join_tokens.purge(now)
        if expired:
            self._log.info("{number} join tokens had expired", number=expired)
        if self.keep_offline is None:
            return
        for status in self._away(await self.directory.listing(), now - self.keep_offline):
            # It may have come back while others were removed.
            if self.directory.is_online(status.record.agent_id):
                continue
            try:
                await self.joining.remove_node(
                    status.record, by=HUB, reason=f"offline for {self.keep_offline / 86400:g} days"
                )
            except NotFound:
                continue  # somebody was faster

    def _away(self, statuses: list[NodeStatus], since: float) -> list[NodeStatus]:
        return [
            status
            for status in statuses
            if status.offline_since is not None and status.offline_since < since
        ][:_AT_ONCE]
