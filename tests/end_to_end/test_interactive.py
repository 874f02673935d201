"""Tests of ``msh ssh`` on a terminal, as a person uses it."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import time
from collections.abc import Iterator

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.screen import PATIENCE, Screen, screen_with


@pytest.fixture
def screen(cluster: LocalCluster) -> Iterator[Screen]:
    """``msh ssh db1``, with a prompt that is easily told."""
    command = [cluster.executable("msh"), "ssh", f"{LOGIN}@db1"]
    with screen_with(command, cluster.variables()) as screen:
        # A shell that is not ready yet takes these all the same, as typed ahead.
        screen.type("exec env PS1='read''y> ' sh\n")
        screen.wait_for("ready> ")
        yield screen


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
        screen.wait_for(hashlib.sha256(lines.encode()).hexdigest())

    def test_killed(self, screen: Screen) -> None:
        """SIGTERM gives the terminal back too."""
        screen.process.terminate()
        assert screen.ends() == 128 + signal.SIGTERM
