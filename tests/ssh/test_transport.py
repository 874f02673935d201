from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.fields import string, uint32
from mezite.ssh.packets import PacketReader, PacketWriter
from mezite.ssh.server import LOGIN_SECONDS
from mezite.ssh.transport import CLOSE_SECONDS, UNREAD_ANSWERS
from tests.ssh.pair import EchoingChannel, Pair

VERSION = b"SSH-2.0-test\r\n"


def kexinit(*, kex: bytes = b"curve25519-sha256", cipher: bytes = b"aes128-ctr") -> bytes:
    names = [kex, b"ssh-ed25519", cipher, cipher, *[b"hmac-sha2-256-etm@openssh.com"] * 2]
    names += [b"none", b"none", b"", b""]
    return bytes([20]) + bytes(16) + b"".join(map(string, names)) + bytes(5)


class ServerAloneTests(SynchronousTestCase):
    """A server against a peer that a test plays byte by byte."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.server = self.pair.server
        self.io = self.pair.server_io
        self.server.makeConnection(self.io)
        self.writer = PacketWriter()
        self.addCleanup(self.server.connectionLost, Failure(ConnectionDone()))

    def send(self, *payloads: bytes) -> None:
        self.server.dataReceived(b"".join(map(self.writer.seal, payloads)))

    def said(self) -> list[bytes]:
        reader = PacketReader()
        reader.receive(b"".join(self.io.stream))
        reader.next_version(lines_before=False)
        payloads = []
        while (payload := reader.next_payload()) is not None:
            payloads.append(payload)
        return payloads

    def assert_ended(self) -> None:
        self.assertTrue(self.io.disconnecting)
        self.assertEqual(self.said()[-1][0], 1)

    def test_offer(self) -> None:
        """Nothing that is broken is offered."""
        offered = self.said()[0]
        for bad in (
            *(b"sha1", b"-cbc", b"md5", b"3des", b"arcfour", b"ssh-dss", b"ssh-rsa"),
            *(b"diffie-hellman", b"ecdh-", b"hmac-sha2-256,", b"hmac-sha2-512,", b"umac-64"),
        ):
            self.assertNotIn(bad, offered)
            self.assertNotIn(bad, self.pair.client_offer())
        self.assertIn(b"kex-strict-s-v00@openssh.com", offered)

    def test_not_ssh(self) -> None:
        """Something that is not SSH is sent away."""
        self.server.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assert_ended()

    def test_nothing_in_common(self) -> None:
        """A peer with nothing in common is told so."""
        self.server.dataReceived(VERSION)
        self.send(kexinit(cipher=b"3des-cbc"))
        self.assert_ended()
        self.assertIn(b"no cipher in common", self.said()[-1])

    def test_silent(self) -> None:
        """A peer that does not come in is sent away in time, and then cut off."""
        self.pair.clock.advance(LOGIN_SECONDS)
        self.assert_ended()
        aborted: list[bool] = []
        self.io.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
        self.setUp()
        self.io.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
        self.pair.clock.advance(LOGIN_SECONDS)
        self.pair.clock.advance(CLOSE_SECONDS)
        self.assertEqual(aborted, [True])

    def test_out_of_order(self) -> None:
        """Messages that may not come yet are the end."""
        for payload in (
            bytes([21]),
            bytes([30]) + string(bytes(32)),
            bytes([5]) + string(b"ssh-userauth"),
            bytes([50]) + b"x",
            bytes([90]) + b"x",
        ):
            self.setUp()
            self.server.dataReceived(VERSION)
            self.send(payload)
            self.assert_ended()

    def test_strict_prefix(self) -> None:
        """A message smuggled in before a strict exchange is the end (CVE-2023-48795)."""
        self.server.dataReceived(VERSION)
        marked = kexinit(kex=b"curve25519-sha256,kex-strict-c-v00@openssh.com")
        self.send(bytes([2]) + string(b"smuggled"), marked)
        self.assert_ended()

    def test_strict_middle(self) -> None:
        """So is one that is smuggled in during it."""
        self.server.dataReceived(VERSION)
        marked = kexinit(kex=b"curve25519-sha256,kex-strict-c-v00@openssh.com")
        self.send(marked, bytes([2]) + string(b"smuggled"))
        self.assert_ended()

    def test_terrapin(self) -> None:
        """A peer without the strict exchange does not get the cipher that needs it."""
        chacha = b"chacha20-poly1305@openssh.com"
        self.server.dataReceived(VERSION)
        self.send(kexinit(cipher=chacha))
        self.assert_ended()
        self.assertIn(b"strict key exchange", self.said()[-1])
        self.setUp()
        self.server.dataReceived(VERSION)
        marked = b"curve25519-sha256,kex-strict-c-v00@openssh.com"
        self.send(kexinit(kex=marked, cipher=chacha))
        self.assertFalse(self.io.disconnecting)

    def test_wrong_guess(self) -> None:
        """A wrong guess of the key exchange is passed over, and the right one answered."""
        self.server.dataReceived(VERSION)
        guessing = kexinit(kex=b"unheard-of,curve25519-sha256")[:-5] + b"\1" + bytes(4)
        half = X25519PrivateKey.generate().public_key().public_bytes_raw()
        for guessed in (30, 34):
            self.setUp()
            self.server.dataReceived(VERSION)
            self.send(guessing, bytes([guessed]) + b"garbage")
            self.assertFalse(self.io.disconnecting)
            self.send(bytes([30]) + string(half))
            self.assertEqual([payload[0] for payload in self.said()], [20, 31, 21])

    def test_not_chosen(self) -> None:
        """A message of a key exchange that was not chosen is the end, and no bug of ours."""
        for number in range(31, 50):
            self.setUp()
            self.server.dataReceived(VERSION)
            self.send(kexinit(), bytes([number]) + string(bytes(32)) + bytes(64))
            self.assert_ended()
            self.assertIn(b"not chosen", self.said()[-1])

    def test_bad_halves(self) -> None:
        """A half of a key exchange that is no point on the curve is the end."""
        for half in (b"", bytes(31), bytes(32), bytes(33)):
            self.setUp()
            self.server.dataReceived(VERSION)
            self.send(kexinit(), bytes([30]) + string(half))
            self.assert_ended()
        for length in (0, 1184, 1216):
            self.setUp()
            self.server.dataReceived(VERSION)
            self.send(kexinit(kex=b"mlkem768x25519-sha256"), bytes([30]) + string(b"\xff" * length))
            self.assertTrue(self.io.disconnecting)

    def test_twice(self) -> None:
        """A second half after the first is the end."""
        half = X25519PrivateKey.generate().public_key().public_bytes_raw()
        self.server.dataReceived(VERSION)
        self.send(kexinit(), bytes([30]) + string(half), bytes([30]) + string(half))
        self.assertTrue(self.io.disconnecting)

    @given(st.binary(max_size=600), st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_garbage(self, data: bytes, framed: bool) -> None:
        """No bytes, framed or not, make it fail in a way of its own."""
        self.setUp()
        self.server.dataReceived(VERSION)
        if framed:
            self.send(data or b"\0")
        else:
            self.server.dataReceived(data)
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.integers(1, 120), st.binary(max_size=120))
    @example(4, b"")
    @example(32, bytes(5))
    @settings(max_examples=100, deadline=None)
    def test_every_message(self, number: int, data: bytes) -> None:
        """No message in any phase does, either."""
        self.setUp()
        self.server.dataReceived(VERSION)
        self.send(kexinit(), bytes([number]) + data)
        self.assertEqual(self.flushLoggedErrors(), [])


class PairTests(SynchronousTestCase):
    """Two ends of ours."""

    def test_any_chunking(self) -> None:
        """However the network cuts the bytes, the client comes in."""
        for size in (1, 7, 100):
            pair = Pair()
            for protocol in (pair.client, pair.server):
                protocol.dataReceived = _cut(protocol.dataReceived, size)  # type: ignore[method-assign]
            pair.connect()
            self.successResultOf(pair.client.authenticated())

    def test_unread_answers(self) -> None:
        """From a peer that asks and reads no answers, nothing more is read."""
        pair = Pair().connect()
        pair.open()
        pair.server.pauseProducing()
        pair.server_io.is_held = True
        request = uint32(0) + string(b"yes") + b"\1"
        sent = 0
        while not pair.server_io.reads_paused:
            pair.client.sendPacket(98, request)
            pair.pump.pump()
            sent += 1
            self.assertLess(sent, UNREAD_ANSWERS)
        pair.server_io.is_held = False
        pair.server.resumeProducing()
        self.assertFalse(pair.server_io.reads_paused)

    def test_our_bug(self) -> None:
        """A bug of ours is logged, and ends the connection and no more."""

        class Broken(EchoingChannel):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        pair = Pair(make_channel=Broken).connect()
        ended = pair.client.ended()
        pair.open().write(b"x")
        pair.pump.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(str(self.successResultOf(ended)), "internal error")

    def test_ignored(self) -> None:
        """IGNORE and DEBUG change nothing, and UNIMPLEMENTED neither."""
        pair = Pair().connect()
        pair.client.sendIgnore(b"noise")
        pair.client.sendDebug(b"noise", True)
        pair.client.sendPacket(3, uint32(1))
        pair.pump.flush()
        self.assertEqual(pair.open().happened, ["open"])

    def test_nothing_left_running(self) -> None:
        """When a connection has ended, no timer is left."""
        pair = Pair().connect()
        pair.client.close()
        pair.pump.flush()
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_service_twice(self) -> None:
        """Nobody logs in twice."""
        pair = Pair().connect()
        pair.client.sendPacket(5, string(b"ssh-userauth"))
        pair.pump.flush()
        self.assertTrue(pair.server.disconnecting)


def _cut(receive: Any, size: int) -> Any:
    def received(data: bytes) -> None:
        for at in range(0, len(data), size):
            receive(data[at : at + size])

    return received
