"""Tests of a terminal's modes and size, without a terminal."""

from __future__ import annotations

import os
import struct
import termios
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.client.terminal import WindowSize, encode_modes, window_size

# RFC 4254, section 8.
IGNCR, ICRNL, ICANON, ECHO, OPOST, ONLCR, CS7, CS8, PARENB = 35, 36, 51, 53, 70, 72, 90, 91, 92


def decode(modes: bytes) -> dict[int, int]:
    """RFC 4254, section 8."""
    assert modes[-1:] == b"\0"
    return dict(struct.iter_unpack(">BI", modes[:-1]))


def attributes(*, iflag: int = 0, oflag: int = 0, cflag: int = 0, lflag: int = 0) -> list[Any]:
    characters: list[Any] = [b"\0"] * 32
    characters[termios.VINTR] = b"\x03"
    return [iflag, oflag, cflag, lflag, termios.B38400, termios.B9600, characters]


class EncodeModesTests(SynchronousTestCase):
    def test_flags(self) -> None:
        """Each flag is told as set or not, in the group it belongs to."""
        modes = decode(
            encode_modes(
                attributes(
                    iflag=termios.ICRNL | 0o40000,
                    oflag=termios.OPOST,
                    cflag=termios.CS8,
                    lflag=termios.ECHO,
                )
            )
        )
        for opcode in (ICRNL, OPOST, CS8, ECHO):
            self.assertEqual(modes[opcode], 1, opcode)
        for opcode in (IGNCR, ONLCR, CS7, PARENB, ICANON):
            self.assertEqual(modes[opcode], 0, opcode)
        self.assertEqual(modes[42], 1)

    def test_characters(self) -> None:
        """A special character is told by its code, one that is off as 255."""
        modes = decode(encode_modes(attributes()))
        self.assertEqual(modes[1], 3)
        self.assertEqual(modes[2], 255)

    def test_speeds(self) -> None:
        """The speeds are told in bits per second."""
        modes = decode(encode_modes(attributes()))
        self.assertEqual((modes[128], modes[129]), (38400, 9600))


class WindowSizeTests(SynchronousTestCase):
    def test_no_terminal(self) -> None:
        """What is no terminal has the size that terminals once had."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.assertEqual(window_size(reading), WindowSize(80, 24))
