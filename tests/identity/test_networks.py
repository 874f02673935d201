"""Tests of networks that people may come from."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.identity.networks import Networks, lies_in, overlap, parse_network

# Few bits that differ, so that networks often meet.
ADDRESS = st.one_of(
    st.integers(0, 15).map(lambda number: str(ipaddress.IPv4Address(0x0A000000 + number))),
    st.integers(0, 15).map(lambda number: str(ipaddress.IPv6Address((0x20010DB8 << 96) + number))),
)
NETWORK = st.builds(
    lambda address, bits: ipaddress.ip_network(
        (address, ipaddress.ip_address(address).max_prefixlen - bits), strict=False
    ),
    ADDRESS,
    st.integers(0, 5),
)
NETWORKS = st.one_of(st.none(), st.lists(NETWORK, max_size=5).map(tuple))


class NetworkTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """A network or one address is read; anything else is refused in one sentence."""
        for text in ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32", "::/0"):
            self.assertEqual(str(parse_network(text)), text)
        self.assertEqual(str(parse_network("192.0.2.7")), "192.0.2.7/32")
        for text in ("", "10.0.0.1/8", "10.0.0.0/33", "host", "10.0.0", "1" * 5000, "10.0.0.0/8,"):
            error = self.assertRaises(BadInput, parse_network, text)
            self.assertIn("is not a network", str(error))
            self.assertLess(len(str(error)), 200)

    def test_lies_in(self) -> None:
        """An address lies in its network, in whichever spelling it comes."""
        private = (parse_network("10.0.0.0/8"), parse_network("2001:db8::/32"))
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "[2001:db8::1]"):
            self.assertTrue(lies_in(private, address), address)
        for address in ("11.1.2.3", "::ffff:11.1.2.3", "2001:db9::1", "?", "", "host"):
            self.assertFalse(lies_in(private, address), address)
            self.assertTrue(lies_in(None, address))
            self.assertFalse(lies_in((), address))

    @settings(max_examples=100, deadline=None)
    @given(NETWORKS, NETWORKS, ADDRESS)
    def test_overlap(self, one: Networks | None, other: Networks | None, address: str) -> None:
        """An address lies in the overlap if and only if it lies in both."""
        expected = lies_in(one, address) and lies_in(other, address)
        self.assertEqual(lies_in(overlap(one, other), address), expected)
        self.assertEqual(lies_in(overlap(other, one), address), expected)
