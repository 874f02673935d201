"""
Two ends of a tunnel in memory, and protocols that write down what happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import connectedServerAndClient
from zope.interface import implementer

from mezite.mux.frames import Role
from mezite.mux.limits import MuxLimits
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport


class Listener(Protocol):
    """A protocol that cannot be half-closed."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.lost: list[Failure] = []

    @property
    def text(self) -> bytes:
        return b"".join(self.heard)

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)
        # The stream forgets who was told.
        transport: Any = self.transport
        transport.listener = self


def listener(stream: Any) -> Any:
    """Who listens on a stream, or did until it was lost."""
    return stream.protocol or stream.listener


@implementer(IHalfCloseableProtocol)
class HalfListener(Listener):
    """A protocol that can."""

    def __init__(self) -> None:
        super().__init__()
        self.endings: list[str] = []

    def readConnectionLost(self) -> None:
        self.endings.append("read")

    def writeConnectionLost(self) -> None:
        self.endings.append("write")


class Ups:
    """What a tunnel's owner is told."""

    def __init__(self) -> None:
        self.offered: list[StreamTransport] = []
        self.ups = 0
        self.downs: list[Failure] = []

    def up(self) -> None:
        self.ups += 1


class Pair:
    """
    An agent's and a hub's end, connected.

    ``hub_accepts`` and ``agent_accepts`` build the protocol for a stream that
    the other end opens; without one, streams are only noted.
    """

    def __init__(
        self,
        *,
        hub_accepts: Callable[[], Protocol] | None = None,
        agent_accepts: Callable[[], Protocol] | None = None,
        hub_limits: MuxLimits | None = None,
        agent_limits: MuxLimits | None = None,
    ) -> None:
        self.clock = Clock()
        self.at_hub = Ups()
        self.at_agent = Ups()

        def end(
            role: Role, ups: Ups, build: Callable[[], Protocol] | None, limits: MuxLimits | None
        ) -> Callable[[], MuxProtocol]:
            def accept(stream: StreamTransport) -> None:
                ups.offered.append(stream)
                if build is not None:
                    stream.attach(build())

            return lambda: MuxProtocol(
                role=role,
                clock=self.clock,
                accept=accept,
                limits=limits,
                on_up=ups.up,
                on_down=ups.downs.append,
            )

        agent, hub, pump = connectedServerAndClient(
            end(Role.SERVER, self.at_hub, hub_accepts, hub_limits),
            end(Role.CLIENT, self.at_agent, agent_accepts, agent_limits),
            clock=self.clock,
        )
        self.agent: MuxProtocol = agent
        self.hub: MuxProtocol = hub
        self.pump: Any = pump

    def flush(self) -> None:
        """Pump until nothing moves, turns that are due included."""
        while True:
            moved = self.pump.flush()
            due = [
                call
                for call in self.clock.getDelayedCalls()
                if call.getTime() <= self.clock.seconds()
            ]
            if not moved and not due:
                break

    def stream(
        self, hub_protocol: Protocol | None = None
    ) -> tuple[StreamTransport, StreamTransport]:
        """A stream that the hub opened: its transport there, and at the agent."""
        at_hub = self.hub.open_stream()
        at_hub.attach(hub_protocol or Listener())
        self.flush()
        return at_hub, self.at_agent.offered[-1]
