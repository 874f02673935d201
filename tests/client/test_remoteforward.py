"""Tests of what listens on the node and leads here."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.error import ForwardFailed
from mezite.client.forwardedconnections import ForwardedConnections
from mezite.client.forwardspec import parse_remote
from mezite.client.incoming import SOCKS_SECONDS
from mezite.client.remoteforward import ANSWER_SECONDS, RemoteForwarding, lend_agent
from mezite.ssh.error import ChannelRefused
from mezite.ssh.fields import string, uint32
from tests.doubles.forwardingnode import ForwardingNode, ForwardingPair, connected
from tests.ssh.pair import HearingChannel


def from_port(port: int, host: bytes = b"localhost") -> bytes:
    """RFC 4254, section 7.2."""
    return string(host) + uint32(port) + string(b"10.0.0.9") + uint32(4711)


class RemoteForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pair = ForwardingPair()
        self.table = ForwardedConnections()
        self.forwarding = RemoteForwarding(self.reactor, self.pair.client_connection, self.table)

    def ask(self, text: str) -> Deferred[Any]:
        asked = Deferred.fromCoroutine(self.forwarding.request(parse_remote(text)))
        self.pair.pump.flush()
        return asked

    def arrives(self, data: bytes, kind: bytes = b"forwarded-tcpip") -> HearingChannel:
        return self.pair.opens(kind, data)

    def was_refused(self, channel: HearingChannel) -> None:
        (happened,) = channel.happened
        self.assertIsInstance(happened, ChannelRefused)

    def test_asking(self) -> None:
        """The node is asked for a port as RFC 4254 has it; an empty address means all."""
        for text, address in (
            ("8080:127.0.0.1:80", b"localhost"),
            ("*:8080:127.0.0.1:80", b""),
            ("10.0.0.1:8080:127.0.0.1:80", b"10.0.0.1"),
        ):
            self.successResultOf(self.ask(text))
            self.assertEqual(
                self.pair.node.asked[-1], (b"tcpip-forward", string(address) + uint32(8080))
            )

    def test_port_chosen(self) -> None:
        """The node chooses where it was asked to, and that is what is known."""
        self.patch(ForwardingNode, "listening_answer", uint32(40022))
        self.assertEqual(str(self.successResultOf(self.ask("0:127.0.0.1:80"))), "localhost:40022")
        self.arrives(from_port(40022))
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 80))

    def test_refused(self) -> None:
        """A node that does not listen, or does not answer, is a sentence."""
        self.patch(ForwardingNode, "listening_answer", None)
        failure = self.failureResultOf(self.ask("8080:127.0.0.1:80"), ForwardFailed)
        self.assertEqual(str(failure.value), "the node does not listen on localhost:8080")
        asked = Deferred.fromCoroutine(self.forwarding.request(parse_remote("1:127.0.0.1:80")))
        self.reactor.advance(ANSWER_SECONDS)
        self.failureResultOf(asked, ForwardFailed)

    def test_both_ways(self) -> None:
        """A connection on the node reaches what it was meant for, and is answered."""
        self.successResultOf(self.ask("8080:127.0.0.1:80"))
        channel = self.arrives(from_port(8080))
        self.assertEqual(channel.happened, [])
        protocol, transport = connected(self.reactor)
        self.pair.pump.flush()
        self.assertEqual(channel.happened, ["open"])
        self.assertEqual(self.table.descriptions(), ["localhost:8080 on the node to 127.0.0.1:80"])
        channel.write(b"GET /")
        self.pair.pump.flush()
        self.assertEqual(transport.value(), b"GET /")
        protocol.dataReceived(b"200")
        protocol.readConnectionLost()
        self.pair.pump.flush()
        self.assertEqual(bytes(channel.heard), b"200")
        channel.loseConnection()
        self.pair.pump.flush()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.table.descriptions(), [])

    def test_not_reached(self) -> None:
        """What is not there is not opened."""
        self.successResultOf(self.ask("8080:127.0.0.1:80"))
        channel = self.arrives(from_port(8080))
        factory, connector = self.reactor.tcpClients[0][2], self.reactor.connectors[0]
        factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
        self.reactor.advance(1)
        self.pair.pump.flush()
        self.was_refused(channel)
        self.assertEqual(self.table.descriptions(), [])

    def test_nobody_asked(self) -> None:
        """A node reaches nothing here but what was asked for."""
        kinds = (
            (b"forwarded-tcpip", from_port(8080)),
            (b"forwarded-streamlocal@openssh.com", string(b"/tmp/x") + string(b"")),
            (b"auth-agent@openssh.com", b""),
            (b"direct-tcpip", from_port(80)),
            (b"session", b""),
            (b"x11", b""),
        )
        for kind, data in kinds:
            self.was_refused(self.arrives(data, kind))
        self.successResultOf(self.ask("9090:127.0.0.1:80"))
        self.successResultOf(self.ask("/tmp/y:127.0.0.1:80"))
        for kind, data in kinds:
            self.was_refused(self.arrives(data, kind))
        self.assertEqual(self.reactor.tcpClients, [])

    def test_sockets(self) -> None:
        """A socket of the node leads to one here."""
        self.successResultOf(self.ask("/tmp/there:/tmp/here"))
        self.assertEqual(
            self.pair.node.asked[-1], (b"streamlocal-forward@openssh.com", string(b"/tmp/there"))
        )
        kind = b"forwarded-streamlocal@openssh.com"
        channel = self.arrives(string(b"/tmp/there") + string(b""), kind)
        self.assertEqual(self.reactor.unixClients[0][0], "/tmp/here")
        connected(self.reactor)
        self.pair.pump.flush()
        self.assertEqual(channel.happened, ["open"])

    def test_two_addresses(self) -> None:
        """One port on two addresses of the node may lead to two places."""
        self.successResultOf(self.ask("10.0.0.1:8080:127.0.0.1:1"))
        self.successResultOf(self.ask("10.0.0.2:8080:127.0.0.1:2"))
        for host, port in ((b"10.0.0.2", 2), (b"10.0.0.1", 1)):
            self.arrives(from_port(8080, host))
            self.assertEqual(self.reactor.tcpClients[-1][:2], ("127.0.0.1", port))

    def test_socks(self) -> None:
        """Without a destination the node's program says where it wants to."""
        self.successResultOf(self.ask("1080"))
        channel = self.arrives(from_port(1080))
        channel.write(b"\5\1\0")
        self.pair.pump.flush()
        channel.write(b"\5\1\0\1\x7f\0\0\1\0\x50early")
        self.pair.pump.flush()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 80))
        _, transport = connected(self.reactor)
        self.pair.pump.flush()
        self.assertEqual(bytes(channel.heard), b"\5\0\5\0\0\1" + bytes(6))
        self.assertEqual(transport.value(), b"early")

    def test_socks_failures(self) -> None:
        """Nonsense, silence and what is not there end the channel."""
        self.successResultOf(self.ask("1080"))
        nonsense, silent = self.arrives(from_port(1080)), self.arrives(from_port(1080))
        nonsense.write(b"GET / HTTP/1.1\r\n")
        self.reactor.advance(SOCKS_SECONDS)
        nowhere = self.arrives(from_port(1080))
        nowhere.write(b"\4\1\0\x50\x7f\0\0\1\0")
        self.pair.pump.flush()
        factory, connector = self.reactor.tcpClients[0][2], self.reactor.connectors[0]
        factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
        self.reactor.advance(1)
        self.pair.pump.flush()
        self.assertEqual(bytes(nowhere.heard), b"\0\x5b" + bytes(6))
        for channel in (nonsense, silent, nowhere):
            self.assertIn("closed", channel.happened)
        self.assertEqual(self.table.descriptions(), [])

    def test_given_up(self) -> None:
        """A connection that ends while we connect leaves nothing behind."""
        self.successResultOf(self.ask("1080"))
        channel = self.arrives(from_port(1080))
        channel.write(b"\4\1\0\x50\x7f\0\0\1\0")
        self.pair.pump.flush()
        self.pair.client_io.abortConnection()
        self.pair.pump.flush()
        self.assertEqual(self.table.descriptions(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_agent(self) -> None:
        """The ssh-agent is reached by its socket, once it was lent."""
        lend_agent(self.reactor, self.pair.client_connection, self.table, "/run/agent")
        channel = self.arrives(b"", b"auth-agent@openssh.com")
        self.assertEqual(self.reactor.unixClients[0][0], "/run/agent")
        connected(self.reactor)
        self.pair.pump.flush()
        self.assertEqual(channel.happened, ["open"])
