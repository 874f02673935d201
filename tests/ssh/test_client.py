from __future__ import annotations

from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import Denied, TimedOut
from mezite.names import LoginName
from mezite.ssh.client import SECONDS, UserKey
from mezite.ssh.error import (
    ConnectionEnded,
    HostNotVerified,
    LoginRefused,
    PeerDisconnected,
)
from mezite.ssh.hostkeys import HostKey, ReplaceableHostKey
from mezite.ssh.refusal import refusal
from tests.ssh.pair import NOW, FixedCertificates, Pair, host_key, user_key


def reason(pair: Pair) -> Any:
    """Why the client did not come in."""
    waiting = pair.client.authenticated()
    failure = waiting.result
    waiting.addErrback(lambda _: None)
    return failure.value


class ClientTests(SynchronousTestCase):
    """A client that knows the node by a certificate and logs in with one."""

    def test_logs_in(self) -> None:
        """The right node and the right person come to a connection."""
        pair = Pair().connect()
        self.successResultOf(pair.client.authenticated())
        [avatar] = pair.certificates.avatars
        self.assertEqual(str(avatar.certificate.user), "ada")
        self.assertEqual(pair.client.host.principals, {"db1"})
        self.assertFalse(avatar.is_out)

    def test_each_kind_of_key(self) -> None:
        """People may have Ed25519, ECDSA and RSA keys."""
        for key in (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 2048),
        ):
            self.successResultOf(Pair(key=user_key(key)).connect().client.authenticated())

    def test_another_node(self) -> None:
        """A node with another name is not talked to."""
        pair = Pair(principal="db2").connect()
        error = reason(pair)
        self.assertIsInstance(error, HostNotVerified)
        self.assertIn("db2", str(error))
        self.assertEqual(pair.certificates.avatars, [])
        self.assertTrue(pair.server.disconnecting)

    def test_expired_node(self) -> None:
        """A node whose certificate has ended is not talked to."""
        pair = Pair(host=ReplaceableHostKey(host_key(now=NOW - 7200))).connect()
        self.assertIsInstance(reason(pair), HostNotVerified)

    def test_node_without_certificate(self) -> None:
        """A node that has a plain key only comes to no keys."""
        pair = Pair(host=ReplaceableHostKey(HostKey(Ed25519PrivateKey.generate()))).connect()
        self.assertIsInstance(reason(pair), Exception)
        self.assertEqual(pair.certificates.avatars, [])

    def test_node_without_its_key(self) -> None:
        """A node that shows a certificate but has not its key is not talked to."""
        stolen = evolve(host_key(), key=Ed25519PrivateKey.generate())
        pair = Pair(host=ReplaceableHostKey(stolen)).connect()
        self.assertIn("signature", str(reason(pair)))

    def test_renewed_host_key(self) -> None:
        """A renewed host key is for new connections; one that stands keeps its own."""
        first = Pair().connect()
        old = first.client.host
        first.host.replace(host_key())
        first.client.sendKexInit()
        first.pump.flush()
        self.assertEqual(first.client.host, old)
        second = Pair(host=first.host).connect()
        self.successResultOf(second.client.authenticated())
        self.assertNotEqual(second.client.host, old)

    def test_expired_person(self) -> None:
        """The server says what is wrong with a certificate."""
        error = reason(Pair(key=user_key(now=NOW - 7200)).connect())
        self.assertIsInstance(error, LoginRefused)
        self.assertIn("expired", str(error))

    def test_another_login(self) -> None:
        """A certificate is good for its logins only."""
        error = reason(Pair(key=user_key(logins=(LoginName.parse("ada"),))).connect())
        self.assertIn("root", str(error))

    def test_without_its_key(self) -> None:
        """A certificate without its key opens nothing."""
        stolen = UserKey(Ed25519PrivateKey.generate(), user_key().certificate)
        pair = Pair(key=stolen).connect()
        self.assertIn("signature", str(reason(pair)))
        self.assertEqual(pair.certificates.avatars, [])

    def test_denied(self) -> None:
        """Who is denied is told why."""
        certificates = FixedCertificates(refuses=Denied("ada may not log in as root on db1"))
        error = reason(Pair(certificates=certificates).connect())
        self.assertIsInstance(error, PeerDisconnected)
        self.assertEqual(str(error), "ada may not log in as root on db1")

    def test_refusal(self) -> None:
        """A server that only refuses is heard."""
        pair = Pair()
        pair.client.makeConnection(pair.client_io)
        pair.client.dataReceived(refusal("db1 is not connected"))
        pair.client.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(str(reason(pair)), "db1 is not connected")

    def test_lost(self) -> None:
        """A connection that just ends is an error, and a person can read it."""
        pair = Pair()
        pair.client.makeConnection(pair.client_io)
        ended = pair.client.ended()
        pair.client.connectionLost(Failure(ConnectionDone()))
        self.assertIsInstance(reason(pair), ConnectionEnded)
        self.assertIsInstance(self.successResultOf(ended), ConnectionEnded)

    def test_slow(self) -> None:
        """A server that says nothing is not waited for longer than the deadline."""
        pair = Pair()
        pair.client.makeConnection(pair.client_io)
        waiting = pair.client.authenticated()
        pair.clock.advance(SECONDS)
        self.assertTrue(pair.client_io.disconnecting)
        pair.client.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(waiting, TimedOut)

    def test_close(self) -> None:
        """A client that says goodbye logs the person out."""
        pair = Pair().connect()
        ended = pair.client.ended()
        pair.client.close()
        pair.pump.flush()
        self.successResultOf(ended)
        self.assertTrue(pair.certificates.avatars[0].is_out)
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_valid_at(self) -> None:
        """A certificate of the future is refused."""
        error = reason(Pair(key=user_key(now=NOW + 4000)).connect())
        self.assertIn("not valid yet", str(error))
