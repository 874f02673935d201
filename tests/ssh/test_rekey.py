from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.error import SshProtocolError
from mezite.ssh.keylife import DEFAULT_LIMITS, KeyLimits
from mezite.ssh.transport import HELD
from tests.ssh.pair import HearingChannel, Pair

SIDES = ("client", "server")


class CountingPair(Pair):
    """A pair that counts how often its keys were exchanged."""

    def connect(self) -> CountingPair:
        self.exchanges = dict.fromkeys(SIDES, 0)
        for side in SIDES:
            self._count(side)
        super().connect()
        return self

    def _count(self, side: str) -> None:
        transport: Any = getattr(self, side)
        key_setup = transport._keySetup

        def counted(secret: bytes, exchange_hash: bytes) -> None:
            self.exchanges[side] += 1
            key_setup(secret, exchange_hash)

        transport._keySetup = counted


class RekeyTests(SynchronousTestCase):
    """New keys for a connection that stands."""

    def test_by_octets(self) -> None:
        """Whichever side counts enough of them wants new keys, and both agree how often."""
        for side in SIDES:
            pair = CountingPair()
            getattr(pair, side).key_limits = KeyLimits(octets=100_000)
            channel = pair.connect().open()
            for _ in range(16):
                channel.write(b"x" * 60_000)
                pair.pump.flush()
            self.assertEqual(len(channel.heard), 16 * 60_000)
            self.assertEqual(pair.exchanges["client"], pair.exchanges["server"])
            self.assertGreater(pair.exchanges["client"], 10)

    def test_by_time(self) -> None:
        """Keys grow old, and are exchanged as soon as the peer is heard again."""
        for side in SIDES:
            pair = CountingPair()
            other = "client" if side == "server" else "server"
            getattr(pair, other).key_limits = KeyLimits(seconds=1e9)
            pair.connect()
            pair.clock.advance(DEFAULT_LIMITS.seconds - 1)
            pair.client.sendIgnore(b"")
            pair.server.sendIgnore(b"")
            pair.pump.flush()
            self.assertEqual(pair.exchanges[side], 1)
            pair.clock.advance(1)
            pair.pump.flush()
            self.assertEqual(pair.exchanges[side], 1)
            getattr(pair, other).sendIgnore(b"")
            pair.pump.flush()
            self.assertEqual(pair.exchanges, {"client": 2, "server": 2})

    def test_grown_old_in_silence(self) -> None:
        """A peer that was stopped for a day finds its connection as it was."""
        pair = CountingPair().connect()
        for _ in range(24):
            pair.clock.advance(3600)
        self.assertFalse(pair.server.disconnecting)
        channel = pair.open()
        channel.write(b"good morning")
        pair.pump.flush()
        self.assertEqual(bytes(channel.heard), b"good morning")
        self.assertEqual(pair.exchanges, {"client": 2, "server": 2})

    def test_both_at_once(self) -> None:
        """When both want new keys at the same time, they exchange them once."""
        pair = CountingPair().connect()
        channel = pair.open()
        channel.write(b"before")
        pair.client.sendKexInit()
        pair.server.sendKexInit()
        channel.write(b" and after")
        pair.pump.flush()
        self.assertEqual(bytes(channel.heard), b"before and after")
        self.assertEqual(pair.exchanges, {"client": 2, "server": 2})

    def test_amid_opening(self) -> None:
        """A channel that is opened while keys are exchanged is opened all the same."""
        for wants in (("client",), ("server",), SIDES):
            pair = CountingPair().connect()
            first, second = HearingChannel(), HearingChannel()
            pair.connection.openChannel(first)
            for side in wants:
                getattr(pair, side).sendKexInit()
            pair.connection.openChannel(second)
            pair.pump.flush()
            self.assertEqual((first.happened, second.happened), (["open"], ["open"]))

    def test_never_answered(self) -> None:
        """A peer that does not answer is dropped in time, and the person is out."""
        for side in SIDES:
            pair = CountingPair().connect()
            transport = getattr(pair, side)
            other = pair.client if side == "server" else pair.server
            other.dataReceived = lambda data: None  # type: ignore[method-assign]
            transport.sendKexInit()
            pair.clock.advance(DEFAULT_LIMITS.exchange_seconds - 1)
            self.assertFalse(transport.disconnecting)
            pair.clock.advance(1)
            self.assertTrue(transport.disconnecting)
            self.assertIn("does not come to its end", str(transport.end))

    def test_goes_on_regardless(self) -> None:
        """A peer that keeps asking instead of answering does not make us hold its answers."""
        pair = CountingPair().connect()
        pair.open()
        pair.client.ssh_KEXINIT = lambda packet: None  # type: ignore[assignment,method-assign]
        pair.server.sendKexInit()
        [channel] = pair.served[0].made
        for _ in range(HELD // 16):
            channel.conn.transport.sendPacket(98, bytes(16))
            self.assertLessEqual(pair.server._held_bytes, HELD + 100)
        self.assertTrue(pair.server.disconnecting)
        self.assertIsInstance(pair.server.end, SshProtocolError)

    def test_no_timers_left(self) -> None:
        """However a connection ends, no timer of its keys is left."""
        for wants in ((), ("client",), SIDES):
            pair = CountingPair().connect()
            for side in wants:
                getattr(pair, side).sendKexInit()
            pair.client.close()
            pair.pump.flush()
            self.assertEqual(pair.clock.getDelayedCalls(), [])

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from(["write", "echo"]), st.integers(1, 5000)),
                st.tuples(st.just("exchange"), st.sampled_from(SIDES)),
                st.tuples(st.just("open"), st.none()),
                st.tuples(st.just("pump"), st.integers(1, 4)),
            ),
            max_size=30,
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_any_order(self, steps: list[tuple[str, Any]]) -> None:
        """In whatever order both sides write, open and want new keys, nothing is lost."""
        pair = CountingPair().connect()
        channels = [pair.open()]
        sent = [bytearray()]
        answers = bytearray()
        for step, value in steps:
            if step == "write":
                data = bytes([value % 256]) * value
                channels[-1].write(data)
                sent[-1] += data
            elif step == "echo":
                pair.served[0].made[0].writeExtended(1, b"e" * value)
                answers += b"e" * value
            elif step == "exchange":
                transport = getattr(pair, value)
                if not transport._order.holds_data:
                    try:
                        transport.sendKexInit()
                    except SshProtocolError:
                        pass  # it waits for the peer's last word in an exchange
            elif step == "open":
                channels.append(HearingChannel())
                sent.append(bytearray())
                pair.connection.openChannel(channels[-1])
            else:
                for _ in range(value):
                    pair.pump.pump()
        pair.pump.flush()
        self.assertEqual([bytes(c.heard) for c in channels], [bytes(s) for s in sent])
        self.assertEqual(bytes(channels[0].extra), bytes(answers))
        self.assertEqual(pair.exchanges["client"], pair.exchanges["server"])
        self.assertEqual(self.flushLoggedErrors(), [])
