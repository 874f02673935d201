"""
What happens in a session, as its recording tells it.

Times are microseconds since the recording began. What these events look like in
a file is :mod:`mezite.recording.format`'s.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

# The size of a terminal that nobody has told.
COLUMNS: Final = 80
ROWS: Final = 24


class Stream(enum.IntEnum):
    """Which of a process's streams; the numbers are those of its descriptors."""

    INPUT = 0
    OUTPUT = 1
    ERROR = 2


class Kind(enum.Enum):
    """What was recorded."""

    SHELL = "shell"
    COMMAND = "command"
    SFTP = "sftp"
    FORWARDS = "forwards"


@frozen
class Header:
    """
    What a recording is of.

    ``timestamp`` is when it began, in POSIX seconds. ``session`` and ``number``
    together name the recording: one session has one for each shell, command and
    transfer in it. Without a terminal, what a process wrote has bare line feeds.
    """

    timestamp: int
    columns: int = COLUMNS
    rows: int = ROWS
    session: str = ""
    number: int = 0
    node: str = ""
    login: str = ""
    user: str = ""
    address: str = ""
    kind: Kind = Kind.SHELL
    command: bytes | None = None
    has_terminal: bool = True
    has_input: bool = False
    environment: Mapping[str, str] = field(factory=dict)


@frozen
class Output:
    """
    The process wrote this.

    ``shown`` is what players show in its place, where the bytes are no text.
    """

    time: int
    data: bytes
    stream: Stream = Stream.OUTPUT
    shown: str | None = field(default=None, eq=False)


@frozen
class Input:
    """The person, or the program that they ran, wrote this."""

    time: int
    data: bytes
    shown: str | None = field(default=None, eq=False)


@frozen
class Resized:
    """The terminal has another size now."""

    time: int
    columns: int
    rows: int


@frozen
class Marker:
    """A place in the recording that has a name."""

    time: int
    label: str


@frozen
class Caption:
    """A line for people who watch, which nobody wrote in the session."""

    time: int
    text: str


@frozen
class Note:
    """
    Something of the session that is no text: an operation on a file, a forward, a cap.

    ``kind`` and the names of the fields are listed in docs/protocols/recording.rst.
    """

    time: int
    kind: str
    fields: Mapping[str, str | int | bool] = field(factory=dict)


@frozen
class Exited:
    """The process is over; killed by a signal it has 128 and the signal's number."""

    time: int
    status: int


@frozen
class Unknown:
    """An event of a later version, or of another recorder."""

    time: int
    code: str
    data: str


Event = Output | Input | Resized | Marker | Caption | Note | Exited | Unknown
