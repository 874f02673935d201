"""Tests of the messages of SFTP and their bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh import sftpfields as fields
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, BadMessage, Entry, SftpWireError

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
texts = st.binary(max_size=40)
maybe_u32 = st.none() | u32
pairs = st.tuples(u32, u32)
attributes = st.builds(Attributes, st.none() | u64, st.none() | pairs, maybe_u32, st.none() | pairs)
entries = st.lists(st.builds(Entry, texts, texts, attributes), max_size=4).map(tuple)
extensions = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)

messages = st.one_of(
    st.builds(wire.Init, u32, extensions),
    st.builds(wire.Version, u32, extensions),
    st.builds(wire.Open, u32, texts, u32, attributes),
    *(
        st.builds(one, u32, texts)
        for one in (
            wire.Close, wire.Lstat, wire.Fstat, wire.Opendir, wire.Readdir, wire.Remove,
            wire.Rmdir, wire.Realpath, wire.Stat, wire.Readlink, wire.Handle, wire.Data,
            wire.ExtendedReply,
        )
    ),
    st.builds(wire.Read, u32, texts, u64, u32),
    st.builds(wire.Write, u32, texts, u64, texts),
    *(st.builds(one, u32, texts, attributes) for one in (wire.Setstat, wire.Fsetstat, wire.Mkdir)),
    *(st.builds(one, u32, texts, texts) for one in (wire.Rename, wire.Symlink, wire.Extended)),
    st.builds(wire.Status, u32, u32, texts, texts),
    st.builds(wire.Name, u32, entries),
    st.builds(wire.Attrs, u32, attributes),
)  # fmt: skip


def body(message: wire.Message) -> bytes:
    return wire.encode(message)[4:]


class CodecTests(SynchronousTestCase):
    @given(messages)
    @settings(max_examples=100, deadline=None)
    def test_there_and_back(self, message: wire.Message) -> None:
        """What was encoded is decoded to itself."""
        self.assertEqual(wire.decode(body(message)), message)

    @given(st.binary(max_size=120))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, packet: bytes) -> None:
        """No bytes do more than raise the error that the server expects."""
        try:
            wire.decode(packet)
        except BadMessage:
            pass

    @given(messages, st.data())
    @settings(max_examples=60, deadline=None)
    def test_cut_short(self, message: wire.Message, data: st.DataObject) -> None:
        """A packet whose end is missing is never a larger one."""
        packet = body(message)
        cut = packet[: data.draw(st.integers(0, len(packet) - 1))]
        try:
            decoded = wire.decode(cut)
        except BadMessage:
            return
        self.assertIn(type(decoded), {wire.Init, wire.Version, wire.Extended, wire.ExtendedReply})

    def test_bytes_after_the_end(self) -> None:
        """A packet with more than its fields is refused, with its request's id."""
        with self.assertRaises(BadMessage) as caught:
            wire.decode(body(wire.Stat(9, b"/")) + b"!")
        self.assertEqual(caught.exception.request_id, 9)

    def test_extended_attributes_are_skipped(self) -> None:
        """Extensions of attributes are read over."""
        packet = b"\x09" + fields.u32(1) + fields.string(b"f") + fields.u32(0x80000000)
        packet += fields.u32(1) + fields.string(b"acl@example") + fields.string(b"x")
        self.assertEqual(wire.decode(packet), wire.Setstat(1, b"f", Attributes()))

    def test_too_many_extended_attributes(self) -> None:
        """A claim of four thousand million extensions ends at once."""
        packet = b"\x09" + fields.u32(1) + fields.string(b"f") + fields.u32(0x80000000)
        with self.assertRaises(BadMessage):
            wire.decode(packet + fields.u32(0xFFFFFFFF))


class PacketReaderTests(SynchronousTestCase):
    @given(st.lists(messages, max_size=6), st.integers(1, 50))
    @settings(max_examples=60, deadline=None)
    def test_any_chunking(self, sent: list[wire.Message], size: int) -> None:
        """The same packets come out however the bytes were cut."""
        stream = b"".join(map(wire.encode, sent))
        reader = wire.PacketReader()
        heard = []
        for at in range(0, len(stream), size):
            heard += [wire.decode(packet) for packet in reader.receive(stream[at : at + size])]
        self.assertEqual(heard, sent)
        self.assertTrue(reader.is_idle)

    def test_too_long(self) -> None:
        """A length above the limit is refused before any of its bytes came."""
        with self.assertRaises(SftpWireError):
            list(wire.PacketReader().receive(fields.u32(wire.MAX_PACKET + 1)))

    def test_empty_packet(self) -> None:
        """A length of nothing is refused."""
        with self.assertRaises(SftpWireError):
            list(wire.PacketReader().receive(fields.u32(0)))

    def test_packets_before_the_error(self) -> None:
        """What came whole before the broken length is still answered."""
        reader = wire.PacketReader()
        packets = reader.receive(wire.encode(wire.Stat(1, b"/")) + fields.u32(0))
        self.assertEqual(wire.decode(next(packets)), wire.Stat(1, b"/"))
        with self.assertRaises(SftpWireError):
            next(packets)
