"""Tests of the server's side of SOCKS."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.socks import LIMIT, SocksBroken, SocksNegotiation, SocksRequest

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
PORTS = st.integers(1, 65535)
ADDRESSES_4 = st.ip_addresses(v=4).filter(lambda each: int(each) == 0 or int(each) > 255)
ADDRESSES_6 = st.ip_addresses(v=6)
USERS = st.binary(max_size=200).map(lambda each: each.replace(b"\0", b""))


def port_of(port: int) -> bytes:
    return port.to_bytes(2, "big")


def request_4(address: ipaddress.IPv4Address, port: int, user: bytes = b"") -> bytes:
    return b"\4\1" + port_of(port) + address.packed + user + b"\0"


def request_4a(name: str, port: int, user: bytes = b"") -> bytes:
    return b"\4\1" + port_of(port) + b"\0\0\0\1" + user + b"\0" + name.encode() + b"\0"


def greeting_5(methods: bytes = b"\0") -> bytes:
    return bytes((5, len(methods))) + methods


def request_5(kind: int, address: bytes, port: int, command: int = 1) -> bytes:
    return bytes((5, command, 0, kind)) + address + port_of(port)


def named_5(name: str, port: int) -> bytes:
    return greeting_5() + request_5(3, bytes((len(name),)) + name.encode(), port)


REQUESTS = st.one_of(
    st.builds(
        lambda address, port, user: (request_4(address, port, user), str(address), port),
        ADDRESSES_4, PORTS, USERS,
    ),
    st.builds(
        lambda name, port, user: (request_4a(name, port, user), name, port), NAMES, PORTS, USERS
    ),
    st.builds(lambda name, port: (named_5(name, port), name, port), NAMES, PORTS),
    st.builds(
        lambda address, port: (
            greeting_5(b"\2\0") + request_5(1 if address.version == 4 else 4, address.packed, port),
            str(address),
            port,
        ),
        st.one_of(ADDRESSES_4, ADDRESSES_6), PORTS,
    ),
)  # fmt: skip


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[left:right] for left, right in pairwise(places)]


class SocksNegotiationTests(SynchronousTestCase):
    @given(REQUESTS, st.binary(max_size=40), st.lists(st.integers(0, 1000), max_size=6))
    @settings(max_examples=100, deadline=None)
    def test_any_chunking(
        self, request: tuple[bytes, str, int], rest: bytes, cuts: list[int]
    ) -> None:
        """Each kind of request is understood, however it is cut, and what follows is kept."""
        data, host, port = request
        negotiation = SocksNegotiation()
        found: SocksRequest | None = None
        kept = b""
        for chunk in chunks(data + rest, cuts):
            if found is not None:
                kept += chunk
                continue
            found = negotiation.receive(chunk)
        assert found is not None
        self.assertEqual((found.host, found.port, found.rest + kept), (host, port, rest))

    @given(st.lists(st.binary(max_size=300), max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Any bytes are a request, the beginning of one, or refused; little is kept."""
        negotiation = SocksNegotiation()
        for piece in pieces:
            try:
                if negotiation.receive(piece) is not None:
                    return
            except SocksBroken:
                return
            self.assertLessEqual(len(negotiation._buffer), LIMIT)

    def test_answers_of_4(self) -> None:
        """SOCKS 4 has one answer of eight octets."""
        negotiation = SocksNegotiation()
        negotiation.receive(request_4a("db", 5432))
        self.assertEqual(negotiation.to_send(), b"")
        self.assertEqual(negotiation.granted(), b"\0\x5a" + bytes(6))
        self.assertEqual(negotiation.refused(), b"\0\x5b" + bytes(6))

    def test_answers_of_5(self) -> None:
        """SOCKS 5 is told that nobody has to log in, then how it went."""
        negotiation = SocksNegotiation()
        self.assertIsNone(negotiation.receive(greeting_5(b"\1\0")))
        self.assertEqual(negotiation.to_send(), b"\5\0")
        self.assertEqual(negotiation.to_send(), b"")
        negotiation.receive(request_5(1, bytes((10, 0, 0, 1)), 80))
        self.assertEqual(negotiation.granted(), b"\5\0\0\1" + bytes(6))
        self.assertEqual(negotiation.refused(), b"\5\5\0\1" + bytes(6))

    def test_refused(self) -> None:
        """What is not served is answered where there is an answer, and ends."""
        for data, answer in (
            (b"GET / HTTP/1.1\r\n", b""),
            (greeting_5(b"\2"), b"\5\xff"),
            (greeting_5(b""), b"\5\xff"),
            (greeting_5() + request_5(1, bytes(4), 80, command=2), b"\5\0\5\7\0\1" + bytes(6)),
            (greeting_5() + request_5(9, bytes(4), 80), b"\5\0\5\x08\0\1" + bytes(6)),
            (greeting_5() + request_5(1, bytes(4), 0), b"\5\0\5\1\0\1" + bytes(6)),
            (greeting_5() + request_5(3, b"\0", 80), b"\5\0\5\1\0\1" + bytes(6)),
            (greeting_5() + request_5(3, b"\3a\nb", 80), b"\5\0\5\1\0\1" + bytes(6)),
            (b"\4\2\0\x50\1\2\3\4\0", b"\0\x5b" + bytes(6)),
            (b"\4\1\0\x50\0\0\0\1\0\0", b"\0\x5b" + bytes(6)),
            (b"\4\1\0\x50\1\2\3\4" + b"u" * LIMIT, b""),
        ):
            negotiation = SocksNegotiation()
            self.assertRaises(SocksBroken, negotiation.receive, data)
            self.assertEqual(negotiation.to_send(), answer, data)
            self.assertRaises(SocksBroken, negotiation.receive, b"x")
