"""
Connections whose peer has shown no certificate, and how many there may be.

:class:`Strangers` knows each from the end of its handshake until it ends, or
until somebody inside is believed: then it counts for that user, who may have as
many as an address. It owns the bounds and ends connections above them; who is
believed is for :mod:`mezite.hub.callers` and the jump host to say.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import define, field
from twisted.logger import Logger

from mezite.names import network_of

# A connection of HTTP/2 that says nothing takes about 100 KB: 100 MB at the most.
AT_ONCE: Final = 1024
# Of these, one address or network of IPv6, which may be a company's or a balancer's: browsers
# have a few, programs one for a second. A user who is known may have as many besides.
OF_ONE: Final = 256


class Strangers:
    """
    A new connection is always let in: the one that has been idle for longest makes room.

    It goes from those that the newcomer counts among, and above the bound of
    all from the address that has the most. So a crowd behind one address costs
    itself its pauses between requests, and others nothing.
    """

    _log = Logger()

    def __init__(self, *, at_once: int = AT_ONCE, of_one: int = OF_ONE) -> None:
        self._at_once = at_once
        self._of_one = of_one
        self._group_of: dict[Any, _Group] = {}
        self._networks: dict[str, _Group] = {}
        self._users: dict[str, _Group] = {}
        self.count = 0
        self.dropped = 0

    def admit(self, transport: Any) -> None:
        """A connection has finished its handshake, and proved nothing."""
        network = network_of(str(getattr(transport.getPeer(), "host", "")))
        self._join(transport, self._networks, network)
        self.count += 1
        if self.count > self._at_once:
            self._drop_from(max(self._networks.values(), key=lambda group: len(group.idle)))

    def active(self, transport: Any) -> None:
        """A request has come: of those that it counts among, this was idle for the least time."""
        group = self._group_of.get(transport)
        if group is not None:
            del group.idle[transport]
            group.idle[transport] = None

    def recognize(self, transport: Any, user: str) -> None:
        """A request has proved to be this user's."""
        if transport in self._group_of:
            self.release(transport)
            self._join(transport, self._users, user)

    def release(self, transport: Any) -> None:
        """The connection is over, or is counted somewhere else from now on."""
        group = self._group_of.pop(transport, None)
        if group is None:
            return
        del group.idle[transport]
        if group.among is self._networks:
            self.count -= 1
        if not group.idle:
            del group.among[group.name]

    def _join(self, transport: Any, among: dict[str, _Group], name: str) -> None:
        group = among.setdefault(name, _Group(name, among))
        group.idle[transport] = None
        self._group_of[transport] = group
        if len(group.idle) > self._of_one:
            self._drop_from(group)

    def _drop_from(self, group: _Group) -> None:
        longest = next(iter(group.idle))
        self.release(longest)
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:
            # Said at 1, 2, 4, 8, …: whoever floods the port does not flood the log.
            self._log.warn(
                "{dropped} idle connections dropped so far: {name} has too many",
                dropped=self.dropped,
                name=group.name,
            )
        longest.abortConnection()


@define(eq=False)
class _Group:
    """The connections of one network or user, and the table that the group stands in."""

    name: str
    among: dict[str, _Group]
    # The one that has been idle for longest comes first.
    idle: dict[Any, None] = field(init=False, factory=dict)
