from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.agent.error import ForwardRefused
from mezite.agent.ports import NetworkListeners, NetworkPorts
from mezite.agent.remoteforward import (
    LISTENERS,
    IListeners,
    IPorts,
    RemoteForwards,
    bind_addresses,
)
from mezite.recording.events import Note
from mezite.ssh.channel import FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import OPEN_CONNECT_FAILED, ChannelRefused
from mezite.ssh.fields import FieldReader
from tests.doubles.loginsockets import PlayedLoginSockets
from tests.doubles.ports import PlayedListeners, PlayedPorts, PlayedSocket
from tests.doubles.recordings import forward_record
from tests.ssh.pair import HearingChannel, Pair


class TakingChannel(HearingChannel):
    """What a client gives to a connection that came in on the node."""

    def __init__(self, kind: bytes, refusal: ChannelRefused | None) -> None:
        super().__init__()
        self.kind = kind
        self.refusal = refusal
        self.about: tuple[object, ...] = ()

    def open_requested(self, data: bytes) -> None:
        reader = FieldReader(data)
        if self.kind == b"forwarded-tcpip":
            self.about = (reader.string(), reader.uint32(), reader.string(), reader.uint32())
        else:
            self.about = (reader.string(), reader.string())
        reader.end()
        if self.refusal is not None:
            raise self.refusal


class TakingConnection(FlowConnection):
    """A client that takes what comes in on the node, or refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: ChannelRefused | None = None
        self.taken: list[TakingChannel] = []

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind not in (b"forwarded-tcpip", b"forwarded-streamlocal@openssh.com"):
            return super().make_channel(kind)
        self.taken.append(TakingChannel(kind, self.refusal))
        return self.taken[-1]


class RemoteForwardsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = TakingConnection()
        self.pair = Pair(connection=self.client).connect()
        [self.server] = self.pair.served
        self.ports = PlayedPorts()
        self.sockets = PlayedLoginSockets()
        record, self.spooled, _ = forward_record(self.mktemp())
        record.soon()
        self.forwards = RemoteForwards(
            self.server,
            self.ports,
            self.sockets,
            is_root=False,
            anywhere=False,
            record=record,
        )
        self.record = record


class RemoteForwardsTests(RemoteForwardsTestCase):
    """Ports of the node that lead to the client."""

    def listening(self, host: str = "localhost", port: int = 8080) -> PlayedListeners:
        self.forwards.listen(host, port)
        return self.ports.made[-1]

    def connected(self) -> tuple[Any, PlayedSocket, TakingChannel]:
        protocol, transport = self.listening().connect()
        self.pair.pump.flush()
        return protocol, transport, self.client.taken[-1]

    def test_interfaces(self) -> None:
        """The double and the real thing provide the same."""
        verifyObject(IPorts, self.ports)
        verifyObject(IPorts, NetworkPorts(None))
        verifyObject(IListeners, self.listening())
        verifyObject(IListeners, NetworkListeners(1, ()))

    def test_port(self) -> None:
        """The port that was asked for is listened on, or the free one."""
        self.assertEqual(self.forwards.listen("localhost", 8080), 8080)
        self.assertEqual(self.forwards.listen("localhost", 0), 40000)

    def test_opened(self) -> None:
        """A connection is told to the client by what it asked for, and read once it takes it."""
        _, transport, channel = self.connected()
        self.assertEqual(channel.about, (b"localhost", 8080, b"127.0.0.1", 50000))
        self.assertEqual(transport.told, ["pauseProducing", "resumeProducing"])

    def test_recorded(self) -> None:
        """The record has what was listened on, who came, and when it was over."""
        protocol, _, channel = self.connected()
        protocol.dataReceived(b"GET")
        self.pair.pump.flush()
        channel.loseConnection()
        self.pair.pump.flush()
        self.forwards.cancel("localhost", 8080)
        self.record.close()
        notes = [each for each in self.spooled.events("s1.0") if isinstance(each, Note)]
        self.assertEqual(
            [note.kind for note in notes],
            ["forward.listen", "forward.open", "forward.close", "forward.cancel", "totals"],
        )
        self.assertEqual(notes[0].fields, {"address": "127.0.0.1:8080"})
        self.assertEqual(notes[1].fields["origin"], "127.0.0.1:50000 at port 8080")
        self.assertEqual(notes[2].fields, {"forward": 1, "sent": 0, "received": 3})

    def test_both_ways(self) -> None:
        """Data and its end go both ways."""
        protocol, transport, channel = self.connected()
        protocol.dataReceived(b"GET")
        protocol.readConnectionLost()
        channel.write(b"200")
        self.pair.pump.flush()
        self.assertEqual((channel.heard, transport.written), (b"GET", b"200"))
        self.assertEqual(channel.happened, ["open", "eof"])
        channel.loseConnection()
        self.pair.pump.flush()
        self.assertIn("loseConnection", transport.told)
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_refused_by_client(self) -> None:
        """A connection that the client does not take is cut."""
        self.client.refusal = ChannelRefused("connection refused", OPEN_CONNECT_FAILED)
        protocol, transport, _ = self.connected()
        self.assertEqual(transport.told, ["pauseProducing", "abortConnection"])
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_gone_before(self) -> None:
        """A connection that goes before the client took it leaves no channel."""
        protocol, _ = self.listening().connect()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.pair.pump.flush()
        self.assertEqual(self.client.taken[-1].happened, ["open", "eof", "closed"])
        self.assertEqual((self.server.channels, self.client.channels), ({}, {}))

    def test_client_gone(self) -> None:
        """With the client go the connections, also those that it has not taken."""
        _, taken, _ = self.connected()
        _, waiting = self.ports.made[0].connect()
        self.pair.client.close()
        self.server.serviceStopped()
        self.assertIn("loseConnection", taken.told)
        self.assertIn("abortConnection", waiting.told)

    def test_too_many_connections(self) -> None:
        """Connections beyond what a client may have channels are not taken."""
        listening = self.listening()
        made = [listening.connect()[0] for _ in range(self.server.channel_limit + 1)]
        self.assertIsNone(made.pop())
        self.assertNotIn(None, made)

    def test_cancelled(self) -> None:
        """What was asked for can be taken back, once, and no other."""
        listening = self.listening()
        self.assertFalse(self.forwards.cancel("localhost", 8081))
        self.assertFalse(self.forwards.cancel("", 8080))
        self.assertTrue(self.forwards.cancel("localhost", 8080))
        self.assertTrue(listening.is_stopped)
        self.assertFalse(self.forwards.cancel("localhost", 8080))

    def test_closed(self) -> None:
        """At the end of the connection nothing listens any more."""
        self.listening(port=8080)
        self.listening(port=0)
        self.forwards.close()
        self.assertEqual([each.is_stopped for each in self.ports.made], [True, True])

    def test_refusals(self) -> None:
        """Ports that are root's, in use, or none, are refused with a sentence."""
        self.forwards.listen("localhost", 8080)
        for port, words in (
            (80, "root only"),
            (65536, "no such port"),
            (40001, "in use"),
            (8080, "already"),
        ):
            with self.assertRaises(ForwardRefused) as caught:
                self.forwards.listen("localhost", port)
            self.assertIn(words, str(caught.exception))

    def test_root(self) -> None:
        """Root has every port."""
        self.forwards.is_root = True
        self.assertEqual(self.forwards.listen("localhost", 80), 80)

    def test_too_many_listeners(self) -> None:
        """A connection listens on so many ports, and no more."""
        for port in range(LISTENERS):
            self.forwards.listen("localhost", 8000 + port)
        with self.assertRaises(ForwardRefused):
            self.forwards.listen("localhost", 9000)


class ForwardedFileTests(RemoteForwardsTestCase):
    """Unix sockets of the node that lead to the client."""

    def listen(self, path: bytes = b"/home/ada/socket") -> Deferred[None]:
        return Deferred.fromCoroutine(self.forwards.listen_on_file(path))

    def test_opened(self) -> None:
        """A connection is told to the client by the path that it asked for."""
        self.successResultOf(self.listen())
        protocol, transport = self.sockets.listeners[b"/home/ada/socket"].connect()
        self.pair.pump.flush()
        [channel] = self.client.taken
        self.assertEqual(channel.about, (b"/home/ada/socket", b""))
        protocol.dataReceived(b"GET")
        channel.write(b"200")
        self.pair.pump.flush()
        self.assertEqual((channel.heard, transport.written), (b"GET", b"200"))

    def test_refused(self) -> None:
        """What cannot be made is refused with path and reason, and may be asked for again."""
        self.sockets.refusal = "permission denied"
        error = self.failureResultOf(self.listen(b"/root/\x1b[2Jx"), ForwardRefused).value
        self.assertEqual(str(error), "/root/ [2Jx on the node: permission denied")
        self.sockets.refusal = None
        self.successResultOf(self.listen(b"/root/\x1b[2Jx"))

    def test_cancelled(self) -> None:
        """What was asked for can be taken back, and its file is removed."""
        self.successResultOf(self.listen())
        self.assertFalse(self.forwards.cancel_file(b"/home/ada/other"))
        self.assertTrue(self.forwards.cancel_file(b"/home/ada/socket"))
        self.assertTrue(self.sockets.listeners[b"/home/ada/socket"].is_stopped)
        self.assertEqual(self.sockets.removed, [b"/home/ada/socket"])
        self.assertFalse(self.forwards.cancel_file(b"/home/ada/socket"))

    def test_refusals(self) -> None:
        """One path is listened on once, also while it is waited for, and not too many."""
        self.sockets.is_held = True
        waiting = self.listen()
        self.failureResultOf(self.listen(), ForwardRefused)
        self.assertFalse(self.forwards.cancel_file(b"/home/ada/socket"))
        for number in range(LISTENERS - 1):
            self.listen(b"/tmp/%d" % number)
        self.failureResultOf(self.listen(b"/tmp/more"), ForwardRefused)
        self.sockets.go_on()
        self.successResultOf(waiting)

    def test_closed(self) -> None:
        """At the end of the connection nothing listens, also what comes about later."""
        self.successResultOf(self.listen())
        self.sockets.is_held = True
        self.listen(b"/tmp/later")
        self.forwards.close()
        self.sockets.go_on()
        self.assertTrue(all(each.is_stopped for each in self.sockets.listeners.values()))


class BindAddressTests(SynchronousTestCase):
    """Where a port is opened."""

    def test_loopback(self) -> None:
        """On the loopback, whatever the client says."""
        for host in ("", "*", "localhost", "0.0.0.0", "192.0.2.7", "::", "db1.example.com"):
            self.assertEqual(bind_addresses(host, anywhere=False), ("127.0.0.1", "::1"))

    def test_anywhere(self) -> None:
        """Where the client says, if the node is a gateway."""
        self.assertEqual(bind_addresses("", anywhere=True), ("0.0.0.0", "::"))
        self.assertEqual(bind_addresses("*", anywhere=True), ("0.0.0.0", "::"))
        self.assertEqual(bind_addresses("localhost", anywhere=True), ("127.0.0.1", "::1"))
        self.assertEqual(bind_addresses("192.0.2.7", anywhere=True), ("192.0.2.7",))
        self.assertEqual(bind_addresses("::1", anywhere=True), ("::1",))
        for host in ("db1.example.com", "1.2.3", "fe80::1%", " "):
            with self.assertRaises(ForwardRefused):
                bind_addresses(host, anywhere=True)
