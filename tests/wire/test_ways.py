"""
Which way is tried first, and what speaks for another.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.names import HostPort
from mezite.wire.error import AlpnLost, HandshakeFailed
from mezite.wire.ways import Ways, may_be_a_balancer

HUB = HostPort("hub.example.com", 443)


class WaysTests(SynchronousTestCase):
    def test_memory(self) -> None:
        """What worked is tried first, for an hour at most, and is forgotten when it is wrong."""
        ways = Ways()
        self.assertFalse(ways.begins_with_upgrade(HUB, 0.0))
        ways.upgraded(HUB, 0.0)
        self.assertTrue(ways.begins_with_upgrade(HUB, 1799.0))
        self.assertFalse(ways.begins_with_upgrade(HUB, 3600.0))
        self.assertFalse(ways.begins_with_upgrade(HostPort("hub.example.com", 444), 1.0))
        ways.direct(HUB)
        self.assertFalse(ways.begins_with_upgrade(HUB, 1.0))

    def test_bounded(self) -> None:
        """A process that dials many places does not remember all."""
        ways = Ways()
        for port in range(1, 2000):
            ways.upgraded(HostPort("hub", port), 0.0)
        self.assertLessEqual(len(ways._retest_at), 256)

    def test_signs(self) -> None:
        """A balancer is suspected for what balancers do, and for nothing else."""
        self.assertTrue(may_be_a_balancer(AlpnLost(b"mezite-ssh")))
        for detail, expected in (
            ("the certificate is not from an authority that is trusted here", True),
            ("tlsv1 alert no application protocol", True),
            ("tlsv1 alert protocol version", True),
            ("tlsv1 unrecognized name", True),
            ("wrong version number", False),
            ("the connection ended too early", False),
            ("this is cluster a, not b", False),
            ("the certificate has expired", False),
            ("tlsv13 alert certificate required", False),
        ):
            self.assertEqual(may_be_a_balancer(HandshakeFailed(detail)), expected, detail)
