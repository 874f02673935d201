"""The main job, through the installed programs: hub, two agents, msh and stock OpenSSH."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from mezite.cli.local import LocalCluster, Program
from tests.end_to_end.conftest import LOGIN

SIZE = 100 * 1024 * 1024


def ssh(
    config: Path, *words: str, given: bytes = b"", program: str = "ssh", seconds: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run one of OpenSSH's programs with our configuration and no other."""
    return subprocess.run(
        [program, "-F", str(config), "-o", "BatchMode=yes", *words],
        input=given,
        capture_output=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture(scope="module")
def noise() -> bytes:
    """100 MB that no compression or line discipline leaves alone."""
    return random.Random(1).randbytes(SIZE)


class ListingTests:
    """What ``msh ls`` shows."""

    def test_nodes(self, cluster: LocalCluster) -> None:
        """Both nodes are listed with labels, status and last seen."""
        nodes = cluster.nodes()
        assert set(nodes) == {"db1", "web1"}
        assert nodes["db1"]["labels"] == {"env": "prod", "role": "db"}
        assert nodes["db1"]["status"] == "online"
        assert nodes["db1"]["last_seen"]
        assert nodes["db1"]["agent_id"] != nodes["web1"]["agent_id"]

    def test_selector(self, cluster: LocalCluster) -> None:
        """A label narrows the list."""
        assert b"web1" in cluster.succeed("msh", "ls", "env=dev")
        assert b"db1" not in cluster.succeed("msh", "ls", "env=dev")


class MshTests:
    """Commands through ``msh ssh``."""

    def test_exit_code(self, cluster: LocalCluster) -> None:
        """The command's exit code is msh's, and its two outputs stay apart."""
        done = cluster.run("msh", "ssh", f"{LOGIN}@db1", "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")

    def test_words(self, cluster: LocalCluster) -> None:
        """A command's words arrive as ssh would send them."""
        done = cluster.run("msh", "ssh", "-l", LOGIN, "web1", "echo", "a  b", "$((1+1))")
        assert done.stdout == b"a b 2\n"

    def test_binary_both_ways(self, cluster: LocalCluster, noise: bytes) -> None:
        """100 MB to a command's input and back from its output are the same bytes."""
        done = cluster.run("msh", "ssh", f"{LOGIN}@db1", "cat", given=noise, seconds=180)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(noise).digest()

    def test_unknown_node(self, cluster: LocalCluster) -> None:
        """A node that is not there is one sentence and ssh's status for its own errors."""
        done = cluster.run("msh", "ssh", f"{LOGIN}@db9", "true")
        assert done.returncode == 255
        assert b"db9" in done.stderr
        assert b"Traceback" not in done.stderr

    def test_foreign_login(self, cluster: LocalCluster) -> None:
        """A login that the user may not use is refused with a sentence."""
        done = cluster.run("msh", "ssh", "nobody@db1", "true")
        assert done.returncode == 255
        assert b"nobody" in done.stderr
        assert b"Traceback" not in done.stderr


class OpenSshTests:
    """The same with what users have already."""

    def test_exit_code(self, ssh_config: Path) -> None:
        """Exit codes and the two outputs arrive in stock ssh too."""
        done = ssh(ssh_config, f"{LOGIN}@db1", "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")

    def test_binary_both_ways(self, ssh_config: Path, noise: bytes) -> None:
        """100 MB through a command and back are the same bytes."""
        done = ssh(ssh_config, f"{LOGIN}@db1", "cat", given=noise)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(noise).digest()

    def test_terminal(self, ssh_config: Path) -> None:
        """With -tt the command has a terminal of its own on the node."""
        done = ssh(ssh_config, "-tt", f"{LOGIN}@db1", "tty; stty size")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"/dev/pts/")

    def test_signal(self, ssh_config: Path) -> None:
        """A command that a signal ended is reported as such."""
        done = ssh(ssh_config, f"{LOGIN}@db1", "kill -TERM $$")
        assert done.returncode == 255 or done.returncode == 143

    @pytest.mark.parametrize("options", [[], ["-O"]], ids=["sftp", "scp"])
    def test_scp(self, ssh_config: Path, noise: bytes, tmp_path: Path, options: list[str]) -> None:
        """scp carries 100 MB both ways, by either of its protocols."""
        (tmp_path / "here").write_bytes(noise)
        there, back = tmp_path / "there", tmp_path / "back"
        for source, target in (
            (str(tmp_path / "here"), f"{LOGIN}@db1:{there}"),
            (f"{LOGIN}@db1:{there}", str(back)),
        ):
            done = ssh(ssh_config, *options, source, target, program="scp")
            assert done.returncode == 0, done.stderr
        assert back.read_bytes() == noise

    def test_sftp(self, ssh_config: Path, noise: bytes, tmp_path: Path) -> None:
        """sftp carries 100 MB both ways, lists, renames and removes."""
        (tmp_path / "here").write_bytes(noise)
        batch = (
            f"put {tmp_path}/here {tmp_path}/there\n"
            f"rename {tmp_path}/there {tmp_path}/moved\n"
            f"ls -l {tmp_path}\n"
            f"get {tmp_path}/moved {tmp_path}/back\n"
            f"rm {tmp_path}/moved\n"
        )
        done = ssh(ssh_config, "-b", "-", f"{LOGIN}@db1", given=batch.encode(), program="sftp")
        assert done.returncode == 0, done.stderr
        assert b"moved" in done.stdout
        assert (tmp_path / "back").read_bytes() == noise
        assert not (tmp_path / "moved").exists()

    def test_many_at_once(self, ssh_config: Path) -> None:
        """Fifty sessions share one tunnel, each with its own answer."""

        def one(number: int) -> tuple[int, bytes]:
            done = ssh(ssh_config, f"{LOGIN}@db1", f"sleep 2; echo {number}")
            return done.returncode, done.stdout

        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(one, range(50)))
        assert answers == [(0, b"%d\n" % number) for number in range(50)]

    def test_forward(self, ssh_config: Path) -> None:
        """-W reaches a port that only the node reaches, with half-close both ways."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                connected, _ = server.accept()
                with connected:
                    heard = b""
                    while more := connected.recv(65536):
                        heard += more
                    connected.sendall(heard[::-1])

            thread = Thread(target=answer, daemon=True)
            thread.start()
            place = f"127.0.0.1:{server.getsockname()[1]}"
            done = ssh(ssh_config, "-W", place, f"{LOGIN}@db1", given=b"abc" * 100_000)
            thread.join(10)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b"cba" * 100_000

    def test_offline_sentence(self, ssh_config: Path) -> None:
        """Stock ssh shows the hub's sentence when there is no such node."""
        done = ssh(ssh_config, f"{LOGIN}@db9", "true")
        assert done.returncode == 255
        assert b"there is no node db9" in done.stderr


class ListeningTests:
    """Who listens."""

    def test_one_port(self, cluster: LocalCluster) -> None:
        """The hub listens on one TCP socket, and the agents on none."""
        listed = subprocess.run(
            ["ss", "-ltnpH"], capture_output=True, check=True, text=True
        ).stdout.splitlines()
        running: list[Program] = cluster._running

        def listening(pid: int) -> list[str]:
            return [line for line in listed if f"pid={pid}," in line]

        by_name = {program.name: listening(program.process.pid) for program in running}
        assert [len(by_name[name]) for name in ("hub", "db1", "web1")] == [1, 0, 0]
        assert f":{cluster.port} " in by_name["hub"][0]


class PrivacyTests:
    """What lies on the disks."""

    def test_modes(self, cluster: LocalCluster) -> None:
        """No key, token store or database can be read by others."""
        for directory in (cluster.hub_data, cluster.directory / "db1", cluster.directory / "msh"):
            for folder, _, files in os.walk(directory):
                for name in files:
                    path = Path(folder, name)
                    if path.is_socket() or path.suffix == ".pub" or path.name == "known_hosts":
                        continue
                    assert path.stat().st_mode & 0o077 == 0, path
