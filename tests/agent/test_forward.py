from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, TimeoutError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.agent.forward import (
    ForwardedChannel,
    IDestinations,
    LocalForwardedChannel,
    NetworkDestinations,
)
from mezite.recording.events import Kind
from mezite.ssh.error import ChannelRefused
from mezite.ssh.fields import string, uint32
from tests.doubles.loginsockets import PlayedLoginSockets
from tests.doubles.ports import PlayedSocket
from tests.doubles.recordings import Disk, forward_record
from tests.ssh.pair import HearingChannel, Pair


@implementer(IDestinations)
@define(eq=False, slots=False)
class PlayedDestinations:
    """Connections that come about, or not, when the test says so."""

    asked: list[tuple[str, int]] = field(factory=list)
    answers: list[Deferred[Any]] = field(factory=list)
    protocols: list[Any] = field(factory=list)

    def endpoint(self, host: str, port: int) -> Any:
        self.asked.append((host, port))
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        self.answers.append(Deferred())
        return self.answers[-1]

    def succeed(self) -> PlayedSocket:
        protocol = self.factory.buildProtocol(None)
        socket = PlayedSocket()
        self.protocols.append(protocol)
        protocol.makeConnection(socket)
        self.answers[-1].callback(protocol)
        return socket


class ForwardTests(SynchronousTestCase):
    """A connection opened from the node."""

    disk = Disk()

    def setUp(self) -> None:
        self.destinations = PlayedDestinations()
        self.record, self.spooled, _ = forward_record(self.mktemp(), disk=self.disk)
        self.pair = Pair(
            make_channel=lambda: ForwardedChannel(self.destinations, self.record)
        ).connect()
        self.channel = HearingChannel()

    def ask(self, host: bytes = b"db.internal", port: int = 5432, more: bytes = b"") -> None:
        extra = string(host) + uint32(port) + string(b"127.0.0.1") + uint32(50000) + more
        self.pair.connection.openChannel(self.channel, extra)
        self.pair.pump.flush()

    def connected(self) -> tuple[Any, PlayedSocket]:
        self.ask()
        socket = self.destinations.succeed()
        self.pair.pump.flush()
        return self.destinations.protocols[0], socket

    def refused(self) -> str:
        [error] = self.channel.happened
        assert isinstance(error, ChannelRefused)
        return str(error)

    def test_interfaces(self) -> None:
        """Both kinds of destinations provide the interface."""
        verifyObject(IDestinations, self.destinations)
        network = NetworkDestinations(MemoryReactorClock())
        verifyObject(IDestinations, network)
        self.assertIsInstance(network.endpoint("localhost", 22), HostnameEndpoint)

    def test_opened(self) -> None:
        """The channel is confirmed when the connection stands, and not before."""
        self.ask()
        self.assertEqual(self.destinations.asked, [("db.internal", 5432)])
        self.assertEqual(self.channel.happened, [])
        socket = self.destinations.succeed()
        self.pair.pump.flush()
        self.assertEqual(self.channel.happened, ["open"])
        self.assertEqual(socket.told, ["pauseProducing", "resumeProducing"])

    def test_recorded(self) -> None:
        """The record has where it came from and went to, and how much went each way."""
        protocol, _ = self.connected()
        self.channel.write(b"SELECT 1")
        self.pair.pump.flush()
        protocol.dataReceived(b"1")
        self.channel.loseConnection()
        self.pair.pump.flush()
        self.record.close()
        header, opened, _, closed, *_ = self.spooled.events("s1.0")
        self.assertIs(header.kind, Kind.FORWARDS)
        self.assertEqual(
            (opened.kind, opened.fields),
            (
                "forward.open",
                {
                    "forward": 1,
                    "kind": "direct-tcpip",
                    "target": "db.internal:5432",
                    "origin": "127.0.0.1:50000",
                },
            ),
        )
        self.assertEqual(
            (closed.kind, closed.fields),
            ("forward.close", {"forward": 1, "sent": 8, "received": 1}),
        )

    def test_no_record(self) -> None:
        """No record, no connection."""
        self.disk = Disk(1)
        self.setUp()
        self.ask()
        self.assertEqual(self.destinations.asked, [])
        self.assertIn("has to be recorded", self.refused())

    def test_refused(self) -> None:
        """A connection that does not come about is a refusal that names it."""
        for reason in (ConnectionRefusedError(), TimeoutError(), OSError(101, "unreachable")):
            self.setUp()
            self.ask()
            self.destinations.answers[0].errback(reason)
            self.pair.pump.flush()
            self.assertEqual(self.refused(), "db.internal:5432 cannot be reached from the node")

    def test_nonsense(self) -> None:
        """Addresses that are none are refused, and nothing is tried."""
        for host, port in ((b"", 1), (b"a" * 256, 1), (b"a\nb", 1), (b"a", 0), (b"a", 65536)):
            self.setUp()
            self.ask(host, port)
            self.refused()
            self.assertEqual(self.destinations.asked, [])

    def test_longer(self) -> None:
        """A request longer than its fields breaks the protocol."""
        self.ask(more=b"x")
        self.assertTrue(self.pair.client.disconnecting)

    def test_both_ways(self) -> None:
        """Data goes both ways, and each side can slow down the other."""
        protocol, socket = self.connected()
        self.channel.write(b"select 1")
        protocol.dataReceived(b"1")
        self.pair.pump.flush()
        self.assertEqual((bytes(socket.written), bytes(self.channel.heard)), (b"select 1", b"1"))
        self.assertIsNotNone(socket.producer)
        self.channel.pauseProducing()
        while "pauseProducing" not in socket.told[2:]:
            protocol.dataReceived(bytes(65536))
            self.pair.pump.flush()

    def test_client_ends_first(self) -> None:
        """The client's end goes through, and the answer still comes back."""
        protocol, socket = self.connected()
        self.channel.loseWriteConnection()
        self.pair.pump.flush()
        self.assertIn("loseWriteConnection", socket.told)
        protocol.writeConnectionLost()
        protocol.dataReceived(b"answer")
        self.pair.pump.flush()
        self.assertEqual((bytes(self.channel.heard), self.channel.happened), (b"answer", ["open"]))
        protocol.readConnectionLost()
        self.assertIn("loseConnection", socket.told)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.pair.pump.flush()
        self.assertEqual(self.channel.happened, ["open", "eof", "closed"])

    def test_server_ends_first(self) -> None:
        """The far end's end goes through, and the client may still send."""
        protocol, socket = self.connected()
        protocol.readConnectionLost()
        self.pair.pump.flush()
        self.assertEqual(self.channel.happened, ["open", "eof"])
        self.channel.write(b"more")
        self.pair.pump.flush()
        self.assertEqual(bytes(socket.written), b"more")

    def test_client_gone(self) -> None:
        """When the client goes, the connection is closed."""
        _, socket = self.connected()
        self.pair.client.close()
        self.pair.pump.flush()
        self.assertIn("loseConnection", socket.told)

    def test_client_gone_before(self) -> None:
        """When the client goes before the connection stands, it is given up."""
        self.ask()
        cancelled: list[object] = []
        self.destinations.answers[0]._canceller = cancelled.append
        self.pair.client.close()
        self.pair.pump.flush()
        self.assertEqual(len(cancelled), 1)


class LocalForwardTests(SynchronousTestCase):
    """A connection to a unix socket of the node."""

    def setUp(self) -> None:
        self.sockets = PlayedLoginSockets()
        record, _, _ = forward_record(self.mktemp())
        self.pair = Pair(make_channel=lambda: LocalForwardedChannel(self.sockets, record)).connect()
        self.channel = HearingChannel()

    def ask(self, path: bytes = b"/run/docker.sock", more: bytes = b"") -> None:
        extra = string(path) + string(b"") + uint32(0) + more
        self.pair.connection.openChannel(self.channel, extra)
        self.pair.pump.flush()

    def test_both_ways(self) -> None:
        """The channel is confirmed when the connection stands, and carries data both ways."""
        self.sockets.is_held = True
        self.ask()
        self.assertEqual(self.channel.happened, [])
        self.sockets.go_on()
        self.pair.pump.flush()
        self.assertEqual(self.channel.happened, ["open"])
        self.channel.write(b"GET")
        self.pair.pump.flush()
        self.assertEqual(self.sockets.connected[b"/run/docker.sock"].written, b"GET")

    def test_refused(self) -> None:
        """A refusal names the path and the reason."""
        self.sockets.refusal = "permission denied"
        self.ask()
        [error] = self.channel.happened
        self.assertEqual(str(error), "/run/docker.sock on the node: permission denied")

    def test_longer(self) -> None:
        """A request longer than its fields breaks the protocol."""
        self.ask(more=b"x")
        self.assertTrue(self.pair.client.disconnecting)

    def test_client_gone_before(self) -> None:
        """A connection that comes about too late is closed."""
        self.sockets.is_held = True
        self.ask()
        self.pair.client.close()
        self.pair.pump.flush()
        self.assertEqual(self.sockets.connected, {})
