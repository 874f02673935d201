"""Tests that calls go over a plain connection and over a tunnel's stream alike."""

from __future__ import annotations

from twisted.internet.protocol import Protocol
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.grpccalls import GrpcCallsContract
from tests.mux.pair import Pair


class PlainConnectionTests(GrpcCallsContract, SynchronousTestCase):
    """Over a connection in memory."""

    def connect(self) -> None:
        _, _, self.pump = connectedServerAndClient(
            lambda: self.factory.buildProtocol(None), lambda: self.channel
        )

    def flush(self) -> None:
        self.pump.flush()


class TunnelStreamTests(GrpcCallsContract, SynchronousTestCase):
    """Over a stream that the agent opened in its tunnel."""

    def connect(self) -> None:
        def accepted() -> Protocol:
            protocol = self.factory.buildProtocol(None)
            assert protocol is not None
            return protocol

        self.pair = Pair(hub_accepts=accepted)
        self.pair.flush()
        self.pair.agent.open_stream().attach(self.channel)

    def flush(self) -> None:
        self.pair.flush()

    def test_tunnel_lost(self) -> None:
        """A tunnel that goes takes its channels with it."""
        self.pair.agent.abort()
        self.flush()
        self.assertFalse(self.channel.is_open)
        self.successResultOf(self.channel.on_closed())
