"""Tests of what callers may cost who have proved nothing."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.x509 import UserIdentity
from mezite.names import ClusterName, UserName
from mezite.rpc.calls import Caller
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.server import GrpcServerFactory

ADA = UserIdentity(ClusterName("demo"), UserName("ada"))


class StrangerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.caller = Caller(identity=None, is_local_admin=False, address="192.0.2.7:1")
        self.factory = GrpcServerFactory(
            {},
            caller_of=lambda _: self.caller,
            clock=Clock(),
        )

    def connect(self) -> Any:
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(StringTransport())
        return protocol

    def test_proved(self) -> None:
        """Who has a certificate, or the admin socket, may send more."""
        for caller in (
            Caller(identity=ADA, is_local_admin=False, address="192.0.2.7:1"),
            Caller(identity=None, is_local_admin=True, address="unix:"),
        ):
            self.caller = caller
            self.assertEqual(self.connect()._limits, self.factory.limits)

    def test_smaller(self) -> None:
        """A stranger's messages are smaller, and never larger than was configured."""
        limits = self.connect()._limits
        self.assertLess(limits.request_bytes, self.factory.limits.request_bytes)
        self.assertLess(limits.pending_request_bytes, self.factory.limits.pending_request_bytes)
        tiny = GrpcLimits(request_bytes=10, pending_request_bytes=20).for_strangers()
        self.assertEqual((tiny.request_bytes, tiny.pending_request_bytes), (10, 20))
