from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh import algorithms, clientkex
from mezite.ssh.error import SshProtocolError
from tests.ssh.pair import Pair


class ClientKexTests(SynchronousTestCase):
    """The client's half of each key exchange."""

    def test_each(self) -> None:
        """Each comes to the same keys as Conch's server."""
        for name in algorithms.KEY_EXCHANGES:
            pair = Pair()
            pair.client.supportedKeyExchanges = [name]
            pair.connect()
            self.successResultOf(pair.client.authenticated())
            self.assertEqual(pair.server.kexAlg, name)

    def test_best_first(self) -> None:
        """What withstands a quantum computer is preferred."""
        self.assertEqual(Pair().connect().client.kexAlg, b"mlkem768x25519-sha256")

    def test_impossible(self) -> None:
        """Answers that cannot be any are refused."""
        for name in algorithms.KEY_EXCHANGES:
            half = clientkex.begin(name)
            for answer in (b"", bytes(32), bytes(65), b"\4" + b"\xff" * 64, bytes(1088 + 32)):
                self.assertRaises(SshProtocolError, half.shared, answer)

    def test_integers(self) -> None:
        """A secret is hashed as an integer without leading zeros, and never negative."""
        self.assertEqual(clientkex._integer(b"\0\0\x7f"), b"\0\0\0\1\x7f")
        self.assertEqual(clientkex._integer(b"\x80"), b"\0\0\0\2\0\x80")
        self.assertEqual(clientkex._integer(b"\0"), b"\0\0\0\0")
