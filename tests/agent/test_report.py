"""Tests of what a node says of itself."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import report
from mezite.agent.report import Machine, addresses_in, own_addresses

LOCAL, ADDRESS = 2, 1
GLOBAL, LINK, HOST = 0, 253, 254


def attribute(kind: int, data: bytes) -> bytes:
    return pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def message(kind: int, body: bytes = b"") -> bytes:
    return pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + bytes(-len(body) % 4)


def address(scope: int, *attributes: tuple[int, str]) -> bytes:
    packed = b"".join(attribute(kind, ip_address(text).packed) for kind, text in attributes)
    return message(20, pack("=BBBBI", socket.AF_INET, 24, 0, scope, 2) + packed)


DUMP = (
    address(HOST, (ADDRESS, "127.0.0.1"))
    + address(GLOBAL, (ADDRESS, "192.0.2.1"), (LOCAL, "192.0.2.2"))
    + address(GLOBAL, (ADDRESS, "2001:db8::1"))
    + address(LINK, (ADDRESS, "fe80::1"))
)


class AddressesTests(SynchronousTestCase):
    def test_dump(self) -> None:
        """Addresses that others can reach are told, one's own and not the peer's."""
        self.assertEqual(addresses_in(DUMP), (["192.0.2.2", "2001:db8::1"], False))
        self.assertEqual(addresses_in(message(3)), ([], True))

    def test_odd(self) -> None:
        """What is cut off, or of another kind, is passed over."""
        self.assertEqual(addresses_in(message(2) + DUMP)[0], ["192.0.2.2", "2001:db8::1"])
        self.assertEqual(addresses_in(pack("=IHHII", 3, 20, 0, 1, 0)), ([], False))
        for end in range(len(DUMP)):
            found, is_done = addresses_in(DUMP[:end])
            self.assertFalse(is_done)
            self.assertLessEqual(set(found), {"192.0.2.1", "192.0.2.2", "2001:db8::1"})

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """No bytes make it fail, or go on for ever."""
        found, _ = addresses_in(data)
        self.assertLessEqual(len(found), len(data))

    def test_own(self) -> None:
        """This machine's are addresses, none of them the loopback's."""
        for text in own_addresses():
            self.assertFalse(ip_address(text).is_loopback)


class MachineTests(SynchronousTestCase):
    def test_now_and_then(self) -> None:
        """The machine is looked at once a minute at most."""
        now = 0.0
        found = [("192.0.2.1",), ("192.0.2.2",)]
        self.patch(report, "own_addresses", lambda: found.pop(0))
        machine = Machine(lambda: now)
        self.assertEqual(machine.facts().addresses, ("192.0.2.1",))
        self.assertTrue(machine.facts().os)
        now = 59.0
        self.assertEqual(machine.facts().addresses, ("192.0.2.1",))
        now = 60.0
        self.assertEqual(machine.facts().addresses, ("192.0.2.2",))
