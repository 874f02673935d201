"""
The node's membership as it is now, for all who use it.
"""

from __future__ import annotations

from attrs import define

from mezite.agent.membership import Membership, moved_to
from mezite.agent.state import StateDirectory
from mezite.names import HostPort
from mezite.ssh.hostkeys import ReplaceableHostKey


@define(eq=False)
class CurrentMembership:
    """The membership that new dials and new sessions use."""

    membership: Membership
    state: StateDirectory
    host_key: ReplaceableHostKey

    @classmethod
    def of(cls, membership: Membership, state: StateDirectory) -> CurrentMembership:
        return cls(membership, state, ReplaceableHostKey(membership.host_key))

    def turn_to(self, hub: HostPort) -> None:
        """This is where the hub is looked for now."""
        self.membership = moved_to(self.membership, hub)

    def replace(self, membership: Membership) -> None:
        """
        Use this one from now on, then write it down.

        :raises BrokenState: it is in use, and not written.
        """
        self.membership = membership
        self.host_key.replace(membership.host_key)
        self.state.save(membership)
