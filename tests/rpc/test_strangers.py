"""Tests of what callers may cost who have proved nothing."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
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
            limits=GrpcLimits(strangers_at_one_address=2),
        )

    def connect(self, host: str = "192.0.2.7") -> tuple[Any, bool]:
        """A connection, and whether it is let in."""
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        transport = StringTransport(peerAddress=IPv4Address("TCP", host, 1))
        protocol.makeConnection(transport)
        return protocol, not transport.disconnected and not transport.disconnecting

    def test_room_of_one_address(self) -> None:
        """One address has so many connections, and another its own; who goes makes room."""
        first, _ = self.connect()
        self.connect()
        rejected, is_in = self.connect()
        self.assertFalse(is_in)
        self.assertTrue(self.connect("192.0.2.8")[1])
        for protocol in (rejected, first):
            protocol.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.connect()[1])
        self.assertFalse(self.connect()[1])

    def test_nothing_is_left(self) -> None:
        """When they have gone, nothing is kept of them."""
        protocol, _ = self.connect()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.factory.strangers, {})
        self.assertEqual(self.factory.connections, set())

    def test_proved(self) -> None:
        """Who has a certificate, or the admin socket, is not counted and may send more."""
        for caller in (
            Caller(identity=ADA, is_local_admin=False, address="192.0.2.7:1"),
            Caller(identity=None, is_local_admin=True, address="unix:"),
        ):
            self.caller = caller
            found = [self.connect() for _ in range(5)]
            self.assertTrue(all(is_in for _, is_in in found))
            self.assertEqual(found[0][0]._limits, self.factory.limits)
        self.assertEqual(self.factory.strangers, {})

    def test_smaller(self) -> None:
        """A stranger's messages are smaller, and never larger than was configured."""
        protocol, _ = self.connect()
        limits = protocol._limits
        self.assertLess(limits.request_bytes, self.factory.limits.request_bytes)
        self.assertLess(limits.pending_request_bytes, self.factory.limits.pending_request_bytes)
        tiny = GrpcLimits(request_bytes=10, pending_request_bytes=20).for_strangers()
        self.assertEqual((tiny.request_bytes, tiny.pending_request_bytes), (10, 20))
