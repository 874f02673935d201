"""
What the hub counts, in the form that Prometheus reads.

The numbers carry no names of people or nodes, since ``/metrics`` is open to
everybody who reaches the port.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mezite import __version__
from mezite.hub.auditkeeping import AuditKeeping
from mezite.hub.router import Router
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.workers.control import Workers


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

        self.webhooks = Counter(
            "mezite_webhooks",
            "Changes of access requests that webhooks were told, by outcome of the try.",
            ["outcome"],
            registry=self.registry,
        )

    def watch_copies(self, keeping: AuditKeeping) -> None:
        """Show how the copies of the audit are, too."""
        self.registry.register(_Copies(keeping))

    def watch(self, router: Router, workers: Workers) -> None:
        """Show what this router counts and those of the workers, too."""
        self.registry.register(_Connections(router, workers))


@frozen(eq=False)
class _Copies(Collector):
    """How the audit's copies are, read when somebody asks."""

    _keeping: AuditKeeping

    def collect(self) -> Iterator[Metric]:
        behind = GaugeMetricFamily(
            "mezite_audit_copy_behind", "Events that a copy of the audit lacks.", labels=["copy"]
        )
        failing = GaugeMetricFamily(
            "mezite_audit_copy_failing", "Whether a copy of the audit is down.", labels=["copy"]
        )
        for status in self._keeping.statuses():
            behind.add_metric([status.name], status.behind)
            failing.add_metric([status.name], 1 if status.error else 0)
        yield behind
        yield failing


@frozen(eq=False)
class _Connections(Collector):
    """The routers' own counters, read when somebody asks."""

    _router: Router
    _workers: Workers

    def collect(self) -> Iterator[Metric]:
        routed = CounterMetricFamily(
            "mezite_connections",
            "Connections that finished the TLS handshake, by where they were routed.",
            labels=["route"],
        )
        for route, count in self._router.routed.items():
            routed.add_metric([route.value], count)
        yield routed
        elsewhere = self._workers.counted()
        yield GaugeMetricFamily(
            "mezite_handshakes",
            "Unfinished TLS handshakes.",
            self._router.handshakes + elsewhere.handshakes,
        )
        yield CounterMetricFamily(
            "mezite_handshakes_failed",
            "TLS handshakes that failed.",
            self._router.handshakes_failed + elsewhere.failed,
        )
        yield CounterMetricFamily(
            "mezite_handshakes_refused",
            "Connections refused because too many handshakes were unfinished.",
            self._router.handshakes_refused + elsewhere.refused,
        )
        yield GaugeMetricFamily(
            "mezite_strangers",
            "Connections whose peer has shown no certificate and is not logged in.",
            self._router.strangers.count,
        )
        yield CounterMetricFamily(
            "mezite_strangers_dropped",
            "Connections without a certificate that were dropped to make room for newer ones.",
            self._router.strangers.dropped,
        )
