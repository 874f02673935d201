"""Tests of a server against messages that no honest client sends."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.fields import string, uint32
from mezite.ssh.packets import PacketWriter
from tests.ssh.pair import FixedCertificates, Pair

# What a message carries, when it does not carry what it should.
PAYLOADS = (
    b"",
    uint32(0),
    string(b"x") * 4,
    uint32(1024) + uint32(2048) + uint32(8192),
    random.Random(7).randbytes(64),
)
# All that RFC 4250 and OpenSSH give a number to, and some that nobody does.
MESSAGES = range(128)


class StrangerTests(SynchronousTestCase):
    """Strangers can end their connection, and write no traceback into the log."""

    def assert_quiet(self, what: object) -> None:
        self.assertEqual([str(each.value) for each in self.flushLoggedErrors()], [], what)

    def test_first_packet(self) -> None:
        """Any message, in place of the first."""
        for message in MESSAGES:
            for payload in PAYLOADS:
                server = Pair().server
                server.makeConnection(StringTransport())
                server.dataReceived(
                    b"SSH-2.0-x\r\n" + PacketWriter().seal(bytes([message]) + payload)
                )
                self.assert_quiet((message, payload))

    def test_amid_key_exchange(self) -> None:
        """Any message once the algorithms are agreed on."""
        for message in MESSAGES:
            for payload in PAYLOADS:
                pair = Pair()
                offer = pair.client_offer()
                transport = StringTransport()
                pair.server.makeConnection(transport)
                pair.server.dataReceived(offer)
                self.assertFalse(transport.disconnecting)
                writer = PacketWriter()
                writer.seal(b"x")
                pair.server.dataReceived(writer.seal(bytes([message]) + payload))
                self.assert_quiet((message, payload))

    def test_before_authentication(self) -> None:
        """Any message under keys, while the person is not in."""
        for message in MESSAGES:
            for payload in PAYLOADS:
                pair = Pair(certificates=FixedCertificates(answer=Deferred())).connect()
                pair.client_io.write(pair.client._writer.seal(bytes([message]) + payload))
                pair.pump.flush()
                pair.clock.advance(100)
                self.assert_quiet((message, payload))


class PersonTests(StrangerTests):
    """Nor can those who are in."""

    test_first_packet = test_amid_key_exchange = test_before_authentication = None  # type: ignore

    def test_any_message(self) -> None:
        """Any message on a connection with a channel, to that channel and to others."""
        for message in MESSAGES:
            for payload in (*PAYLOADS, uint32(0) + string(b"exec") + b"\1" + string(b"ls")):
                pair: Any = Pair().connect()
                pair.open()
                pair.client_io.write(pair.client._writer.seal(bytes([message]) + payload))
                pair.pump.flush()
                pair.clock.advance(100)
                self.assert_quiet((message, payload))
