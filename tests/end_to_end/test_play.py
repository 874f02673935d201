"""
Recordings in files, played on a terminal by the real program.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.screen import Screen, screen_with
from tests.recording.tapes import cast, written

_MSH = [
    sys.executable,
    "-c",
    "import sys; from mezite.cli.main import msh; sys.argv[0] = 'msh'; sys.exit(msh())",
]
_CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4K\x07"


def recording(directory: Path) -> str:
    """Ten seconds, with a line in each and something hostile."""
    path = directory / "session.cast"
    lines = [(float(second), f"line {second}{_CLIPBOARD}\r\n") for second in range(11)]
    path.write_bytes(cast(written(*lines)))
    return str(path)


class PlayTests:
    """A recording on a terminal of its own."""

    def test_keys(self, tmp_path: Path) -> None:
        """It pauses, steps, seeks and ends by keys, and the terminal is as it was."""
        with screen_with([*_MSH, "play", recording(tmp_path)], dict(os.environ)) as screen:
            screen.wait_for("line 0")
            screen.type(" ")
            screen.wait_for("paused")
            screen.type("5")
            screen.wait_for("line 5")
            screen.wait_for("paused 0:05")
            screen.type(".")
            screen.wait_for("line 6")
            screen.wait_for("paused 0:06")
            screen.type("\x1b[D")
            screen.wait_for("paused 0:01")
            screen.type("G")
            screen.wait_for("line 10")
            screen.wait_for("end 0:10")
            screen.resize(60, 20)
            screen.wait_for("end 0:10")
            screen.type("q")
            assert screen.ends() == 0
            assert b"]52" not in screen.transcript
            assert b"\x1b[?25h" in screen.transcript

    def test_to_the_end(self, tmp_path: Path) -> None:
        """It ends by itself, sooner if it is faster and silences are cut short."""
        path = recording(tmp_path)
        command = [*_MSH, "play", path, "--speed", "8", "--idle-limit", "1s"]
        with screen_with(command, dict(os.environ)) as screen:
            screen.wait_for("line 10")
            assert screen.ends() == 0

    def test_interrupted(self, tmp_path: Path) -> None:
        """Ctrl-C, and signals from elsewhere, leave the terminal as it was, too."""
        path = recording(tmp_path)
        with screen_with([*_MSH, "play", path], dict(os.environ)) as screen:
            screen.wait_for("line 0")
            screen.type("\x03")
            assert screen.ends() == 130
        for number in (signal.SIGTERM, signal.SIGHUP):
            with screen_with([*_MSH, "play", path], dict(os.environ)) as screen:
                screen.wait_for("line 0")
                screen.process.send_signal(number)
                assert screen.ends() == 128 + number

    def test_suspended(self, tmp_path: Path) -> None:
        """Ctrl-Z stops it with the terminal as it was, and it goes on where it was."""
        with screen_in_group([*_MSH, "play", recording(tmp_path)]) as screen:
            screen.wait_for("line 0")
            screen.type(" ")
            screen.wait_for("paused")
            screen.type("\x1a")
            _, status = os.waitpid(screen.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert termios.tcgetattr(screen.terminal) == screen.before
            screen.process.send_signal(signal.SIGCONT)
            screen.wait_for("line 0")
            screen.wait_for("paused")
            screen.type("q")
            assert screen.ends() == 0


@contextmanager
def screen_in_group(command: list[str]) -> Iterator[Screen]:
    """A program that can be stopped: nobody could continue the only group of a session."""
    master, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, process_group=0
    )
    try:
        yield Screen(process, master, terminal, before)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)
        os.close(terminal)
