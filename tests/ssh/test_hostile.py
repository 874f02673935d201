"""What strangers and people may send, in any order, and what the network may change."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh import algorithms
from mezite.ssh.connection import CHANNELS
from mezite.ssh.error import MAC_ERROR, PROTOCOL_ERROR, PeerDisconnected
from mezite.ssh.fields import string, uint32
from mezite.ssh.packets import PACKET_LENGTH
from mezite.ssh.transport import HELD
from tests.ssh.pair import FixedCertificates, Pair
from tests.ssh.test_transport import kexinit

KNOWN = (1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 50, 51, 52, 53, 60, 80, 81, 82, *range(90, 101))
numbers = st.one_of(st.sampled_from(KNOWN), st.integers(0, 255))
small = st.integers(0, 3).map(uint32)
words = st.one_of(
    small,
    st.sampled_from([2**21, 2**32 - 1]).map(uint32),
    st.sampled_from([b"echo", b"session", b"yes", b"ssh-connection", b"ssh-userauth"]).map(string),
    st.binary(max_size=40).map(string),
    st.binary(max_size=3),
)
bodies = st.one_of(
    st.lists(words, max_size=6).map(b"".join),
    st.just(string(b"echo") + uint32(0) + uint32(2**21) + uint32(2**15)),
    st.just(kexinit()[1:]),
)
messages = st.tuples(numbers, bodies).map(lambda pair: bytes([pair[0]]) + pair[1])


class AnyOrderTests(SynchronousTestCase):
    """Messages in any order and number: no crash, no hang, no growth."""

    def play(self, pair: Pair, sent: list[bytes]) -> None:
        for payload in sent:
            pair.server.dataReceived(pair.client._writer.seal(payload))
        self.assertEqual(self.flushLoggedErrors(), [])
        if pair.server.disconnecting:
            self.assertTrue(pair.server_io.disconnecting)
        self.assertLessEqual(pair.server._held_bytes, HELD)
        self.assertEqual(pair.server._batch, [])
        for connection in pair.served:
            self.assertLessEqual(len(connection.channels), CHANNELS)
        pair.server.connectionLost()
        self.assertEqual([call for call in pair.clock.getDelayedCalls() if call.active()], [])

    @given(st.lists(messages, max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_of_somebody_who_is_in(self, sent: list[bytes]) -> None:
        """A person who is in may send what they like, once each for every channel there is."""
        pair = Pair().connect()
        pair.client.connectionLost()
        self.play(pair, sent)

    @given(st.lists(messages, max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_while_admitted(self, sent: list[bytes]) -> None:
        """So may a person whose admission is not decided."""
        undecided: Deferred[object] = Deferred(lambda _: None)
        pair = Pair(certificates=FixedCertificates(answer=undecided)).connect()
        pair.client.connectionLost()
        self.play(pair, sent)

    @given(st.lists(messages, max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_of_a_stranger(self, sent: list[bytes]) -> None:
        """And a stranger who has no keys yet."""
        pair = Pair()
        pair.server.makeConnection(pair.server_io)
        pair.client.makeConnection(pair.client_io)
        pair.client.connectionLost()
        pair.server.dataReceived(b"SSH-2.0-test\r\n")
        pair.client._writer.__init__()  # type: ignore[misc]
        self.play(pair, sent)

    @given(st.lists(messages, max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_of_a_server(self, sent: list[bytes]) -> None:
        """And a server, to us as its client."""
        pair = Pair().connect()
        pair.open()
        for payload in sent:
            pair.client.dataReceived(pair.server._writer.seal(payload))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertLessEqual(pair.client._held_bytes, HELD)
        pair.client.connectionLost()
        pair.server.connectionLost()
        self.assertEqual([call for call in pair.clock.getDelayedCalls() if call.active()], [])

    def test_many_channels(self) -> None:
        """Channels are opened up to the limit, and refused after that."""
        pair = Pair().connect()
        for _ in range(3 * CHANNELS):
            pair.open()
        self.assertEqual(len(pair.served[0].channels), CHANNELS)


class AnyBitTests(SynchronousTestCase):
    """One bit changed on its way, under every cipher and MAC."""

    @given(
        st.sampled_from(algorithms.CIPHERS),
        st.sampled_from(algorithms.MACS),
        st.integers(0, 2**16),
    )
    @settings(max_examples=100, deadline=None)
    def test_ends(self, cipher: bytes, mac: bytes, bit: int) -> None:
        """The connection ends with a word that the peer hears, and nothing is delivered."""
        self.patch(algorithms, "CIPHERS", (cipher,))
        self.patch(algorithms, "MACS", (mac,))
        pair = Pair().connect()
        channel = pair.open()
        channel.write(b"rm -r ./tmp")
        wire = bytearray(b"".join(pair.client_io.stream))
        pair.client_io.stream.clear()
        bit %= len(wire) * 8
        wire[bit // 8] ^= 1 << bit % 8
        pair.server.dataReceived(bytes(wire))
        # A changed length may be waited for, but not longer than a packet may be.
        if not pair.server.disconnecting:
            pair.server.dataReceived(bytes(PACKET_LENGTH + 100))
        self.assertTrue(pair.server.disconnecting)
        self.assertEqual(pair.served[0].made[0].heard, [])
        self.assertEqual(self.flushLoggedErrors(), [])
        ended = pair.client.ended()
        pair.pump.flush()
        reason = self.successResultOf(ended)
        assert isinstance(reason, PeerDisconnected)
        self.assertIn(reason.code, (MAC_ERROR, PROTOCOL_ERROR))
