from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.test.iosim import IOPump
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.jumphost import jump_host
from mezite.ssh.error import ChannelRefused
from tests.ssh.pair import NOW, USER_CA, HearingChannel, Pair, PressedTransport, user_key


class Opener:
    """Opens no sessions: no test comes as far."""


class JumpPair(Pair):
    """A client that comes to a jump host from 192.0.2.7."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.let_in: list[Any] = []
        opener: Any = Opener()
        self.factory = jump_host(
            host_key=self.host,
            user_authorities=lambda: [USER_CA.public_blob],
            hub_names=["hub"],
            opener=opener,
            clock=self.clock,
            wall_clock=lambda: NOW,
            let_in=self.let_in.append,
        )
        self.server = self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 4711))
        self.server_io = PressedTransport(self.server, isServer=True)
        self.pump = IOPump(
            self.client, self.server, self.client_io, self.server_io, False, self.clock
        )


def come_in(**options: bytes) -> JumpPair:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    pair = JumpPair(key=user_key(critical_options=named))
    pair.connect()
    return pair


class JumpHostTests(SynchronousTestCase):
    """Who may come in at the jump host, by their certificate alone."""

    def test_source_address(self) -> None:
        """A certificate bound to addresses is good from there, and from nowhere else."""
        pair = come_in(source_address=b"192.0.2.0/24")
        self.successResultOf(pair.client.authenticated())
        refused = self.failureResultOf(
            come_in(source_address=b"198.51.100.0/24").client.authenticated()
        )
        self.assertIn("not good from where you are", str(refused.value))

    def test_known(self) -> None:
        """A connection is told of once its person is in, and not before."""
        pair = come_in()
        self.successResultOf(pair.client.authenticated())
        self.assertEqual(pair.let_in, [pair.server.transport])
        self.assertEqual(come_in(source_address=b"198.51.100.0/24").let_in, [])

    def test_forced_command(self) -> None:
        """A forced command is the node's matter: here nothing runs at all."""
        pair = come_in(force_command=b"/usr/bin/backup")
        self.successResultOf(pair.client.authenticated())
        [refusal] = pair.open(HearingChannel()).happened
        assert isinstance(refusal, ChannelRefused)
        self.assertIn("jump host", str(refusal))

    def test_unknown_option(self) -> None:
        """What else restricts a certificate is not understood here."""
        refused = self.failureResultOf(come_in(x=b"y").client.authenticated())
        self.assertIn("restriction", str(refused.value))
