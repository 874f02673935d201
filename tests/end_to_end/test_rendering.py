"""What is rendered of a recording is what tmux makes of the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mezite.recording.events import Header, Output
from mezite.recording.lines import Transcript
from tests.end_to_end.screen import screen_with

COLUMNS, ROWS = 80, 24
# tmux keeps so many lines to scroll back to.
_HISTORY = 1000


def written_by(command: list[str], keys: list[str]) -> bytes:
    """What a program writes on a terminal, while these keys are typed."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    with screen_with(command, environment, columns=COLUMNS, rows=ROWS) as screen:
        for each in keys:
            # Programs read keys that come early as one, or throw them away.
            time.sleep(0.3)
            screen.type(each)
        screen.ends()
        return screen.transcript


def rendered(data: bytes) -> list[str]:
    transcript = Transcript(Header(0, COLUMNS, ROWS))
    lines = transcript.receive(Output(0, data)) + transcript.finish()
    return lines[-_HISTORY:]


def captured(data: bytes, directory: Path) -> list[str]:
    """The same by tmux."""
    path = directory / "written"
    path.write_bytes(data)
    tmux = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null"]
    show = f"stty raw -echo; cat {path}; {' '.join(tmux)} wait-for -S shown; sleep 60"
    size = ["-x", str(COLUMNS), "-y", str(ROWS)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    environment.pop("TMUX", None)
    begin = ["set", "-g", "status", "off", ";", "new-session", "-d", *size, show]
    subprocess.run([*tmux, "start-server", ";", *begin], env=environment, check=True)
    try:
        subprocess.run([*tmux, "wait-for", "shown"], check=True, timeout=20)
        time.sleep(0.3)
        capture = [*tmux, "capture-pane", "-p", "-S", "-"]
        text = subprocess.run(capture, capture_output=True, check=True).stdout.decode()
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines[-_HISTORY:]


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
class RenderingTests:
    """Programs that people use."""

    @pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
    def test_vim(self, tmp_path: Path) -> None:
        """An editor that is in the middle of its work."""
        file = tmp_path / "file"
        file.write_text("".join(f"line {number} \u4e2d x\n" for number in range(200)))
        keys = [
            ":set nu hlsearch\r",
            "/line 5\r",
            "\x06",
            "ddp",
            ":sp\r",
            "G",
            "ihello\x1b",
            ":q!\r",
        ]
        data = written_by(["vim", "-u", "NONE", str(file)], [*keys, ":q!\r"])
        # Before it leaves the alternate screen.
        data = data[: data.index(b"\x1b[?1049l")]
        shown = rendered(data)
        assert any("\u4e2d" in line for line in shown)
        assert shown == captured(data, tmp_path)

    def test_log(self, tmp_path: Path) -> None:
        """A long log, with colours and tabs."""
        script = "seq 1 20000; ls --color=always -C /usr/bin; printf '\\tx\\ty\\303\\251\\n'"
        data = written_by(["sh", "-c", script], [])
        assert rendered(data) == captured(data, tmp_path)
