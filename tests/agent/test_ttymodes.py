from __future__ import annotations

import os
import termios

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import ttymodes
from mezite.ssh.error import MalformedMessage
from mezite.ssh.fields import uint32


class ParseTests(SynchronousTestCase):
    """The encoding of RFC 4254, section 8."""

    @given(st.dictionaries(st.integers(1, 159), st.integers(0, 2**32 - 1), max_size=20))
    @settings(max_examples=50, deadline=None)
    def test_identity(self, modes: dict[int, int]) -> None:
        """What was encoded is read again."""
        encoded = b"".join(bytes([code]) + uint32(value) for code, value in modes.items())
        self.assertEqual(ttymodes.parse(encoded + b"\0"), modes)
        self.assertEqual(ttymodes.parse(encoded), modes)

    def test_unknown_argument(self) -> None:
        """From 160 on nothing more can be read."""
        self.assertEqual(ttymodes.parse(b"\x35" + uint32(1) + b"\xa0whatever"), {53: 1})

    def test_cut(self) -> None:
        """An opcode without its argument."""
        for length in range(1, 5):
            self.assertRaises(MalformedMessage, ttymodes.parse, (b"\x35" + uint32(1))[:length])

    def test_too_many(self) -> None:
        """More modes than there are."""
        self.assertRaises(
            MalformedMessage, ttymodes.parse, (b"\x35" + uint32(1)) * ttymodes.MODES_LENGTH
        )


class AppliedTests(SynchronousTestCase):
    """Modes on a real terminal."""

    def setUp(self) -> None:
        master, self.slave = os.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, self.slave)

    def test_each_kind(self) -> None:
        """Characters, input, output, control and local flags and speeds are all set."""
        ttymodes.put_on(
            self.slave,
            {
                1: 7,
                3: 8,
                4: 255,
                36: 0,
                38: 0,
                50: 1,
                51: 0,
                53: 0,
                60: 0,
                70: 0,
                128: 9600,
                129: 9600,
            },
        )
        iflag, oflag, _, lflag, ispeed, _, characters = termios.tcgetattr(self.slave)
        self.assertEqual(characters[termios.VINTR], b"\x07")
        self.assertEqual(characters[termios.VERASE], b"\x08")
        self.assertEqual(characters[termios.VKILL], b"\x00")
        self.assertFalse(iflag & (termios.ICRNL | termios.IXON))
        self.assertFalse(oflag & termios.OPOST)
        self.assertTrue(lflag & termios.ISIG)
        self.assertFalse(lflag & (termios.ICANON | termios.ECHO | 0o1000))
        self.assertEqual(ispeed, termios.B9600)

    def test_utf8(self) -> None:
        """The mode that makes a backspace erase a whole character."""
        for value in (1, 0):
            ttymodes.put_on(self.slave, {42: value})
            self.assertEqual(bool(termios.tcgetattr(self.slave)[0] & 0o40000), bool(value))

    def test_unknown(self) -> None:
        """What this machine has no mode for is passed over."""
        before = termios.tcgetattr(self.slave)
        ttymodes.put_on(self.slave, {11: 1, 17: 1, 90: 1, 92: 1, 99: 1, 129: 12345, 1: 4711})
        self.assertEqual(termios.tcgetattr(self.slave), before)

    @given(st.dictionaries(st.integers(1, 159), st.integers(0, 2**32 - 1), max_size=60))
    @settings(max_examples=60, deadline=None)
    def test_anything(self, modes: dict[int, int]) -> None:
        """No modes make a terminal that cannot be set."""
        ttymodes.put_on(self.slave, modes)
