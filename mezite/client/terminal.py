"""
A person's terminal: its size, its modes, and its raw state while a session runs.

:class:`RawTerminal` owns the state of one terminal from the moment it is
entered, and gives it back on every way out: the end, an exception, a signal
that cancels what runs, the end of the interpreter.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import struct
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Final, Self

from attrs import frozen
from twisted.conch.ttymodes import TTYMODES

DEFAULT_TERM: Final = "xterm"
# What Conch's table leaves out: RFC 8160, and the sizes of a character.
_MODES: Final[Mapping[int, Any]] = {
    **TTYMODES,
    42: (0, "IUTF8"),
    90: (2, "CS7"),
    91: (2, "CS8"),
}
# bits/termios-c_iflag.h; the termios module of Python 3.11 does not name it.
_UNNAMED: Final = {"IUTF8": 0o40000}
_SIZES: Final = ("CS7", "CS8")
_ISPEED: Final = 128
_OSPEED: Final = 129
_END: Final = b"\0"
# RFC 4254, section 8: a special character that is switched off.
_NO_CHARACTER: Final = 255
_SPEEDS: Final = {
    getattr(termios, f"B{speed}"): speed
    for speed in (300, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400)
}
# The groups of flags in what tcgetattr(3) gives; Conch's table has the same numbers.
_INPUT, _OUTPUT, _, _LOCAL = range(4)
_CHARACTERS: Final = 6


@frozen
class WindowSize:
    """The size of a terminal, in characters and, where known, in pixels."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0


def window_size(file: int) -> WindowSize:
    """The size of this terminal; 80 by 24 if it does not know."""
    try:
        packed = fcntl.ioctl(file, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        packed = bytes(8)
    rows, columns, width, height = struct.unpack("HHHH", packed)
    return WindowSize(columns or 80, rows or 24, width, height)


def encode_modes(attributes: Sequence[Any]) -> bytes:
    """The modes of a terminal, from what tcgetattr gave, as ``pty-req`` carries them."""
    encoded = [
        struct.pack(">BI", _OSPEED, _SPEEDS.get(attributes[5], 38400)),
        struct.pack(">BI", _ISPEED, _SPEEDS.get(attributes[4], 38400)),
    ]
    for opcode, mode in sorted(_MODES.items()):
        if opcode >= _ISPEED:
            continue
        group, name = mode if isinstance(mode, tuple) else (_CHARACTERS, mode)
        value = _UNNAMED.get(name, getattr(termios, name, None))
        if value is None:
            continue  # not a mode of this system
        if group == _CHARACTERS:
            setting = attributes[_CHARACTERS][value]
            number = setting if isinstance(setting, int) else ord(setting)
            encoded.append(struct.pack(">BI", opcode, number or _NO_CHARACTER))
        else:
            # CS7 and CS8 are values of one field.
            mask = termios.CSIZE if name in _SIZES else value
            is_set = attributes[group] & mask == value
            encoded.append(struct.pack(">BI", opcode, int(is_set)))
    return b"".join(encoded) + _END


class ResizeWatch:
    """Calls back, on the reactor, each time the terminal's size has changed (SIGWINCH)."""

    def __init__(self, reactor: Any, on_resize: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_resize = on_resize
        self._previous: Any = None

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGWINCH, self._resized)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGWINCH, self._previous or signal.SIG_DFL)

    def _resized(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._on_resize)


class RawTerminal:
    """
    A terminal that hands every key to the program, for as long as this is entered.

    ``attributes`` are the terminal's before that. A program that was stopped and
    continued (SIGCONT) makes it raw again, because the shell has changed it;
    ``on_continued`` is called from the signal handler then.
    """

    def __init__(self, file: int, on_continued: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._on_continued = on_continued
        self.attributes: list[Any] = termios.tcgetattr(file)
        self._previous: Any = None
        self._is_raw = False

    def __enter__(self) -> Self:
        atexit.register(self.restore)
        self._previous = signal.signal(signal.SIGCONT, self._continued)
        self._is_raw = True
        self._make_raw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()
        signal.signal(signal.SIGCONT, self._previous or signal.SIG_DFL)
        atexit.unregister(self.restore)

    def restore(self) -> None:
        """Give the terminal back as it was; harmless when repeated."""
        if not self._is_raw:
            return
        self._is_raw = False
        # A background process that sets a terminal is stopped, and could not give it back.
        previous = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self.attributes)
        except (termios.error, OSError):
            pass  # the terminal itself is gone
        finally:
            signal.signal(signal.SIGTTOU, previous)

    def suspend(self) -> None:
        """Stop this process, as Ctrl-Z does to others; it returns once it was continued."""
        if not self._is_raw:
            return
        self.restore()
        # To this thread: with others about, a signal for the process may come a moment later.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        self._is_raw = True
        self._raw_again()

    def _continued(self, number: int, frame: FrameType | None) -> None:
        if self._is_raw:
            self._raw_again()

    def _raw_again(self) -> None:
        # In the background the terminal is somebody else's; SIGCONT comes again with it.
        if _is_ours(self._file):
            self._make_raw()
            self._on_continued()

    def _make_raw(self) -> None:
        raw = [*self.attributes[:_CHARACTERS], list(self.attributes[_CHARACTERS])]
        raw[_INPUT] |= termios.IGNPAR
        raw[_INPUT] &= ~(
            termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
            | termios.IXANY
            | termios.IXOFF
        )
        raw[_OUTPUT] &= ~termios.OPOST
        raw[_LOCAL] &= ~(
            termios.ISIG
            | termios.ICANON
            | termios.ECHO
            | termios.ECHOE
            | termios.ECHOK
            | termios.ECHONL
            | termios.IEXTEN
        )
        raw[_CHARACTERS][termios.VMIN] = 1
        raw[_CHARACTERS][termios.VTIME] = 0
        termios.tcsetattr(self._file, termios.TCSADRAIN, raw)


def _is_ours(file: int) -> bool:
    """Whether no other group of processes has the terminal now."""
    try:
        return os.tcgetpgrp(file) == os.getpgrp()
    except OSError:
        return True  # it controls nobody
