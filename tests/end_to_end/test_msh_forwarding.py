"""``msh ssh`` with what it forwards, in the background, and on several nodes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mezite.cli.local import LocalCluster, free_port
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import PATIENCE, ask, fetched, reversing, wait_for_port, wait_until

NODE = f"{LOGIN}@db1"
QUESTION = os.urandom(1_000_000) * 3


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose paths fit the 108 bytes of a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="mz") as place:
        yield Path(place)


@contextmanager
def holding(cluster: LocalCluster, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """``msh ssh -N`` with these words, ended on every way out."""
    process = subprocess.Popen(
        [cluster.executable("msh"), "ssh", "-N", "-o", "ExitOnForwardFailure=yes", *words],
        env=dict(cluster.variables()),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a page")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def page() -> Iterator[int]:
    """A web server; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


class LocalTests:
    """``msh ssh -L`` and ``-D``."""

    def test_port(self, cluster: LocalCluster) -> None:
        """A port here leads to one that the node reaches, several times and at once."""
        here = free_port()
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            there = f"127.0.0.1:{server.getsockname()[1]}"
            with holding(cluster, "-L", f"{here}:{there}", NODE) as process:
                wait_for_port(here, process)
                for _ in range(3):
                    assert ask(socket.AF_INET, ("127.0.0.1", here), QUESTION) == QUESTION[::-1]

    def test_command_meanwhile(self, cluster: LocalCluster) -> None:
        """A command and what is forwarded share one connection to the node."""
        here = free_port()
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            there = f"127.0.0.1:{server.getsockname()[1]}"
            process = subprocess.Popen(
                [cluster.executable("msh"), "ssh", "-L", f"{here}:{there}", NODE, "cat; exit 9"],
                env=dict(cluster.variables()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            try:
                wait_for_port(here, process)
                assert ask(socket.AF_INET, ("127.0.0.1", here), QUESTION) == QUESTION[::-1]
                output, _ = process.communicate(b"done", timeout=PATIENCE)
            finally:
                process.kill()
                process.wait()
        assert (output, process.returncode) == (b"done", 9)

    def test_taken(self, cluster: LocalCluster) -> None:
        """A port that is in use is told; whether it matters can be said."""
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            taken = f"127.0.0.1:{server.getsockname()[1]}:127.0.0.1:1"
            done = cluster.run("msh", "ssh", "-L", taken, NODE, "echo fine")
            assert (done.returncode, done.stdout) == (0, b"fine\n")
            assert b"address already in use" in done.stderr
            done = cluster.run(
                "msh", "ssh", "-o", "ExitOnForwardFailure=yes", "-L", taken, NODE, "true"
            )
        assert done.returncode == 255

    def test_socks(self, cluster: LocalCluster) -> None:
        """-D is a proxy for SOCKS 4, 4a and 5, by address and by name."""
        here = free_port()
        with page() as port, holding(cluster, "-D", str(here), NODE) as process:
            wait_for_port(here, process)
            for scheme, host in (
                ("socks4", "127.0.0.1"),
                ("socks4a", "localhost"),
                ("socks5", "127.0.0.1"),
                ("socks5h", "localhost"),
            ):
                got = fetched(f"{scheme}://127.0.0.1:{here}", f"http://{host}:{port}/")
                assert got == b"a page", scheme

    def test_sockets(self, cluster: LocalCluster, short_directory: Path) -> None:
        """A socket here leads to a port there; only its owner may use it."""
        here = str(short_directory / "here")
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            there = f"127.0.0.1:{server.getsockname()[1]}"
            with holding(cluster, "-L", f"{here}:{there}", NODE):
                wait_until(lambda: os.path.exists(here), "msh does not listen")
                assert os.stat(here).st_mode & 0o077 == 0
                assert ask(socket.AF_UNIX, here, QUESTION) == QUESTION[::-1]
        assert not os.path.exists(here)

    def test_socket_of_the_node(self, cluster: LocalCluster, short_directory: Path) -> None:
        """A port here leads to a socket there."""
        here, there = free_port(), str(short_directory / "there")
        with (
            reversing(socket.AF_UNIX, there),
            holding(cluster, "-L", f"{here}:{there}", NODE) as process,
        ):
            wait_for_port(here, process)
            assert ask(socket.AF_INET, ("127.0.0.1", here), QUESTION) == QUESTION[::-1]


class RemoteTests:
    """``msh ssh -R`` and ``-A``."""

    def test_port(self, cluster: LocalCluster) -> None:
        """A port of the node leads to one that is reached from here."""
        there = free_port()
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            near = f"127.0.0.1:{server.getsockname()[1]}"
            with holding(cluster, "-R", f"{there}:{near}", NODE) as process:
                wait_for_port(there, process)
                assert ask(socket.AF_INET, ("127.0.0.1", there), QUESTION) == QUESTION[::-1]

    def test_port_chosen(self, cluster: LocalCluster) -> None:
        """The node chooses a port, and it is told as ssh tells it."""
        with (
            reversing(socket.AF_INET, ("127.0.0.1", 0)) as server,
            holding(cluster, "-R", f"0:127.0.0.1:{server.getsockname()[1]}", NODE) as process,
        ):
            assert process.stderr is not None
            said = process.stderr.readline().split()
            assert said[:2] == [b"Allocated", b"port"]
            assert ask(socket.AF_INET, ("127.0.0.1", int(said[2])), b"abc") == b"cba"

    def test_proxy(self, cluster: LocalCluster) -> None:
        """Without a destination it is a proxy for the node's programs."""
        there = free_port()
        with page() as port, holding(cluster, "-R", str(there), NODE) as process:
            wait_for_port(there, process)
            got = fetched(f"socks5h://127.0.0.1:{there}", f"http://127.0.0.1:{port}/")
        assert got == b"a page"

    def test_taken(self, cluster: LocalCluster) -> None:
        """A port of the node that is in use ends it, where forwarding must succeed."""
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            taken = f"{server.getsockname()[1]}:127.0.0.1:1"
            done = cluster.run(
                "msh", "ssh", "-o", "ExitOnForwardFailure=yes", "-R", taken, NODE, "true"
            )
        assert done.returncode == 255
        assert b"does not listen" in done.stderr

    def test_sockets(self, cluster: LocalCluster, short_directory: Path) -> None:
        """A socket of the node leads to one here."""
        here, there = str(short_directory / "here"), str(short_directory / "there")
        with reversing(socket.AF_UNIX, here), holding(cluster, "-R", f"{there}:{here}", NODE):
            wait_until(lambda: os.path.exists(there), "the node does not listen")
            assert ask(socket.AF_UNIX, there, QUESTION) == QUESTION[::-1]

    def test_agent(self, cluster: LocalCluster, short_directory: Path) -> None:
        """Programs of the node use the person's ssh-agent with -A, and not without."""
        (certificate,) = cluster.directory.glob("msh/*/user-cert.pub")
        permitted = subprocess.run(
            ["ssh-keygen", "-L", "-f", str(certificate)], capture_output=True, check=True
        ).stdout
        if b"permit-agent-forwarding" not in permitted:
            pytest.skip("the user's roles do not permit it")
        address, key = short_directory / "agent", short_directory / "key"
        daemon = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL
        )
        try:
            wait_until(address.exists, "ssh-agent does not listen")
            variables = {**cluster.variables(), "SSH_AUTH_SOCK": str(address)}
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "adas-key", "-f", key],
                check=True,
            )
            subprocess.run(["ssh-add", "-q", str(key)], env=variables, check=True)
            for flag, expected in (("-A", b"adas-key"), ("-a", b"")):
                done = subprocess.run(
                    [cluster.executable("msh"), "ssh", flag, NODE, "ssh-add -l | cut -d' ' -f3"],
                    env=variables,
                    capture_output=True,
                    timeout=PATIENCE,
                    check=False,
                )
                assert done.stdout.strip() == expected, done.stderr
        finally:
            daemon.terminate()
            daemon.wait()


class BackgroundTests:
    """``msh ssh -f``."""

    def test_forwarding(self, cluster: LocalCluster, short_directory: Path) -> None:
        """It returns once all is forwarded, and goes on without its terminal."""
        here, number = free_port(), short_directory / "number"
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            there = f"127.0.0.1:{server.getsockname()[1]}"
            command = f"echo $$ > {number}; exec sleep 60"
            done = subprocess.run(
                [cluster.executable("msh"), "ssh", "-f", "-L", f"{here}:{there}", NODE, command],
                env=dict(cluster.variables()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0
            assert ask(socket.AF_INET, ("127.0.0.1", here), b"abc") == b"cba"
        wait_until(lambda: number.exists() and bool(number.read_text()), "nothing was run")
        os.kill(int(number.read_text()), signal.SIGTERM)
        wait_until(lambda: not _listens(here), "it does not end with its command")

    def test_failure(self, cluster: LocalCluster) -> None:
        """What fails before that is told, and is the exit code."""
        done = cluster.run("msh", "ssh", "-f", f"{LOGIN}@nowhere", "true")
        assert done.returncode == 255
        assert b"nowhere" in done.stderr


class SeveralNodesTests:
    """``msh ssh KEY=VALUE``."""

    def test_output(self, cluster: LocalCluster) -> None:
        """Output is told apart by node, and errors from output."""
        command = 'echo "out of $0"; echo oops >&2; printf rest'
        done = cluster.run("msh", "ssh", f"{LOGIN}@env=prod,role=db", "--", command)
        assert done.returncode == 0
        assert done.stdout.splitlines()[0].startswith(b"db1: out of ")
        assert done.stdout.splitlines()[1:] == [b"db1: rest"]
        assert done.stderr == b"db1: oops\n"

    def test_worst(self, cluster: LocalCluster) -> None:
        """The exit code is the command's where there is one node, and the worst otherwise."""
        done = cluster.run("msh", "ssh", "env=dev", "exit 4")
        assert done.returncode == 4
        assert done.stderr == b"msh: web1: exit status 4\nmsh: failed on 1 of 1 nodes\n"

    def test_much_output(self, cluster: LocalCluster) -> None:
        """A flood of output arrives whole."""
        done = cluster.run("msh", "ssh", "env=dev", "seq 200000")
        assert done.stdout == b"".join(b"web1: %d\n" % number for number in range(1, 200001))

    def test_none(self, cluster: LocalCluster) -> None:
        """No node is a failure of msh itself."""
        done = cluster.run("msh", "ssh", "env=nowhere", "true")
        assert done.returncode == 255
        assert b"env=nowhere" in done.stderr


class OptionsTests:
    """What ssh's users type."""

    def test_words(self, cluster: LocalCluster) -> None:
        """From the command's first word on, nothing is msh's."""
        done = cluster.run("msh", "ssh", NODE, "printf", "'%s|'", "-l", "--help", "-t")
        assert done.stdout == b"-l|--help|-t|"

    def test_subsystem(self, cluster: LocalCluster) -> None:
        """-s asks for a subsystem, as sftp does."""
        done = subprocess.run(
            [cluster.executable("msh"), "ssh", "-s", NODE, "sftp"],
            env=dict(cluster.variables()),
            input=b"\0\0\0\5\1\0\0\0\3",
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stdout[4:9] == b"\2\0\0\0\3"

    def test_environment(self, cluster: LocalCluster) -> None:
        """The language goes along."""
        done = subprocess.run(
            [cluster.executable("msh"), "ssh", NODE, "echo $LC_TIME"],
            env={**cluster.variables(), "LC_TIME": "de_DE.UTF-8"},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stdout == b"de_DE.UTF-8\n"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
