"""Tests of the header that a stream begins with."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import LocalError
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import LENGTH_LIMIT, BadStreamHeader, StreamHeaderReader, encode

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "streamheader.json").read_text("utf-8")
)
TEXT = st.text(max_size=100)


class StreamHeaderTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """Headers are written as the specification's vectors say, and read from them."""
        for vector in VECTORS["headers"]:
            header = StreamHeader(**vector["fields"])
            data = bytes.fromhex(vector["hex"])
            self.assertEqual(encode(header), data)
            self.assertEqual(StreamHeaderReader().receive(data), (header, b""))

    def test_refused(self) -> None:
        """A peer that begins otherwise is refused, before its bytes are waited for."""
        for vector in VECTORS["refused"]:
            with self.assertRaises(BadStreamHeader, msg=vector["why"]):
                StreamHeaderReader().receive(bytes.fromhex(vector["hex"]))

    @given(TEXT, TEXT, st.binary(max_size=50), st.integers(1, 60))
    @settings(max_examples=60, deadline=None)
    def test_any_chunking(self, user: str, address: str, rest: bytes, chunk: int) -> None:
        """Any chunking gives the same header, and what follows it untouched."""
        header = StreamHeader(service="ssh", user=user, client_address=address)
        data = encode(header) + rest
        reader = StreamHeaderReader()
        for at in range(0, len(data), chunk):
            read = reader.receive(data[at : at + chunk])
            if read is not None:
                found, behind = read
                self.assertEqual(found, header)
                self.assertEqual(behind + data[at + chunk :], rest)
                return
        self.fail("the header was not found")

    @given(st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are a header, or the beginning of one, or refused as such."""
        try:
            StreamHeaderReader().receive(data)
        except BadStreamHeader:
            pass

    def test_unknown_fields(self) -> None:
        """Fields that a later version adds are read over."""
        data = StreamHeader(service="ssh").SerializeToString() + b"\xfa\x07\x01x"
        read = StreamHeaderReader().receive(len(data).to_bytes(2, "big") + data)
        assert read is not None
        self.assertEqual(read[0].service, "ssh")

    def test_unsendable(self) -> None:
        """A header that names nothing, or is too long, is our own mistake."""
        with self.assertRaises(LocalError):
            encode(StreamHeader())
        with self.assertRaises(LocalError):
            encode(StreamHeader(service="ssh", user="a" * LENGTH_LIMIT))
