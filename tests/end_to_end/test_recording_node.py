"""What is recorded of real sessions, by a node and by the hub of sshd, read from the hub's disk."""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyte
import pytest

from mezite.cli.local import LocalCluster
from mezite.recording.chunks import JournalReader
from mezite.recording.events import Exited, Header, Kind, Note, Output
from mezite.recording.format import Decoder
from tests.end_to_end.slow import IS_SLOW_WANTED
from tests.end_to_end.test_openssh_nodes import plain_node

LOGIN = getpass.getuser()
COLUMNS, ROWS = 100, 30
# In MB; a hundred where there is time (tox -e slow).
NOISE = 100 if IS_SLOW_WANTED else 8
PATIENCE = 30.0
STREAMS = "echo out; echo err >&2; kill -9 $$"


@pytest.fixture(scope="module")
def cluster(own_cluster: LocalCluster) -> LocalCluster:
    """Its recordings are counted here."""
    return own_cluster


class Node:
    """A node, stock ssh to it, and what the hub has of its recordings."""

    def __init__(self, cluster: LocalCluster, ssh_config: Path, name: str) -> None:
        self.name = name
        self.place = cluster.hub_data / "recordings"
        self.config = ssh_config
        self.seen = self.names()

    def ssh(self, *command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        words = ["ssh", "-F", str(self.config), "-oBatchMode=yes", f"{LOGIN}@{self.name}", *command]
        return subprocess.run(words, check=True, capture_output=True, timeout=300, **options)

    def names(self) -> set[str]:
        return {path.name for path in self.place.glob("*/*.mzr")}

    def recording(self) -> tuple[str, bytes]:
        """The one recording since, by name, as far as the hub has it."""
        deadline = time.monotonic() + PATIENCE
        while not (new := self.names() - self.seen):
            assert time.monotonic() < deadline, "nothing was recorded"
            time.sleep(0.05)
        [name] = new
        return name, content_of(self.journal(name)[1])

    def journal(self, name: str) -> tuple[JournalReader, list[Any]]:
        """What the hub has of a recording, which it puts away once it is whole."""
        while True:
            for path in self.place.glob(f"*/{name}"):
                try:
                    return journal(path, path.stem)
                except FileNotFoundError:
                    continue

    def whole(self, name: str | None = None) -> tuple[Header, list[Any], bytes]:
        """The recording since, once it is finished."""
        name = name or self.recording()[0]
        deadline = time.monotonic() + PATIENCE
        while not (found := self.journal(name))[0].found.is_finished:
            assert time.monotonic() < deadline, "the recording is not finished"
            time.sleep(0.1)
        content = content_of(found[1])
        decoder = Decoder()
        header, *events = decoder.receive(content)
        decoder.finish()
        assert isinstance(header, Header)
        return header, events, content


def journal(path: Path, recording: str) -> tuple[JournalReader, list[Any]]:
    reader = JournalReader(recording)
    return reader, reader.receive(path.read_bytes())


def content_of(chunks: list[Any]) -> bytes:
    return b"".join(chunk.content() for chunk in chunks)


def output(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Output))


def rendered(content: bytes) -> list[str]:
    """What a terminal shows after all of it."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    for event in Decoder().receive(content):
        if isinstance(event, Output):
            stream.feed(event.data)
    return [line.rstrip() for line in screen.display]


@pytest.fixture(scope="module")
def plain(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without an agent."""
    with plain_node(cluster, tmp_path_factory.mktemp("plain") / "sshd") as name:
        yield name


@pytest.fixture(params=["db1", "plain1"])
def node(
    request: pytest.FixtureRequest, cluster: LocalCluster, ssh_config: Path, plain: str
) -> Node:
    """One with an agent, which records itself, and one without, of which the hub does."""
    return Node(cluster, ssh_config, request.param)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Any]:
    """A terminal of a size of ours, whose screen can be read."""
    words = ["tmux", "-f", "/dev/null", "-S", str(tmp_path / "tmux")]

    def run(*command: str) -> str:
        done = subprocess.run([*words, *command], check=True, capture_output=True, text=True)
        return done.stdout

    yield run
    subprocess.run([*words, "kill-server"], check=False, capture_output=True)


def shown(tmux: Any) -> list[str]:
    lines = [line.rstrip() for line in tmux("capture-pane", "-p", "-t", "s").split("\n")[:ROWS]]
    return lines + [""] * (ROWS - len(lines))


def open_on(tmux: Any, node: Node, inner: str) -> None:
    """Run this on the node, on a terminal of ours."""
    ssh = f'ssh -tt -F {node.config} {LOGIN}@{node.name} "{inner}"'
    tmux("new-session", "-d", "-s", "s", "-x", str(COLUMNS), "-y", str(ROWS), ssh)
    tmux("set", "-t", "s", "status", "off")
    tmux("resize-window", "-t", "s", "-x", str(COLUMNS), "-y", str(ROWS))


def both_show(
    tmux: Any, node: Node, wanted: str = "", other_than: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Until recording and terminal show the same; the recording's name, and what that is."""
    deadline = time.monotonic() + PATIENCE
    while True:
        time.sleep(0.4)
        name, content = node.recording()
        there, recorded = shown(tmux), rendered(content)
        if there == recorded != other_than and any(wanted in line for line in there if line):
            return name, there
        assert time.monotonic() < deadline, f"{there}\n{recorded}"


class TerminalTests:
    """Sessions on a terminal."""

    def test_vim(self, node: Node, tmux: Any, tmp_path: Path) -> None:
        """What the recording shows is what the terminal showed, after every change."""
        text = tmp_path / "text"
        text.write_text("".join(f"line {n} with some words, häßlich €\n" for n in range(200)))
        open_on(tmux, node, f"TERM=vt100 vim -u NONE -N --cmd 'set encoding=utf-8' {text}")
        for keys in (
            ["G"],
            ["ihello", "Escape"],
            ["50%"],
            ["dd", "p", "gg", "i", "Enter", "Escape"],
        ):
            tmux("send-keys", "-t", "s", *keys)
            name, _ = both_show(tmux, node)
        tmux("send-keys", "-t", "s", ":q!", "Enter")
        header, events, _ = node.whole(name)
        assert (header.user, header.login, header.node) == ("ada", LOGIN, node.name)
        assert header.has_terminal
        assert isinstance(events[-1], Exited)

    def test_top(self, node: Node, tmux: Any) -> None:
        """A screen that is painted again and again is as it was, between two paintings."""
        open_on(tmux, node, "TERM=vt100 top -d 2.5")
        name, screen = both_show(tmux, node, "COMMAND")
        _, later = both_show(tmux, node, "COMMAND", other_than=screen)
        assert later != screen
        tmux("send-keys", "-t", "s", "q")
        _, events, _ = node.whole(name)
        assert isinstance(events[-1], Exited)

    def test_log(self, node: Node, tmp_path: Path) -> None:
        """A log of 20,000 lines is recorded whole, and asciinema prints it."""
        done = node.ssh("-tt", "seq -f 'line %05g of a log' 20000")
        _, events, content = node.whole()
        assert output(events) == done.stdout
        cast = tmp_path / "log.cast"
        cast.write_bytes(content)
        asciinema = str(Path(sys.executable).parent / "asciinema")
        printed = subprocess.run(
            [asciinema, "cat", str(cast)], check=True, capture_output=True, stdin=subprocess.DEVNULL
        )
        assert printed.stdout == done.stdout


class CommandsTests:
    """Commands without a terminal."""

    def test_noise(self, node: Node, tmp_path: Path) -> None:
        """Noise comes back from the recording as it was."""
        noise = tmp_path / "noise"
        with noise.open("wb") as file:
            for _ in range(NOISE):
                file.write(os.urandom(1_000_000))
        done = node.ssh(f"cat {noise}")
        header, events, _ = node.whole()
        assert header.kind is Kind.COMMAND
        assert header.command == f"cat {noise}".encode()
        expected = hashlib.sha256(noise.read_bytes()).digest()
        assert hashlib.sha256(done.stdout).digest() == expected
        assert hashlib.sha256(output(events)).digest() == expected

    def test_both_streams(self, node: Node, tmp_path: Path) -> None:
        """Standard error is told from output, and an end by a signal from a status."""
        subprocess.run(
            ["ssh", "-F", str(node.config), f"{LOGIN}@{node.name}", STREAMS],
            check=False,
            capture_output=True,
        )
        _, events, content = node.whole()
        outputs = {event.stream.name: event.data for event in events if isinstance(event, Output)}
        assert outputs == {"OUTPUT": b"out\n", "ERROR": b"err\n"}
        assert events[-1].status == 137
        cast = tmp_path / "both.cast"
        cast.write_bytes(content)
        asciinema = str(Path(sys.executable).parent / "asciinema")
        played = subprocess.run(
            [asciinema, "play", "-s", "100", str(cast)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        assert sorted(played.stdout.splitlines()) == [b"err", b"out"]


class TransfersTests:
    """Files that are copied."""

    def test_sftp(self, node: Node, tmp_path: Path) -> None:
        """Each file of a tree is in the record, with its size and its hash."""
        tree, there = tmp_path / "tree", tmp_path / "there"
        (tree / "deep" / "er").mkdir(parents=True)
        files = {"a": b"", "deep/b": b"some text\n", "deep/er/c": os.urandom(3_000_000)}
        for name, data in files.items():
            (tree / name).write_bytes(data)
        there.mkdir()
        subprocess.run(
            ["sftp", "-q", "-b", "-", "-F", str(node.config), f"{LOGIN}@{node.name}"],
            input=f"put -r {tree} {there}\nrm {there}/tree/a\n".encode(),
            check=True,
            capture_output=True,
        )
        header, events, content = node.whole()
        assert header.kind is Kind.SFTP
        written = {
            event.fields["path"].removeprefix(f"{there}/tree/"): event.fields
            for event in events
            if isinstance(event, Note) and event.kind == "sftp.write"
        }
        assert {name: fields["bytes"] for name, fields in written.items()} == {
            name: len(data) for name, data in files.items()
        }
        for name, data in files.items():
            assert written[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert [e.fields["path"] for e in events if getattr(e, "kind", "") == "sftp.remove"] == [
            f"{there}/tree/a"
        ]
        assert len(content) < 20_000


class KilledTests:
    """A node whose agent is killed in the middle."""

    def test_kill(self, cluster: LocalCluster, ssh_config: Path, tmp_path: Path) -> None:
        """What was recorded stays, up to its last whole chunk, and nothing is broken."""
        agent = cluster.start_agent("db9")
        cluster.wait_online("db9")
        ssh = ["ssh", "-F", str(ssh_config), f"{LOGIN}@db9", "while date; do sleep 0.01; done"]
        with subprocess.Popen(ssh, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            client.stdout.readline()
            time.sleep(2)
            agent.kill()
            # It would wait for the agent, minutes if need be.
            client.kill()
            client.communicate()
        [path] = (cluster.directory / "db9" / "recordings").glob("*/*.chunks")
        reader, chunks = journal(path, f"{path.parent.name}.{path.stem}")
        assert not reader.found.is_finished
        assert reader.found.length == path.stat().st_size
        assert len(chunks) > 2
        assert Decoder().receive(content_of(chunks))
        shutil.rmtree(path.parent)
