"""
Agents that are asked to report.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.reports import Reports
from mezite.mux.error import MuxClosed
from mezite.rpc.streamheader import StreamHeaderReader


@define(eq=False)
class Stream:
    written: bytes = b""
    protocol: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def attach(self, protocol: Any) -> None:
        self.protocol = protocol


@define(eq=False)
class Tunnel:
    """Opens streams, unless it is down; it is its own mux."""

    is_down: bool = False
    streams: list[Stream] = field(factory=list)

    @property
    def mux(self) -> Any:
        return self

    def open_stream(self) -> Stream:
        if self.is_down:
            raise MuxClosed("the tunnel is down")
        self.streams.append(Stream())
        return self.streams[-1]


class ReportsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tunnels = [Tunnel() for _ in range(200)]
        registry: Any = self.tunnels
        self.reports = Reports(registry, self.clock, uniform=lambda low, high: high)

    def test_asked(self) -> None:
        """Each agent is asked once, over as long as their number needs."""
        self.reports.ask()
        self.clock.advance(1.9)
        self.assertEqual(self.tunnels[0].streams, [])
        self.clock.advance(0.2)
        for tunnel in self.tunnels:
            (stream,) = tunnel.streams
            complete = StreamHeaderReader().receive(stream.written)
            assert complete is not None
            self.assertEqual((complete[0].service, complete[1]), ("report", b""))
            self.assertIsNotNone(stream.protocol)

    def test_asked_anew(self) -> None:
        """Whoever is still to be asked is asked once for both."""
        self.reports.ask()
        self.clock.advance(1)
        self.reports.ask()
        self.clock.advance(3)
        self.assertEqual({len(tunnel.streams) for tunnel in self.tunnels}, {1})

    def test_gone(self) -> None:
        """A tunnel that went meanwhile is passed over."""
        self.tunnels[0].is_down = True
        self.reports.ask()
        self.clock.advance(3)
        self.assertEqual(len(self.tunnels[1].streams), 1)

    def test_stopped(self) -> None:
        """A hub that stops asks nobody."""
        self.reports.ask()
        self.reports.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
