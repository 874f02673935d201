"""
Asking agents to report.

Agents tell the hub what is new of them, and seldom anything else. What is new at the hub
they hear with its answers, so that they are asked to call when that cannot wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol

from mezite.error import MeziteError
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode

SERVICE: Final = "report"
# An answered call takes some 2 ms of a core: a fifth of it, while all are asked.
_REPORTS_PER_SECOND: Final = 100


@define(eq=False)
class Reports:
    """Asks every agent that is connected, over as long a time as their number needs."""

    registry: TunnelRegistry
    clock: IReactorTime
    uniform: Callable[[float, float], float] = random.uniform
    _waiting: dict[Tunnel, IDelayedCall] = field(init=False, factory=dict, repr=False)

    def ask(self) -> None:
        """Let every agent say how it is, and hear how the hub is; those being asked, anew."""
        self.stop()
        spread = len(self.registry) / _REPORTS_PER_SECOND
        for tunnel in self.registry:
            wait = self.uniform(0, spread)
            self._waiting[tunnel] = self.clock.callLater(wait, self._ask, tunnel)

    def stop(self) -> None:
        """Ask nobody any more."""
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            call.cancel()

    def _ask(self, tunnel: Tunnel) -> None:
        del self._waiting[tunnel]
        try:
            stream = tunnel.mux.open_stream()
        except MeziteError:
            return  # it is going, or full; an agent that comes registers
        stream.write(encode(StreamHeader(service=SERVICE)))
        # The agent ends the stream; one that does not know the service resets it, and
        # calls every minute.
        stream.attach(Protocol())
