"""
Which forwarded connections one SSH connection carries.

How a channel and a local connection are joined is :mod:`mezite.ssh.joined`'s; who
opened which of them, :mod:`mezite.client.localforward` and
:mod:`mezite.client.incoming` know.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from mezite.ssh.channel import FlowChannel
from mezite.ssh.joined import JoinedChannel


class ForwardedConnections:
    """The channels of one SSH connection that carry forwarded connections."""

    def __init__(self) -> None:
        self._open: dict[FlowChannel, str] = {}
        self._waiting: list[Deferred[None]] = []

    def add(self, channel: FlowChannel, description: str) -> None:
        self._open[channel] = description

    def remove(self, channel: FlowChannel) -> None:
        self._open.pop(channel, None)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def descriptions(self) -> list[str]:
        """One line about each, the oldest first."""
        return list(self._open.values())

    def none_left(self) -> Deferred[None]:
        """Fires once there is none."""
        waiter: Deferred[None] = Deferred()
        if self._open:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter


class ForwardedChannel(JoinedChannel):
    """One of them, until it is closed."""

    def __init__(self, table: ForwardedConnections) -> None:
        super().__init__()
        self._table = table

    def closed(self) -> None:
        self._table.remove(self)
        super().closed()
