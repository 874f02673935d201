"""Tests of what an operator is told about a failed dial."""

from __future__ import annotations

import errno
import os

from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    getConnectError,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.explanations import explain, was_refused
from mezite.error import TimedOut
from mezite.wire.error import (
    AlpnLost,
    HandshakeFailed,
    HubUnreachable,
    TlsBroken,
    why_unreachable,
)
from tests.doubles.agenthub import HUB, NOW, AgentHub


def unreachable(cause: Exception) -> HubUnreachable:
    error = HubUnreachable(HUB, str(cause))
    error.__cause__ = cause
    return error


class ExplainTests(SynchronousTestCase):
    def said(self, error: BaseException, now: float = NOW) -> str:
        sentence = explain(error, HUB, now)
        self.assertNotIn("\n", sentence)
        self.assertFalse(sentence.endswith("."))
        return sentence

    def test_refused(self) -> None:
        """Nobody listens."""
        error = unreachable(ConnectionRefusedError())
        self.assertIn("nothing listens at hub.example.com:443", self.said(error))
        self.assertTrue(was_refused(error))
        self.assertFalse(was_refused(unreachable(TCPTimedOutError())))

    def test_name(self) -> None:
        """The name does not resolve."""
        said = self.said(unreachable(DNSLookupError("no")))
        self.assertIn("hub.example.com cannot be resolved", said)

    def test_silence(self) -> None:
        """Nobody answers."""
        for error in (unreachable(TCPTimedOutError()), TimedOut("too long")):
            self.assertIn("does not answer", self.said(error))

    def test_no_way(self) -> None:
        """This machine, or a router, knows no way there; the system's words tell which."""
        for number, words in (
            (errno.EHOSTUNREACH, "no route to host"),
            (errno.ENETUNREACH, "network is unreachable"),
            (errno.ENETDOWN, "network is down"),
            (errno.EACCES, "permission denied"),
        ):
            cause = getConnectError(OSError(number, os.strerror(number)))
            self.assertEqual(
                self.said(unreachable(cause)),
                f"hub.example.com:443 cannot be reached ({words}): check the address, the network"
                " and firewalls on the way",
            )

    def test_broken_at_once(self) -> None:
        """The system gave up before it told why: Twisted has a failure in place of words."""
        for reason in (ConnectionDone(), ConnectionLost()):
            cause = ConnectError(string=Failure(reason))
            self.assertIn("cannot be reached (the connection", self.said(unreachable(cause)))
            self.assertEqual(why_unreachable(cause), "the connection broke as it was made")

    def test_alpn_lost(self) -> None:
        """A load balancer ends TLS."""
        self.assertIn("ALPN", self.said(AlpnLost(b"mezite-tunnel")))

    def test_wrong_authority(self) -> None:
        """The hub is another one."""
        for detail in (
            "the certificate is not from an authority that is trusted here",
            "this is cluster other, not demo",
        ):
            said = self.said(HandshakeFailed(detail))
            self.assertIn("not the one that this node trusts", said)

    def test_clock(self) -> None:
        """A certificate that is not valid now may be the clock's fault; the time is told."""
        for detail, whose in (
            ("the certificate has expired", "the hub's"),
            ("the certificate is not valid yet, or this machine's clock is wrong", "the hub's"),
            ("ssl/tls alert certificate expired", "this node's"),
        ):
            said = self.said(TlsBroken(detail))
            self.assertIn(f"{whose} certificate is not valid", said)
            self.assertIn("2027-01-15 08:00:00 UTC", said)

    def test_refused_certificate(self) -> None:
        """The hub does not take the node's certificate."""
        self.assertIn("does not accept", self.said(TlsBroken("tlsv1 alert unknown ca")))

    def test_expired_while_away(self) -> None:
        """A certificate that ended while the node was off: what to type on the hub."""
        membership = AgentHub().membership()
        error = TlsBroken("ssl/tls alert certificate expired")
        said = explain(error, HUB, membership.tls_expires + 1, membership)
        self.assertIn("mezctl nodes allow-rejoin db1", said)

    def test_portal(self) -> None:
        """A captive portal answers TLS with a page."""
        for detail in ("wrong version number", "http request", "packet length too long"):
            self.assertIn("somebody to log in", self.said(HandshakeFailed(detail)))
        self.assertIn("check the address", self.said(HandshakeFailed("bad extension")))

    def test_ended(self) -> None:
        """A tunnel that was up ended, cleanly or not."""
        self.assertIn("ended the connection", self.said(ConnectionDone()))
        self.assertIn("was lost", self.said(ConnectionLost("the peer hung up.")))

    def test_anything_else(self) -> None:
        """What nobody thought of is told as it is."""
        self.assertIn("odd", self.said(ValueError("odd")))
