"""Tests of messages and deadlines as gRPC writes them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.rpc.error import MessageTooLarge, RemoteRpcError, Unimplemented
from mezite.rpc.framing import MessageReader, encode_message, format_timeout, parse_timeout


class MessageReaderTests(SynchronousTestCase):
    @given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
    @settings(max_examples=80, deadline=None)
    def test_any_chunking(self, messages: list[bytes], chunk: int) -> None:
        """Any chunking gives the messages that were written."""
        data = b"".join(encode_message(message) for message in messages)
        reader = MessageReader(40)
        found = []
        for at in range(0, len(data), chunk):
            found += reader.receive(data[at : at + chunk])
        reader.finish()
        self.assertEqual(found, messages)

    def test_too_large(self) -> None:
        """A message over the limit is refused when its prefix comes, not its body."""
        reader = MessageReader(10)
        self.assertEqual(reader.receive(encode_message(b"x" * 10)), [b"x" * 10])
        with self.assertRaises(MessageTooLarge) as caught:
            reader.receive(b"\0\0\0\0\x0b")
        self.assertEqual(caught.exception.length, 11)

    def test_flags(self) -> None:
        """Compressed messages are not supported, and other flags are wrong."""
        with self.assertRaises(Unimplemented):
            MessageReader(10).receive(b"\1\0\0\0\0")
        with self.assertRaises(RemoteRpcError):
            MessageReader(10).receive(b"\2\0\0\0\0")

    def test_truncated(self) -> None:
        """A stream that ends inside a message is broken."""
        for data in (b"\0", b"\0\0\0\0\2", b"\0\0\0\0\2x"):
            reader = MessageReader(10)
            self.assertEqual(reader.receive(data), [])
            self.assertEqual(reader.pending, len(data))
            with self.assertRaises(RemoteRpcError):
                reader.finish()


class TimeoutTests(SynchronousTestCase):
    def test_units(self) -> None:
        """Each unit is read in seconds."""
        for text, seconds in [
            ("1H", 3600),
            ("2M", 120),
            ("10S", 10),
            ("1500m", 1.5),
            ("5u", 5e-6),
            ("7n", 7e-9),
            ("0S", 0),
        ]:
            self.assertAlmostEqual(parse_timeout(text), seconds)

    def test_malformed(self) -> None:
        """All else is refused."""
        for text in ("", "S", "10", "1.5S", "-1S", "123456789S", "10s", " 1S", "1S\n", "\u0661S"):
            with self.assertRaises(BadInput, msg=text):
                parse_timeout(text)

    @given(st.floats(0, 1e12))
    @settings(max_examples=100, deadline=None)
    def test_round_trip(self, seconds: float) -> None:
        """What is written can be read, and is never early nor late by much."""
        read = parse_timeout(format_timeout(seconds))
        self.assertGreaterEqual(read, min(seconds, 99_999_999 * 3600) * (1 - 1e-9))
        self.assertLessEqual(read, seconds * (1 + 1e-3) + 1e-9)
