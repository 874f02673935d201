"""Tests of what listens here and leads to the node."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.error import ForwardFailed
from mezite.client.forwardedconnections import ForwardedConnections
from mezite.client.forwardspec import parse_dynamic, parse_local
from mezite.client.incoming import SOCKS_SECONDS
from mezite.client.localforward import CONNECTIONS, LocalForwarding
from mezite.ssh.channel import WINDOW
from mezite.ssh.fields import string, uint32
from tests.doubles.forwardingnode import ForwardingNode, ForwardingPair, LocalSocket, accepted

DONE = Failure(connectionDone.value)


class LocalForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pair = ForwardingPair()
        self.table = ForwardedConnections()
        self.forwarding = LocalForwarding(self.reactor, self.pair.connection, self.table)

    def accept(self, text: str = "8080:db:5432") -> tuple[Any, LocalSocket]:
        self.forwarding.listen(parse_local(text))
        protocol, transport = accepted(self.reactor.tcpServers[0][1])
        self.pair.pump.flush()
        return protocol, transport

    def dynamic(self) -> tuple[Any, LocalSocket]:
        self.forwarding.listen(parse_dynamic("1080"))
        return accepted(self.reactor.tcpServers[0][1])

    def hear(self, protocol: Any, data: bytes) -> None:
        protocol.dataReceived(data)
        self.pair.pump.flush()

    def test_where_it_listens(self) -> None:
        """On both loopbacks unless another address is named, and on all for an empty one."""
        for text, interfaces in (
            ("8080:db:5432", ["127.0.0.1", "::1"]),
            (":8080:db:5432", ["0.0.0.0", "::"]),
            ("10.0.0.1:8080:db:5432", ["10.0.0.1"]),
        ):
            self.reactor.tcpServers.clear()
            self.forwarding.listen(parse_local(text))
            self.assertEqual([each[3] for each in self.reactor.tcpServers], interfaces)

    def test_socket(self) -> None:
        """A socket is listened on that nobody else may use."""
        self.forwarding.listen(parse_local("/tmp/here:/tmp/there"))
        (server,) = self.reactor.unixServers
        self.assertEqual((server[0], server[3]), ("/tmp/here", 0o600))
        accepted(server[1])
        self.pair.pump.flush()
        (channel,) = self.pair.node.made
        self.assertEqual(channel.kind, b"direct-streamlocal@openssh.com")
        self.assertEqual(channel.wish, string(b"/tmp/there") + string(b"") + uint32(0))

    def test_taken(self) -> None:
        """An address that cannot be had is a sentence; one of two loopbacks will do."""
        self.reactor.hasIPv6 = True
        listen = self.reactor.listenTCP
        refused = {"::1"}

        def listening(port: int, factory: Any, interface: str = "") -> Any:
            if interface in refused:
                cause = OSError(98, "Address already in use")
                raise CannotListenError(interface, port, cause)
            return listen(port, factory, interface=interface)

        self.patch(self.reactor, "listenTCP", listening)
        self.forwarding.listen(parse_local("8080:db:5432"))
        refused.add("127.0.0.1")
        with self.assertRaises(ForwardFailed) as caught:
            self.forwarding.listen(parse_local("8080:db:5432"))
        self.assertEqual(
            str(caught.exception), "nothing can listen on localhost:8080: address already in use"
        )

    def test_both_ways(self) -> None:
        """What a program says reaches the node, and the answer the program."""
        protocol, transport = self.accept()
        (channel,) = self.pair.node.made
        self.assertTrue(channel.wish.startswith(string(b"db") + uint32(5432)))
        self.assertEqual(self.table.descriptions(), ["localhost:8080 to db:5432"])
        self.hear(protocol, b"select 1")
        self.assertEqual(transport.value(), b"select 1")

    def test_nothing_read_before(self) -> None:
        """Until the node has connected, nothing is read."""
        self.forwarding.listen(parse_local("8080:db:5432"))
        _, transport = accepted(self.reactor.tcpServers[0][1])
        self.assertFalse(transport.is_reading)
        self.pair.pump.flush()
        self.assertTrue(transport.is_reading)

    def test_half_close(self) -> None:
        """The end of what a program says is passed on, and the answer still comes."""
        protocol, transport = self.accept()
        (channel,) = self.pair.node.made
        channel.eofReceived = lambda: channel.write(b"the rest")
        protocol.readConnectionLost()
        self.pair.pump.flush()
        self.assertEqual(transport.value(), b"the rest")
        channel.loseWriteConnection()
        self.pair.pump.flush()
        self.assertTrue(transport.is_half_closed)
        protocol.writeConnectionLost()
        self.assertTrue(transport.disconnecting)

    def test_gone(self) -> None:
        """A program that goes takes its channel along, and nothing is left."""
        protocol, _ = self.accept()
        left = self.table.none_left()
        self.assertNoResult(left)
        protocol.connectionLost(DONE)
        self.pair.pump.flush()
        self.successResultOf(left)
        self.assertTrue(self.pair.node.made[0].is_gone)
        self.assertEqual(self.forwarding.count, 0)

    def test_node_refuses(self) -> None:
        """A destination that the node does not reach ends the connection."""
        self.patch(ForwardingNode, "refuses", True)
        _, transport = self.accept()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.table.descriptions(), [])

    def test_slow_node(self) -> None:
        """While the node takes nothing, nothing is read from the program."""
        protocol, transport = self.accept()
        self.pair.node.made[0].pauseProducing()
        heard = 0
        while transport.is_reading and heard < 2 * WINDOW:
            self.hear(protocol, bytes(65536))
            heard += 65536
        self.assertLess(heard, 2 * WINDOW)
        self.pair.node.made[0].resumeProducing()
        self.pair.pump.flush()
        self.assertTrue(transport.is_reading)
        self.assertEqual(sum(map(len, self.pair.node.made[0].heard)), heard)

    def test_connection_lost(self) -> None:
        """When the SSH connection ends, so does what it carried."""
        _, transport = self.accept()
        self.pair.client_io.abortConnection()
        self.pair.pump.flush()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.table.descriptions(), [])

    def test_too_many(self) -> None:
        """More connections than can be served are not accepted."""
        self.forwarding.listen(parse_local("8080:db:5432"))
        self.forwarding.count = CONNECTIONS
        self.assertIsNone(self.reactor.tcpServers[0][1].buildProtocol(None))

    def test_umask(self) -> None:
        """The process creates files as before."""
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        self.forwarding.listen(parse_local("/tmp/here:/tmp/there"))
        self.assertEqual(os.umask(0o022), 0o022)

    def test_socks(self) -> None:
        """A program says by SOCKS where it wants to, and is told when it is there."""
        protocol, transport = self.dynamic()
        self.hear(protocol, b"\5\1\0")
        self.assertEqual(transport.value(), b"\5\0")
        transport.clear()
        self.hear(protocol, b"\5\1\0\3\2db\x15\x38early")
        (channel,) = self.pair.node.made
        self.assertTrue(channel.wish.startswith(string(b"db") + uint32(5432)))
        self.assertEqual(transport.value(), b"\5\0\0\1" + bytes(6) + b"early")
        self.hear(protocol, b"late")
        self.assertTrue(transport.value().endswith(b"earlylate"))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_socks_refused(self) -> None:
        """A program is told when the node does not reach it, or when it asks for nonsense."""
        self.patch(ForwardingNode, "refuses", True)
        protocol, transport = self.dynamic()
        self.hear(protocol, b"\4\1\x15\x38\1\2\3\4\0")
        self.assertEqual(transport.value(), b"\0\x5b" + bytes(6))
        self.assertTrue(transport.disconnecting)
        protocol, transport = self.dynamic()
        self.hear(protocol, b"GET / HTTP/1.1\r\n")
        self.assertTrue(transport.disconnecting)

    def test_socks_silence(self) -> None:
        """A program that asks for nothing is sent away; one that gave up is forgotten."""
        _, transport = self.dynamic()
        self.reactor.advance(SOCKS_SECONDS)
        self.assertTrue(transport.disconnecting)
        protocol, transport = self.dynamic()
        protocol.readConnectionLost()
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost(DONE)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
