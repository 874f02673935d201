"""
Tests of the PROXY header that load balancers send.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.proxyheader import BadProxyHeader, ProxyHeader, ProxyHeaderReader

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "proxy-header.json").read_text())[
    "vectors"
]
GOOD = [vector for vector in VECTORS if "error" not in vector]
BAD = [vector for vector in VECTORS if "error" in vector]
HELLO = b"\x16\x03\x01\r\nPROXY"


def read(octets: bytes, cuts: list[int]) -> tuple[ProxyHeader, bytes] | None:
    """The header, of octets that come in chunks; with all that followed it."""
    reader = ProxyHeaderReader()
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for begin, end in itertools.pairwise(places):
        found = reader.receive(octets[begin:end])
        if found is not None:
            return found[0], found[1] + octets[end:]
    return None


class HeaderTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """Every header of the specification's kinds is read, and what follows is kept."""
        for vector in GOOD:
            found = read(bytes.fromhex(vector["octets"]) + HELLO, [])
            assert found is not None, vector
            header, rest = found
            source = None if header.source is None else str(header.source)
            self.assertEqual((source, rest), (vector["source"], HELLO), vector["name"])

    @settings(max_examples=100, deadline=None)
    @given(vector=st.sampled_from(GOOD), cuts=st.lists(st.integers(0, 300), max_size=8))
    def test_chunks(self, vector: dict[str, str], cuts: list[int]) -> None:
        """Any chunks give the same header."""
        octets = bytes.fromhex(vector["octets"]) + HELLO
        self.assertEqual(read(octets, cuts), read(octets, []))

    @settings(max_examples=100, deadline=None)
    @given(vector=st.sampled_from(GOOD), length=st.integers(0, 300))
    def test_truncated(self, vector: dict[str, str], length: int) -> None:
        """The beginning of a header is waited with."""
        octets = bytes.fromhex(vector["octets"])
        self.assertIsNone(ProxyHeaderReader().receive(octets[: min(length, len(octets) - 1)]))

    @settings(max_examples=100, deadline=None)
    @given(vector=st.sampled_from(BAD), cuts=st.lists(st.integers(0, 300), max_size=8))
    def test_malformed(self, vector: dict[str, str], cuts: list[int]) -> None:
        """What is no header is refused, in any chunks."""
        with self.assertRaises(BadProxyHeader, msg=vector["name"]):
            read(bytes.fromhex(vector["octets"]), cuts)

    @settings(max_examples=100, deadline=None)
    @given(octets=st.binary(max_size=200))
    def test_anything(self, octets: bytes) -> None:
        """Any bytes are a header, the beginning of one, or refused."""
        try:
            found = ProxyHeaderReader().receive(octets)
        except BadProxyHeader:
            return
        if found is not None:
            self.assertTrue(octets.endswith(found[1]))

    def test_first_octet(self) -> None:
        """What cannot become a header is refused at its first octet."""
        self.assertRaises(BadProxyHeader, ProxyHeaderReader().receive, b"\x16")
        self.assertRaises(BadProxyHeader, ProxyHeaderReader().receive, b"PO")
