from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.ssh.pair import Pair


class ClientTests(SynchronousTestCase):
    """A client that knows the node by a certificate and logs in with one."""

    def test_logs_in(self) -> None:
        """The right node and the right person come to a connection."""
        pair = Pair().connect()
        self.successResultOf(pair.client.authenticated())
        [avatar] = pair.certificates.avatars
        self.assertEqual(str(avatar.certificate.user), "ada")
        self.assertFalse(avatar.is_out)

    def test_echo(self) -> None:
        """Data goes both ways, and both ways end."""
        pair = Pair().connect()
        channel = pair.open()
        channel.write(b"hello")
        channel.loseWriteConnection()
        pair.pump.flush()
        self.assertEqual(bytes(channel.heard), b"hello")
        self.assertEqual(channel.happened, ["open", "eof", "closed"])

    def test_a_lot(self) -> None:
        """More than a window arrives whole."""
        pair = Pair().connect()
        channel = pair.open()
        sent = bytes(range(256)) * 4096 * 5
        for at in range(0, len(sent), 100_000):
            channel.write(sent[at : at + 100_000])
            pair.pump.flush()
        self.assertEqual(bytes(channel.heard), sent)
