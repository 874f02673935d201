from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh import algorithms, packets
from mezite.ssh.ciphers import Suite
from mezite.ssh.error import MAC_ERROR, SshProtocolError
from mezite.ssh.packets import (
    LINES_BEFORE_VERSION,
    PACKET_LENGTH,
    IOpener,
    ISealer,
    PacketReader,
    PacketWriter,
)

KEY, IV, MAC_KEY = bytes(range(64)), bytes(range(64, 128)), bytes(range(128, 192))


def suites() -> Iterator[Suite | None]:
    yield None
    for cipher in algorithms.CIPHERS:
        if cipher in algorithms.AEAD_CIPHERS:
            yield Suite(cipher, b"")
        else:
            yield from (Suite(cipher, mac) for mac in algorithms.MACS)


def ends(suite: Suite | None, sequence: int = 0) -> tuple[PacketWriter, PacketReader]:
    writer, reader = PacketWriter(), PacketReader()
    if suite is not None:
        writer.switch(suite.sealer(KEY, IV, MAC_KEY), restart=True)
        reader.switch(suite.opener(KEY, IV, MAC_KEY), restart=True)
    return writer, reader


def drain(reader: PacketReader) -> list[bytes]:
    payloads = []
    while (payload := reader.next_payload()) is not None:
        payloads.append(payload)
    return payloads


class PacketTests(SynchronousTestCase):
    """Packets under every cipher and MAC, and under none."""

    @given(
        st.sampled_from(list(suites())),
        st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5),
        st.data(),
    )
    @settings(max_examples=80, deadline=None)
    def test_any_chunking(
        self, suite: Suite | None, payloads: list[bytes], data: st.DataObject
    ) -> None:
        """However the bytes are cut, the same payloads come out."""
        writer, reader = ends(suite)
        wire = b"".join(map(writer.seal, payloads))
        got = []
        while wire:
            size = data.draw(st.integers(1, max(1, len(wire))))
            reader.receive(wire[:size])
            wire = wire[size:]
            got += drain(reader)
        self.assertEqual(got, payloads)

    @given(st.sampled_from([suite for suite in suites() if suite]), st.data())
    @settings(max_examples=80, deadline=None)
    def test_any_bit(self, suite: Suite, data: st.DataObject) -> None:
        """One bit flipped anywhere, and nothing is delivered."""
        writer, reader = ends(suite)
        wire = bytearray(writer.seal(b"payload of a packet"))
        bit = data.draw(st.integers(0, len(wire) * 8 - 1))
        wire[bit // 8] ^= 1 << bit % 8
        reader.receive(bytes(wire))
        try:
            self.assertIsNone(reader.next_payload())  # it now claims to be longer
        except SshProtocolError:
            pass

    def test_forged(self) -> None:
        """A packet whose check fails is the end, and says no more than that."""
        for suite in suites():
            if suite is not None:
                writer, reader = ends(suite)
                wire = writer.seal(b"hello")
                reader.receive(wire[:-1] + bytes([wire[-1] ^ 1]))
                error = self.assertRaises(SshProtocolError, reader.next_payload)
                self.assertEqual(error.code, MAC_ERROR)

    def test_replayed(self) -> None:
        """The same packet twice is refused."""
        for suite in suites():
            if suite is not None:
                writer, reader = ends(suite)
                wire = writer.seal(b"hello")
                reader.receive(wire)
                self.assertEqual(reader.next_payload(), b"hello")
                reader.receive(wire)
                self.assertRaises(SshProtocolError, drain, reader)

    def test_too_long(self) -> None:
        """A packet that claims more than the limit is refused at its first bytes."""
        reader = PacketReader()
        reader.receive((PACKET_LENGTH + 4).to_bytes(4, "big"))
        self.assertRaises(SshProtocolError, reader.next_payload)

    def test_too_short(self) -> None:
        """A packet too short for its own padding is refused."""
        reader = PacketReader()
        reader.receive((0).to_bytes(4, "big") + bytes(12))
        self.assertRaises(SshProtocolError, reader.next_payload)

    def test_only_padding(self) -> None:
        """A packet without a payload is refused."""
        reader = PacketReader()
        reader.receive((12).to_bytes(4, "big") + bytes([11]) + bytes(11))
        self.assertRaises(SshProtocolError, reader.next_payload)

    def test_padding_beyond(self) -> None:
        """A packet with more padding than there is packet is refused."""
        reader = PacketReader()
        reader.receive((12).to_bytes(4, "big") + bytes([200]) + bytes(11))
        self.assertRaises(SshProtocolError, reader.next_payload)

    def test_providers(self) -> None:
        """Every cipher provides both interfaces."""
        for suite in suites():
            if suite is not None:
                self.assertTrue(ISealer.providedBy(suite.sealer(KEY, IV, MAC_KEY)))
                self.assertTrue(IOpener.providedBy(suite.opener(KEY, IV, MAC_KEY)))


class ChaChaVectorTests(SynchronousTestCase):
    """The worked example of the specification."""

    def setUp(self) -> None:
        path = Path(__file__).parents[1] / "vectors" / "ssh-chacha20-poly1305.json"
        self.vector = json.loads(path.read_text())
        self.suite = Suite(algorithms.CHACHA20_POLY1305, b"")
        self.key = bytes.fromhex(self.vector["key"])

    def test_sealed(self) -> None:
        """The payload becomes just that packet."""
        padding = bytes.fromhex(self.vector["padding"])
        self.patch(packets.os, "urandom", lambda length: padding[:length])
        payload = bytes.fromhex(self.vector["payload"])
        for parts in ((payload,), (payload[:1], payload[1:9], payload[9:])):
            sealer = self.suite.sealer(self.key, b"", b"")
            packet = b"".join(sealer.seal(self.vector["sequence"], parts))
            self.assertEqual(packet.hex(), self.vector["sealed"])

    def test_opened(self) -> None:
        """The packet becomes just that payload."""
        opener = self.suite.opener(self.key, b"", b"")
        packet, sequence = bytes.fromhex(self.vector["sealed"]), self.vector["sequence"]
        self.assertEqual(opener.measure(sequence, packet[:4]), len(packet))
        payload = opener.open(sequence, memoryview(packet))
        self.assertEqual(payload.hex(), self.vector["payload"])


class GcmVectorTests(SynchronousTestCase):
    """AES-GCM packets against the primitive itself."""

    def test_layout(self) -> None:
        """The length stays readable and is authenticated; the counter counts packets."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        writer, _ = ends(Suite(b"aes128-gcm@openssh.com", b""))
        for number in range(3):
            wire = writer.seal(b"x" * 20)
            length = int.from_bytes(wire[:4], "big")
            self.assertEqual((length % 16, len(wire)), (0, 4 + length + 16))
            nonce = IV[:4] + (int.from_bytes(IV[4:12], "big") + number).to_bytes(8, "big")
            plain = AESGCM(KEY[:16]).decrypt(nonce, wire[4:], wire[:4])
            self.assertEqual(plain[1:21], b"x" * 20)


class VersionTests(SynchronousTestCase):
    """The lines before the first packet."""

    def read(self, data: bytes, *, lines_before: bool = False) -> bytes | None:
        self.reader = PacketReader()
        self.reader.receive(data)
        return self.reader.next_version(lines_before=lines_before)

    def test_whole(self) -> None:
        """A version ends at its line, with or without a carriage return."""
        self.assertEqual(self.read(b"SSH-2.0-x y\r\nrest"), b"SSH-2.0-x y")
        self.assertEqual(self.read(b"SSH-2.0-x\nrest"), b"SSH-2.0-x")

    def test_half(self) -> None:
        """Half a line is waited for."""
        self.assertIsNone(self.read(b"SSH-2.0-x"))

    def test_old(self) -> None:
        """Version 1 is refused."""
        self.assertRaises(SshProtocolError, self.read, b"SSH-1.5-x\r\n")

    def test_something_else(self) -> None:
        """A browser is refused at its first line."""
        self.assertRaises(SshProtocolError, self.read, b"GET / HTTP/1.1\r\n")

    def test_endless(self) -> None:
        """A line without an end is refused."""
        self.assertRaises(SshProtocolError, self.read, b"SSH-2.0-" + b"x" * 300)

    def test_lines_before(self) -> None:
        """A server may say something first, but not for ever."""
        self.assertEqual(self.read(b"hi\r\nSSH-2.0-x\r\n", lines_before=True), b"SSH-2.0-x")
        many = b"hi\r\n" * (LINES_BEFORE_VERSION + 1)
        self.assertRaises(SshProtocolError, self.read, many, lines_before=True)
