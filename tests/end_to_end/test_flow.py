"""A reader that stops reads nothing into memory, and loses nothing when it goes on."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import IO

import pytest

from mezite.cli.local import LocalCluster
from mezite.mux.limits import MuxLimits
from mezite.ssh.channel import OUTBOX_LIMIT, WINDOW
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import PATIENCE, StockSsh, wait_until

SIZE = 1 << 30
# What one stuck session may hold in a process, whichever that is: a channel's window that
# nobody took and a channel's output that the peer's window does not take; a stream's grown
# window, and the frames that wait for the socket; the hub's splice adds two TLS transports
# with 256 KiB each way. Twice all that, for what the allocator keeps.
GROWTH = 2 * (WINDOW + OUTBOX_LIMIT + MuxLimits().window + 4 * 256 * 1024)


@pytest.fixture(scope="module")
def cluster(own_cluster: LocalCluster) -> LocalCluster:
    """Its memory is measured here."""
    return own_cluster


def resident(pid: int) -> int:
    """The bytes of memory that belong to this process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(f"{pid} has no memory")


def written(pid: int) -> int:
    """How many bytes this process has written to files, pipes and sockets so far."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise AssertionError(f"{pid} has no counts")


@cache
def digest_of_all() -> str:
    """SHA-256 of as many zeros as are sent."""
    digest = hashlib.sha256()
    for _ in range(SIZE >> 20):
        digest.update(bytes(1 << 20))
    return digest.hexdigest()


class Watch:
    """The memory of the hub and of the node's agent, as it grows."""

    def __init__(self, cluster: LocalCluster) -> None:
        pids = {program.name: program.process.pid for program in cluster._running}
        self.pids = {name: pids[name] for name in ("hub", "db1")}
        self.before = {name: resident(pid) for name, pid in self.pids.items()}
        self.most = dict.fromkeys(self.pids, 0)

    def look(self) -> None:
        for name, pid in self.pids.items():
            self.most[name] = max(self.most[name], resident(pid) - self.before[name])

    def until_stuck(self, source: int) -> int:
        """Until this process has written nothing for a second; how much it has written."""
        made = [written(source)]
        deadline = time.monotonic() + PATIENCE
        while len(made) < 5 or made[-1] != made[-5]:
            assert time.monotonic() < deadline, "something goes on moving"
            time.sleep(0.25)
            self.look()
            made.append(written(source))
        return made[-1]


@pytest.fixture
def watch(cluster: LocalCluster, ssh_config: Path) -> Watch:
    """Begun after one session, so that what is imported late is not counted."""
    StockSsh(ssh_config).succeed(
        f"{LOGIN}@db1", "head -c 20M /dev/zero; cat", given=bytes(20 << 20)
    )
    return Watch(cluster)


def line_of(stream: IO[bytes]) -> bytes:
    """One line of an unbuffered stream, and no byte of what follows."""
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.read(1)
        assert byte, "the stream ended"
        line += byte
    return line


class FlowTests:
    """One gigabyte each way, with a reader that does not read."""

    def test_down(self, ssh_config: Path, watch: Watch) -> None:
        """What the client does not take is not made, and arrives whole when it goes on."""
        client = subprocess.Popen(
            StockSsh(ssh_config).words(
                "ssh", f"{LOGIN}@db1", f"echo $$; exec head -c {SIZE} /dev/zero"
            ),
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert client.stdout is not None
        try:
            source = int(line_of(client.stdout))
            digest = hashlib.sha256()
            os.kill(client.pid, signal.SIGSTOP)
            made = watch.until_stuck(source)
            assert made < GROWTH
            os.kill(client.pid, signal.SIGCONT)
            while block := client.stdout.read(1 << 20):
                digest.update(block)
            assert client.wait(PATIENCE) == 0
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
        watch.look()
        assert digest.hexdigest() == digest_of_all()
        assert max(watch.most.values()) < GROWTH, watch.most

    def test_up(self, ssh_config: Path, watch: Watch, tmp_path: Path) -> None:
        """What the node's process does not take is not sent, and arrives whole when it goes on."""
        stopped = tmp_path / "pid"
        command = f"echo $$ > {stopped}.new; mv {stopped}.new {stopped}; kill -STOP $$; sha256sum"
        with open("/dev/zero", "rb") as zeros:
            limited = subprocess.Popen(
                ["head", "-c", str(SIZE)], stdin=zeros, stdout=subprocess.PIPE
            )
        client = subprocess.Popen(
            StockSsh(ssh_config).words("ssh", f"{LOGIN}@db1", command),
            stdin=limited.stdout,
            stdout=subprocess.PIPE,
        )
        assert client.stdout is not None
        assert limited.stdout is not None
        limited.stdout.close()
        try:
            wait_until(stopped.exists, "the node's process does not begin")
            made = watch.until_stuck(limited.pid)
            assert made < GROWTH
            os.kill(int(stopped.read_text()), signal.SIGCONT)
            said = client.stdout.read()
            assert client.wait(PATIENCE) == 0
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
            limited.kill()
            limited.wait()
        watch.look()
        assert said.split()[0].decode() == digest_of_all()
        assert max(watch.most.values()) < GROWTH, watch.most
