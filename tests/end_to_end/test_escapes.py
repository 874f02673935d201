"""Escape characters and Ctrl-Z of ``msh ssh``, in tmux, whose shell has jobs."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.screen import PATIENCE


@frozen
class Tmux:
    """One window of a tmux server of its own, with a shell in it."""

    socket: Path

    def run(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *words],
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            timeout=PATIENCE,
            check=True,
            text=True,
        ).stdout

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def shown(self) -> str:
        return self.run("capture-pane", "-p", "-S", "-")

    def wait_for(self, wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.shown():
            assert time.monotonic() < deadline, f"{wanted!r} is not shown:\n{self.shown()}"
            time.sleep(0.1)


@pytest.fixture
def tmux(cluster: LocalCluster) -> Iterator[Tmux]:
    """A local shell in tmux, whose prompt is ``here>``, and in it ``msh ssh`` with ``there>``."""
    with tempfile.TemporaryDirectory(prefix="mz") as place:
        tmux = Tmux(Path(place) / "tmux")
        variables = [f"{key}={value}" for key, value in cluster.variables().items()]
        shell = shlex.join(["env", *variables, "PS1=here> ", "bash", "--norc", "--noprofile"])
        tmux.run("new-session", "-d", "-x", "100", "-y", "30", shell)
        try:
            tmux.wait_for("here>")
            tmux.type(f"msh ssh -e '~' {LOGIN}@db1")
            tmux.press("Enter")
            tmux.type("exec env PS1='the''re> ' sh")
            tmux.press("Enter")
            tmux.wait_for("there>")
            yield tmux
        finally:
            tmux.run("kill-server")


class EscapeTests:
    """What ``~`` does at the start of a line."""

    def test_end(self, tmux: Tmux) -> None:
        """``~.`` ends the connection, and the status is msh's own."""
        tmux.press("Enter")
        tmux.type("~.")
        tmux.wait_for("the connection was ended by ~.")
        tmux.type("echo status-$?")
        tmux.press("Enter")
        tmux.wait_for("status-255")

    def test_help(self, tmux: Tmux) -> None:
        """``~?`` shows what there is, and the session goes on."""
        tmux.press("Enter")
        tmux.type("~?")
        tmux.wait_for("end the connection")
        tmux.type("echo still-$((1+1))")
        tmux.press("Enter")
        tmux.wait_for("still-2")

    def test_itself(self, tmux: Tmux) -> None:
        """``~~`` is one, and elsewhere in a line it is nothing special."""
        tmux.press("Enter")
        tmux.type("~~; echo 'ti~.lde'")
        tmux.press("Enter")
        tmux.wait_for("ti~.lde")

    def test_suspend(self, tmux: Tmux) -> None:
        """``~^Z`` gives the local shell back, whole; ``fg`` goes on, at the new size."""
        tmux.press("Enter")
        tmux.type("~")
        tmux.press("C-z")
        tmux.wait_for("Stopped")
        tmux.type("stty -a | grep -o ' icanon'; echo lo''cal")
        tmux.press("Enter")
        tmux.wait_for("local")
        assert " icanon" in tmux.shown()
        tmux.run("resize-window", "-x", "77", "-y", "22")
        tmux.type("fg")
        tmux.press("Enter")
        tmux.wait_for("fg\nmsh ssh -e")  # so the shell has let go of the keyboard
        time.sleep(1)
        tmux.type("stty size; echo re''mote")
        tmux.press("Enter")
        tmux.wait_for("remote")
        assert "22 77" in tmux.shown()
        tmux.type("exit 3")
        tmux.press("Enter")
        tmux.wait_for("here>")
        tmux.type("echo status-$?; stty -a | grep -o '[-]icanon' || echo cooked")
        tmux.press("Enter")
        tmux.wait_for("status-3")
        tmux.wait_for("cooked")

    def test_unicode(self, tmux: Tmux) -> None:
        """Letters beyond ASCII are typed and shown as they are."""
        tmux.type("echo 'naïve →' 日本")
        tmux.press("Enter")
        tmux.wait_for("\nnaïve → 日本")


class ProgramTests:
    """Programs that take the whole screen."""

    def test_editor(self, tmux: Tmux) -> None:
        """vi shows, edits and leaves the screen as it was."""
        tmux.type("f=$(mktemp); TERM=xterm-256color vi $f; cat $f; rm $f")
        tmux.press("Enter")
        tmux.wait_for("~")
        tmux.type("ihello from vi")
        tmux.press("Escape")
        tmux.type(":wq")
        tmux.press("Enter")
        tmux.wait_for("hello from vi\nthere>")

    def test_pager(self, tmux: Tmux) -> None:
        """less scrolls and quits."""
        tmux.type("seq 500 | less")
        tmux.press("Enter")
        tmux.wait_for("\n:")
        tmux.type("G")
        tmux.wait_for("\n500\n")
        tmux.type("q")
        tmux.type("echo af''ter")
        tmux.press("Enter")
        tmux.wait_for("after")
