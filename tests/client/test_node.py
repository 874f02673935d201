"""Tests of connections to nodes: names, signs of life, and why they end."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import places
from mezite.client.error import DamagedProfile
from mezite.client.node import (
    ALIVE_SECONDS,
    UNHEARD,
    NodeConnection,
    NodeTransport,
    Patience,
    dial_node,
    parse_node,
)
from mezite.error import TimedOut, Unavailable
from mezite.names import AgentId, InvalidName, LoginName, NodeName
from mezite.ssh.client import HostTrust
from mezite.ssh.error import PeerDisconnected
from mezite.wire.error import TlsBroken
from tests.doubles.logins import Cluster
from tests.ssh import pair
from tests.ssh.pair import Pair


def trusting() -> HostTrust:
    """Nobody is trusted, since nobody gets so far."""
    return HostTrust([], [], lambda: 0.0)


class ParseNodeTests(SynchronousTestCase):
    def test_spellings(self) -> None:
        """A node is named by its host name, that and the hub's, or its agent id."""
        for text in ("db1", "DB1", "db1.hub.example.com", " db1. "):
            self.assertEqual(parse_node(text, "hub.example.com"), NodeName("db1"))
        agent_id = AgentId.new()
        for text in (agent_id.text, f"{agent_id}.hub.example.com"):
            self.assertEqual(parse_node(text, "hub.example.com"), agent_id)

    def test_refused(self) -> None:
        """What cannot be a node's name is refused before anything is dialed."""
        for text in ("", "a b", "-x", "a" * 300, "db1/.."):
            self.assertRaises(InvalidName, parse_node, text, "hub.example.com")


class NodeTransportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(pair, "ClientTransport", NodeTransport)
        self.pair = Pair().connect()
        self.node_connection = NodeConnection(self.pair.client, self.pair.connection)
        self.ended: list[Exception] = []
        self.pair.client.ended().addCallback(self.ended.append)

    def test_signs_of_life(self) -> None:
        """A node that answers is never given up, however long nothing else happens."""
        for _ in range(20):
            self.pair.clock.advance(ALIVE_SECONDS)
            self.pair.pump.flush()
        self.assertEqual(self.ended, [])

    def test_silence(self) -> None:
        """A node from which nothing comes is given up, with a sentence."""
        for _ in range(UNHEARD + 1):
            self.pair.clock.advance(ALIVE_SECONDS)
        self.pair.clock.advance(60)
        self.pair.pump.flush()
        (error,) = self.ended
        self.assertIsInstance(error, TimedOut)
        self.assertEqual(str(error), "nothing was heard from the node for 45 s")
        self.assertIs(self.node_connection.lost_because(), error)

    def test_no_questions(self) -> None:
        """Whoever wants no questions asked is never told that the node is gone."""
        self.patch(NodeTransport, "patience", Patience(alive_seconds=None))
        quiet = Pair().connect()
        ended: list[Exception] = []
        quiet.client.ended().addCallback(ended.append)
        quiet.clock.advance(10 * ALIVE_SECONDS)
        self.assertEqual(ended, [])

    def test_no_timers_left(self) -> None:
        """A connection that has ended asks no more."""
        self.node_connection.close()
        self.pair.pump.flush()
        self.assertEqual(len(self.ended), 1)
        self.assertEqual(self.pair.clock.getDelayedCalls(), [])

    def test_what_tls_said(self) -> None:
        """A certificate that the hub refuses after the handshake is what is told."""
        client: Any = NodeTransport(trusting(), *[None] * 4)  # type: ignore[arg-type]
        client._clock = self.pair.clock
        client.makeConnection(self.pair.client_io.__class__(client, isServer=False))
        failed = client.authenticated()
        client.connectionLost(Failure(TlsBroken("certificate revoked")))
        self.failureResultOf(failed, TlsBroken)

    def test_what_the_hub_said(self) -> None:
        """A sentence of the hub's comes first."""
        client: Any = NodeTransport(trusting(), *[None] * 4)  # type: ignore[arg-type]
        client._clock = self.pair.clock
        client.makeConnection(self.pair.client_io.__class__(client, isServer=False))
        failed = client.authenticated()
        from mezite.ssh.refusal import refusal

        client.dataReceived(refusal("db9 is not connected"))
        client.connectionLost(Failure(TlsBroken("ended")))
        failure = self.failureResultOf(failed, PeerDisconnected)
        self.assertEqual(str(failure.value), "db9 is not connected")


class DialNodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.profile = Cluster(time.time()).log_in(Path(self.mktemp()), "127.0.0.1:3080")
        self.reactor: Any = MemoryReactorClock()

    def dial(self) -> Deferred[NodeConnection]:
        return Deferred.fromCoroutine(
            dial_node(self.reactor, self.profile, NodeName("db1"), LoginName("root"))
        )

    def test_deadline(self) -> None:
        """A hub that does not answer is given up."""
        dialing = self.dial()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 3080))
        self.reactor.advance(5)
        self.assertNoResult(dialing)
        self.reactor.advance(5)
        failure = self.failureResultOf(dialing, Unavailable)
        self.assertEqual(str(failure.value), "the hub at 127.0.0.1:3080 did not answer within 10 s")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """A hub that is not there is one sentence, as from every other command."""
        dialing = self.dial()
        factory = self.reactor.tcpClients[0][2]
        connector = self.reactor.connectors[0]
        error = ConnectionRefusedError()
        error.osError = errno.ECONNREFUSED
        factory.clientConnectionFailed(connector, Failure(error))
        self.reactor.advance(1)
        failure = self.failureResultOf(dialing, Unavailable)
        self.assertEqual(
            str(failure.value), "the hub at 127.0.0.1:3080 cannot be reached: connection refused"
        )

    def test_damaged_files(self) -> None:
        """Files that make no sense are one sentence, before anything is dialed."""
        for name in (
            places.SSH_KEY,
            places.SSH_CERTIFICATE,
            places.TLS_KEY,
            places.TLS_CERTIFICATE,
            places.CLUSTER_CA,
            places.KNOWN_HOSTS,
        ):
            path = self.profile.path(name)
            whole = path.read_bytes()
            for content in (b"@cert-authority * ssh-ed25519 AAAA\n", b"\xff\xfe"):
                if name == places.KNOWN_HOSTS and content == b"\xff\xfe":
                    continue  # a line that is no authority is left out
                path.write_bytes(content)
                self.failureResultOf(self.dial(), DamagedProfile)
            path.write_bytes(whole)
        self.assertEqual(self.reactor.tcpClients, [])
