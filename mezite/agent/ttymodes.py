"""
The terminal modes of RFC 4254, section 8, put on a terminal of this machine.
"""

from __future__ import annotations

import termios
from collections.abc import Mapping
from typing import Any, Final

from mezite.ssh.error import MalformedMessage
from mezite.ssh.fields import FieldReader

_END: Final = 0
# From 160 on, opcodes have arguments that nobody can skip: parsing stops there.
_LAST: Final = 159
# 55 opcodes are defined, each with 4 octets of argument; one repetition is nonsense.
MODES_LENGTH: Final = 1024

_CHARACTERS: Final[Mapping[int, str]] = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    6: "VEOL",
    7: "VEOL2",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
    12: "VREPRINT",
    13: "VWERASE",
    14: "VLNEXT",
    16: "VSWTC",
    18: "VDISCARD",
}
# Which of termios' four flag words, and the flag.
_IFLAG, _OFLAG, _LFLAG = 0, 1, 3
_FLAGS: Final[Mapping[int, tuple[int, str]]] = {
    30: (_IFLAG, "IGNPAR"),
    31: (_IFLAG, "PARMRK"),
    32: (_IFLAG, "INPCK"),
    33: (_IFLAG, "ISTRIP"),
    34: (_IFLAG, "INLCR"),
    35: (_IFLAG, "IGNCR"),
    36: (_IFLAG, "ICRNL"),
    37: (_IFLAG, "IUCLC"),
    38: (_IFLAG, "IXON"),
    39: (_IFLAG, "IXANY"),
    40: (_IFLAG, "IXOFF"),
    41: (_IFLAG, "IMAXBEL"),
    42: (_IFLAG, "IUTF8"),
    50: (_LFLAG, "ISIG"),
    51: (_LFLAG, "ICANON"),
    52: (_LFLAG, "XCASE"),
    53: (_LFLAG, "ECHO"),
    54: (_LFLAG, "ECHOE"),
    55: (_LFLAG, "ECHOK"),
    56: (_LFLAG, "ECHONL"),
    57: (_LFLAG, "NOFLSH"),
    58: (_LFLAG, "TOSTOP"),
    59: (_LFLAG, "IEXTEN"),
    60: (_LFLAG, "ECHOCTL"),
    61: (_LFLAG, "ECHOKE"),
    62: (_LFLAG, "PENDIN"),
    70: (_OFLAG, "OPOST"),
    71: (_OFLAG, "OLCUC"),
    72: (_OFLAG, "ONLCR"),
    73: (_OFLAG, "OCRNL"),
    74: (_OFLAG, "ONOCR"),
    75: (_OFLAG, "ONLRET"),
}
# What Python's termios does not name, from Linux's asm-generic/termbits.h.
_UNNAMED: Final[Mapping[str, int]] = {
    "IUTF8": 0o40000,
    "ECHOCTL": 0o1000,
    "ECHOKE": 0o4000,
    "PENDIN": 0o40000,
    "XCASE": 0o4,
    "IUCLC": 0o1000,
    "OLCUC": 0o2,
}
_ISPEED, _OSPEED = 128, 129
# "Not set", of a special character (RFC 4254, section 8) and of termios.
_UNSET: Final = 255
_DISABLED: Final = b"\0"


def parse(encoded: bytes) -> dict[int, int]:
    """
    Opcode to argument, in the order given.

    :raises MalformedMessage: if it ends within an argument or is too long.
    """
    if len(encoded) > MODES_LENGTH:
        raise MalformedMessage("there are too many terminal modes")
    modes: dict[int, int] = {}
    reader = FieldReader(encoded)
    at = 0
    while at < len(encoded):
        opcode = reader.byte()
        if opcode == _END or opcode > _LAST:
            break
        modes[opcode] = reader.uint32()
        at += 5
    return modes


def applied(modes: Mapping[int, int], attributes: list[Any]) -> list[Any]:
    """
    What ``tcsetattr`` should set, from what ``tcgetattr`` gave.

    Opcodes that this machine has no mode for are passed over, and so are those
    of parity and size: a pseudo-terminal has eight bits, and refuses others.
    """
    flags = list(attributes[:4])
    speeds = list(attributes[4:6])
    characters = list(attributes[6])
    for opcode, value in modes.items():
        if opcode in _CHARACTERS:
            index = getattr(termios, _CHARACTERS[opcode], None)
            if index is not None and value <= _UNSET:
                characters[index] = _DISABLED if value == _UNSET else bytes([value])
        elif opcode in _FLAGS:
            word, name = _FLAGS[opcode]
            flag = getattr(termios, name, _UNNAMED.get(name, 0))
            flags[word] = flags[word] | flag if value else flags[word] & ~flag
        elif opcode in (_ISPEED, _OSPEED):
            speed = getattr(termios, f"B{value}", None)
            if speed is not None:
                speeds[opcode - _ISPEED] = speed
    return [*flags, *speeds, characters]


def put_on(fd: int, modes: Mapping[int, int]) -> None:
    """Set these modes on the terminal."""
    if modes:
        termios.tcsetattr(fd, termios.TCSANOW, applied(modes, termios.tcgetattr(fd)))
