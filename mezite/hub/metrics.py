"""
What the hub counts, in the form that Prometheus reads.

The numbers carry no names of people or nodes, since ``/metrics`` is open to
everybody who reaches the port.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from mezite import __version__
from mezite.hub.tunnels import TunnelRegistry


class HubMetrics:
    """The hub's counters; ``registry`` is what ``/metrics`` shows."""

    def __init__(self, tunnels: TunnelRegistry) -> None:
        self.registry = CollectorRegistry()
        Gauge("mezite_info", "The version that runs.", ["version"], registry=self.registry).labels(
            __version__
        ).set(1)
        Gauge("mezite_tunnels", "Live tunnels.", registry=self.registry).set_function(
            lambda: len(tunnels)
        )
        Gauge(
            "mezite_streams", "Streams open on all tunnels.", registry=self.registry
        ).set_function(lambda: sum(tunnel.mux.stream_count for tunnel in tunnels))
        self.connections = Counter(
            "mezite_connections",
            "Connections that finished the TLS handshake, by where they were routed.",
            ["route"],
            registry=self.registry,
        )
        self.sessions = Counter(
            "mezite_sessions",
            "SSH connections that were to reach a node, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.relayed = Counter(
            "mezite_relayed_bytes",
            "Bytes relayed between users and nodes.",
            ["direction"],
            registry=self.registry,
        )
