"""
Which user authority each server without an agent was last seen to trust.

Nobody tells what is in the files of an sshd. That it lets in whoever shows a
certificate of an authority is what is known; after a restart of the hub, nothing is.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

from mezite.names import AgentId

# As many as a hub is made for, of some hundred octets each; those that were removed go last.
_LIMIT: Final = 10_000


@define(eq=False)
class SeenTrust:
    """One authority for each server, by its fingerprint: the one that signed last."""

    _seen: OrderedDict[AgentId, str] = field(init=False, factory=OrderedDict)

    def let_in(self, server: AgentId, fingerprint: str) -> None:
        """The server has let somebody in with a certificate of this authority."""
        self._seen[server] = fingerprint
        self._seen.move_to_end(server)
        while len(self._seen) > _LIMIT:
            self._seen.popitem(last=False)

    def is_seen(self, server: AgentId, fingerprint: str) -> bool:
        """Whether it was this authority, the last time that it let somebody in."""
        return self._seen.get(server) == fingerprint
