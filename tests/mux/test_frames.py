"""Tests of the frames, byte by byte."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.error import RemoteMuxError
from mezite.mux.frames import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, FrameReader, Header

LIMIT = 1000

stream_ids = st.integers(1, 2**32 - 1)
flags = st.integers(0, 15)
headers = st.one_of(
    st.builds(Header, st.just(DATA), flags, stream_ids, st.integers(0, 40)),
    st.builds(Header, st.just(1), flags, stream_ids, st.integers(0, 2**32 - 1)),
    st.builds(
        Header, st.just(PING), st.sampled_from([SYN, ACK]), st.just(0), st.integers(0, 2**32 - 1)
    ),
    st.builds(Header, st.just(GO_AWAY), st.just(0), st.just(0), st.integers(0, 2)),
)


def encode(frames: list[Header]) -> bytes:
    """These frames; the bodies say which byte stands where."""
    return b"".join(
        header.encode() + (bytes(range(header.length)) if header.frame_type == DATA else b"")
        for header in frames
    )


def decode(chunks: list[bytes]) -> list[Header | bytes]:
    """What a reader makes of these chunks, bodies in one piece each."""
    reader = FrameReader(LIMIT)
    whole: list[Header | bytes] = []
    for chunk in chunks:
        for item in reader.receive(chunk):
            if isinstance(item, bytes) and whole and isinstance(whole[-1], bytes):
                whole[-1] += item
            else:
                whole.append(item)
    return whole


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in chunks that end at these places, as far as they exist."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class FrameReaderTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(st.lists(headers, max_size=8), st.lists(st.integers(0, 10_000), max_size=20))
    def test_any_chunking(self, frames: list[Header], places: list[int]) -> None:
        """What was encoded is decoded, however it was cut on the way."""
        expected: list[Header | bytes] = []
        for header in frames:
            expected.append(header)
            if header.frame_type == DATA and header.length:
                expected.append(bytes(range(header.length)))
        self.assertEqual(decode(cut(encode(frames), places)), expected)

    def test_byte_by_byte(self) -> None:
        """The finest chunking is one, too."""
        data = encode([Header(DATA, FIN, 3, 20), Header(PING, SYN, 0, 7)])
        self.assertEqual(decode([bytes([byte]) for byte in data]), decode([data]))

    def test_views(self) -> None:
        """Of a buffer that is used again nothing is kept, wherever a chunk ended."""
        frames = [Header(DATA, FIN, 3, 20), Header(PING, SYN, 0, 7), Header(DATA, 0, 5, 3)]
        data = encode(frames)
        for size in range(1, len(data)):
            reader, buffer = FrameReader(LIMIT), bytearray(size)
            found: list[Header | bytes] = []
            for chunk in cut(data, list(range(0, len(data), size))):
                buffer[: len(chunk)] = chunk
                found += reader.receive(memoryview(buffer)[: len(chunk)])
                buffer[:] = bytes(size)
            headers_found = [item for item in found if isinstance(item, Header)]
            bodies = b"".join(item for item in found if isinstance(item, bytes))
            self.assertEqual(headers_found, frames)
            self.assertEqual(bodies, bytes(range(20)) + bytes(range(3)))

    def test_whole_chunk_is_not_copied(self) -> None:
        """A chunk that is nothing but body is handed on as the object it was."""
        reader = FrameReader(LIMIT)
        reader.receive(Header(DATA, 0, 1, 100).encode())
        chunk = bytes(60)
        self.assertIs(reader.receive(chunk)[0], chunk)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=100))
    def test_garbage(self, data: bytes) -> None:
        """Any bytes are frames, or the peer's error; never another exception."""
        try:
            FrameReader(LIMIT).receive(data)
        except RemoteMuxError:
            pass

    def test_refused(self) -> None:
        """Headers that no peer sends are refused as soon as they are whole."""
        for header in (
            Header(4, 0, 1, 0),
            Header(DATA, 16, 1, 0),
            Header(DATA, 0x8000, 1, 0),
            Header(DATA, 0, 0, 0),
            Header(1, SYN, 0, 0),
            Header(DATA, 0, 1, LIMIT + 1),
            Header(PING, SYN, 1, 0),
            Header(PING, 0, 0, 0),
            Header(PING, SYN | ACK, 0, 0),
            Header(PING, RST, 0, 0),
            Header(GO_AWAY, 0, 2, 0),
            Header(GO_AWAY, FIN, 0, 0),
            Header(GO_AWAY, 0, 0, 3),
        ):
            self.assertRaises(RemoteMuxError, FrameReader(LIMIT).receive, header.encode())

    def test_other_version(self) -> None:
        """Only version 0 is spoken, which stops a TLS or HTTP client at its first byte."""
        for data in (
            b"\x01" + bytes(11),
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
        ):
            self.assertRaises(RemoteMuxError, FrameReader(LIMIT).receive, data + bytes(12))
