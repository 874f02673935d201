"""Tests of ``msh ssh`` on a terminal, as a person uses it."""

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
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN

PATIENCE = 30


@define
class Screen:
    """A terminal with a program on it: what it shows, and keys for it."""

    process: subprocess.Popen[bytes]
    master: int
    terminal: int
    before: list[Any]
    shown: bytes = b""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, wanted: str) -> None:
        """Until this is shown; what was shown up to then is forgotten."""
        deadline = time.monotonic() + PATIENCE
        while wanted.encode() not in self.shown:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0, left))
            assert ready, f"{wanted!r} is not shown: {self.shown!r}"
            self.shown += os.read(self.master, 65536)
        self.shown = self.shown.split(wanted.encode(), 1)[1]

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)
        self.process.send_signal(signal.SIGWINCH)

    def ends(self) -> int:
        """The exit code; the terminal is as it was."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.shown += os.read(self.master, 65536)
        code = self.process.wait(1)
        assert termios.tcgetattr(self.terminal) == self.before
        return code


@pytest.fixture
def screen(cluster: LocalCluster) -> Iterator[Screen]:
    """``msh ssh db1``, with a prompt that is easily told."""
    master, terminal = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        [cluster.executable("msh"), "ssh", f"{LOGIN}@db1"],
        cwd="/",
        env={**cluster.variables(), "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    screen = Screen(process, master, terminal, before)
    # A shell that is not ready yet takes these all the same, as typed ahead.
    screen.type("exec env PS1='read''y> ' sh\n")
    screen.wait_for("ready> ")
    yield screen
    if process.poll() is None:
        process.kill()
        process.wait()
    os.close(master)
    os.close(terminal)


class ShellTests:
    """A shell on a terminal."""

    def test_exit_code(self, screen: Screen) -> None:
        """The shell's exit code is msh's, and the terminal is given back."""
        screen.type("exit 7\n")
        assert screen.ends() == 7

    def test_terminal(self, screen: Screen) -> None:
        """The node's terminal has the name and the size of the local one."""
        screen.type("tty; echo $TERM; stty size; echo do''ne\n")
        screen.wait_for("/dev/pts/")
        screen.wait_for("xterm-256color")
        screen.wait_for("40 100")
        screen.wait_for("done")

    def test_resize(self, screen: Screen) -> None:
        """A new size arrives while a program runs."""
        screen.type("sh -c 'trap \"stty size\" WINCH; echo go''ing; while :; do sleep 0.1; done'\n")
        screen.wait_for("going")
        screen.resize(71, 23)
        screen.wait_for("23 71")

    def test_interrupt(self, screen: Screen) -> None:
        """Ctrl-C ends what runs on the node, and neither the shell nor msh."""
        screen.type("sleep 60; echo ended-$?\n")
        time.sleep(0.5)
        screen.type("\x03")
        screen.wait_for("ready> ")
        screen.type("echo still-$((1+1))\n")
        screen.wait_for("still-2")

    def test_end_of_file(self, screen: Screen) -> None:
        """Ctrl-D ends the shell."""
        screen.type("\x04")
        assert screen.ends() == 0

    def test_paste(self, screen: Screen) -> None:
        """Ten thousand lines pasted at once arrive whole."""
        lines = "".join(f"line {number} of a paste\n" for number in range(10_000))
        screen.type("stty -echo; sha256sum\n")
        time.sleep(0.5)
        pasted = lines.encode()
        while pasted:
            _, writable, _ = select.select([], [screen.master], [], PATIENCE)
            assert writable
            pasted = pasted[os.write(screen.master, pasted[:1024]) :]
        screen.type("\x04")
        import hashlib

        screen.wait_for(hashlib.sha256(lines.encode()).hexdigest())

    def test_killed(self, screen: Screen) -> None:
        """SIGTERM gives the terminal back too."""
        screen.process.terminate()
        assert screen.ends() == 128 + signal.SIGTERM
