"""
The socket that is a WebSocket, for msh proxy ssh, over an outer connection in memory.
"""

from __future__ import annotations

import ssl
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import upgraded
from mezite.client.upgraded import UpgradedSocket
from mezite.hub.web.connectionupgrade import HubFrames
from mezite.wire.websocket import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    ClientFrames,
    Opening,
    UpgradeRefused,
    close_payload,
)


@define(eq=False)
class FakeSocket:
    """Takes ``room`` octets, and has what arrives."""

    room: int = 1 << 30
    arriving: list[bytes] = field(factory=list)
    sent: bytearray = field(factory=bytearray)

    def recv(self, size: int) -> bytes:
        if not self.arriving:
            raise BlockingIOError
        first = self.arriving.pop(0)
        if len(first) > size:
            self.arriving.insert(0, first[size:])
        return first[:size]

    def send(self, data: Any) -> int:
        count = min(len(data), self.room)
        if not count:
            raise BlockingIOError
        self.room -= count
        self.sent += data[:count]
        return count

    def setblocking(self, flag: bool) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        pass


@define(eq=False)
class FakeMemory:
    """A memory BIO."""

    data: bytes = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def read(self) -> bytes:
        data, self.data = self.data, b""
        return data


@define(eq=False)
class PlainOuter:
    """An outer connection whose TLS seals nothing."""

    socket: FakeSocket = field(factory=FakeSocket)
    incoming: FakeMemory = field(factory=FakeMemory)
    outgoing: FakeMemory = field(factory=FakeMemory)

    @property
    def tls(self) -> PlainOuter:
        return self

    def handshake(self, deadline: float) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.outgoing.write(bytes(data))

    def read(self, size: int) -> bytes:
        if not self.incoming.data:
            raise ssl.SSLWantReadError
        opened = self.incoming.data[:size]
        self.incoming.data = self.incoming.data[size:]
        return opened


class UpgradedSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.patch(upgraded.time, "monotonic", lambda: self.now)
        self.outer = PlainOuter()
        self.network = self.outer.socket
        self.socket = UpgradedSocket(self.outer, ClientFrames())  # type: ignore[arg-type]
        self.hub = HubFrames()
        self.hub.accept("dGhlIHNhbXBsZSBub25jZQ==")

    def said(self) -> list[tuple[int, bytes]]:
        """What has come to the hub since the last time."""
        self.hub.receive(bytes(self.network.sent))
        self.network.sent.clear()
        return list(iter(self.hub.next_frame, None))

    def test_both_ways(self) -> None:
        """What is sent comes as a message, and messages come as what was sent."""
        self.assertEqual(self.socket.send(memoryview(b"hello")), 5)
        self.assertEqual(self.said(), [(BINARY, b"hello")])
        self.network.arriving = [self.hub.frame(BINARY, b"good") + self.hub.frame(BINARY, b" day")]
        self.assertEqual(self.socket.recv(100), b"good day")

    def test_nothing_is_left_behind(self) -> None:
        """Whatever one read brings is handed out by it, for the file descriptor tells no more."""
        data = bytes(range(256)) * 1000
        octets = self.hub.frame(BINARY, data)
        self.network.arriving = [
            octets[start : start + 60_000] for start in range(0, 256_010, 60_000)
        ]
        received = b""
        while self.network.arriving:
            buffer = memoryview(bytearray(64 * 1024))
            received += bytes(buffer[: self.socket.recv_into(buffer)])
            self.assertEqual(self.outer.incoming.data, b"")
        self.assertEqual(received, data)

    def test_only_a_ping(self) -> None:
        """A ping is answered, and is nothing to hand out."""
        self.network.arriving = [self.hub.frame(PING, b"x")]
        self.assertRaises(BlockingIOError, self.socket.recv, 100)
        self.assertEqual([opcode for opcode, _ in self.said()], [PONG])

    def test_network_is_full(self) -> None:
        """What the network does not take waits, and nothing more is taken meanwhile."""
        self.network.room = 10
        self.assertEqual(self.socket.send(b"a" * 100), 100)
        self.assertTrue(self.socket.has_unsent())
        self.assertRaises(BlockingIOError, self.socket.send, b"b")
        self.network.room = 1000
        self.assertEqual(self.socket.send(b""), 0)
        self.assertFalse(self.socket.has_unsent())
        self.assertEqual(b"".join(payload for _, payload in self.said()), b"a" * 100)

    def test_end(self) -> None:
        """A Close is answered and is the end, and so is the end of the network."""
        self.network.arriving = [
            self.hub.frame(BINARY, b"last") + self.hub.frame(CLOSE, close_payload(1000))
        ]
        self.assertEqual(self.socket.recv(100), b"last")
        self.assertEqual(self.socket.recv(100), b"")
        self.network.arriving = [b""]
        other = UpgradedSocket(self.outer, ClientFrames())  # type: ignore[arg-type]
        self.assertEqual(other.recv(100), b"")

    def test_goodbye(self) -> None:
        """Closing says so, if there is room."""
        self.socket.close()
        self.assertEqual(self.said(), [(CLOSE, close_payload(1000))])
        self.network.room = 0
        self.socket.close()

    def test_broken(self) -> None:
        """What breaks the rules is a broken connection."""
        self.network.arriving = [b"\x81\x05Hello"]
        self.assertRaises(ConnectionResetError, self.socket.recv, 100)

    def test_signs_of_life(self) -> None:
        """A ping goes out every 20 seconds, and 50 of silence are the end."""
        for now, pings in ((19.0, 0), (20.0, 1), (25.0, 0), (40.0, 1)):
            self.now = now
            self.socket.tend()
            self.assertEqual([opcode for opcode, _ in self.said()], [PING] * pings, now)
        self.network.arriving = [self.hub.frame(PONG)]
        self.assertRaises(BlockingIOError, self.socket.recv, 100)
        self.now = 89.0
        self.socket.tend()
        self.now = 90.0
        self.assertRaises(TimeoutError, self.socket.tend)


class EarlyTests(SynchronousTestCase):
    def test_speaks_too_early(self) -> None:
        """What sends much behind its answer is no hub, and a ping there is one."""
        for rest, is_hub in ((b"\x89\x00", True), (b"\x82\x7e\xff\xff" + bytes(2000), False)):
            outer = PlainOuter()
            self.patch(upgraded, "Connection", lambda *rest, outer=outer: outer)
            self.patch(upgraded, "UpgradedConnection", lambda carrying, *rest: carrying)
            self.patch(upgraded, "Opening", lambda host: Opening(host, b"the sample nonce"))
            outer.incoming.data = (
                b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                b"Sec-WebSocket-Protocol: mezite-tls\r\n\r\n" + rest
            )
            try:
                upgraded.upgraded(outer.socket, "lb", "lb:443", None, "db1", 10.0)  # type: ignore[arg-type]
            except UpgradeRefused:
                self.assertFalse(is_hub)
            else:
                self.assertTrue(is_hub)
