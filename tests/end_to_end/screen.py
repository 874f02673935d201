"""A terminal for programs that a person would use, and the keys for it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define

PATIENCE = 30


@define
class Screen:
    """A terminal with a program on it: what it shows, and keys for it."""

    process: subprocess.Popen[bytes]
    master: int
    terminal: int
    before: list[Any]
    shown: bytes = b""
    transcript: bytes = b""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, wanted: str) -> None:
        """Until this is shown; what was shown up to then is forgotten."""
        deadline = time.monotonic() + PATIENCE
        while wanted.encode() not in self.shown:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0, left))
            assert ready, f"{wanted!r} is not shown: {self.shown!r}"
            self._read()
        self.shown = self.shown.split(wanted.encode(), 1)[1]

    def _read(self) -> None:
        data = os.read(self.master, 65536)
        self.shown += data
        self.transcript += data

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)

    def interrupt(self) -> None:
        """What the terminal does when Ctrl-C is typed and sends signals."""
        self.process.send_signal(signal.SIGINT)

    def ends(self) -> int:
        """The exit code, when all is read that was shown; the terminal is as it was."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self._read()
        code = self.process.wait(1)
        while select.select([self.master], [], [], 0)[0]:
            self._read()
        assert termios.tcgetattr(self.terminal) == self.before
        return code


@contextmanager
def screen_with(
    command: Sequence[str], environment: Mapping[str, str], *, columns: int = 100, rows: int = 40
) -> Iterator[Screen]:
    """This program on a terminal of its own."""
    master, terminal = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        command,
        cwd="/",
        env={**environment, "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        yield Screen(process, master, terminal, before)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
        os.close(terminal)
