"""Stock OpenSSH through ``msh config``: forwarded ports, jump hosts, shared connections."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster, free_port
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import (
    StockSsh,
    ask,
    fetched,
    plain_sshd,
    reversing,
    wait_for_port,
    wait_until,
    web_server,
)

NODE = f"{LOGIN}@db1"
# Several windows of a channel, so that they must be opened again.
QUESTION = os.urandom(1_000_000) * 8


@pytest.fixture(scope="module")
def stock(ssh_config: Path) -> StockSsh:
    return StockSsh(ssh_config)


@pytest.fixture
def reversing_port() -> Iterator[int]:
    """A port that the node reaches, and answers with what it is sent, reversed."""
    with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose paths fit the 108 bytes of a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="mz") as place:
        yield Path(place)


class ForwardedPortTests:
    """Connections that the client makes from the node."""

    def test_local(self, stock: StockSsh, reversing_port: int) -> None:
        """-L carries megabytes and half-close, in several connections at once."""
        here = free_port()
        with stock.holding("-L", f"{here}:127.0.0.1:{reversing_port}", NODE) as process:
            wait_for_port(here, process)
            with ThreadPoolExecutor(4) as threads:
                answers = list(
                    threads.map(
                        lambda _: ask(socket.AF_INET, ("127.0.0.1", here), QUESTION), range(4)
                    )
                )
        assert answers == [QUESTION[::-1]] * 4

    def test_local_nobody_there(self, stock: StockSsh) -> None:
        """A port where nobody listens ends its own connection and no other."""
        here = free_port()
        with stock.holding("-L", f"{here}:127.0.0.1:{free_port()}", NODE) as process:
            wait_for_port(here, process)
            assert ask(socket.AF_INET, ("127.0.0.1", here), b"") == b""
            assert process.poll() is None

    def test_dynamic(self, stock: StockSsh, tmp_path: Path) -> None:
        """-D is a SOCKS5 proxy whose names are looked up on the node."""
        (tmp_path / "page").write_bytes(QUESTION)
        socks = free_port()
        with (
            web_server(tmp_path) as web,
            stock.holding("-D", str(socks), NODE) as process,
        ):
            wait_for_port(socks, process)
            for proxy in ("socks5h", "socks5", "socks4"):
                page = fetched(f"{proxy}://127.0.0.1:{socks}", f"http://localhost:{web}/page")
                assert page == QUESTION

    def test_standard_input(self, stock: StockSsh, reversing_port: int) -> None:
        """-W joins the client's own input and output to a port."""
        done = stock.run("-W", f"127.0.0.1:{reversing_port}", NODE, given=QUESTION)
        assert done.returncode == 0, done.stderr
        assert done.stdout == QUESTION[::-1]


class RemoteForwardingTests:
    """``ssh -R``."""

    def test_port(self, stock: StockSsh) -> None:
        """A port of the node leads to one that the client reaches."""
        there = free_port()
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            near = server.getsockname()[1]
            with stock.holding("-R", f"{there}:127.0.0.1:{near}", NODE) as process:
                wait_for_port(there, process)
                for _ in range(3):
                    assert ask(socket.AF_INET, ("127.0.0.1", there), QUESTION) == QUESTION[::-1]
        wait_until(lambda: not _listens(there), "the port stays open")

    def test_port_chosen(self, stock: StockSsh) -> None:
        """Port 0 lets the node choose, and the client is told which."""
        with (
            reversing(socket.AF_INET, ("127.0.0.1", 0)) as server,
            stock.holding("-R", f"0:127.0.0.1:{server.getsockname()[1]}", NODE) as process,
        ):
            assert process.stderr is not None
            said = process.stderr.readline().split()
            assert said[:2] == [b"Allocated", b"port"]
            assert ask(socket.AF_INET, ("127.0.0.1", int(said[2])), b"abc") == b"cba"

    def test_proxy(self, stock: StockSsh, tmp_path: Path) -> None:
        """-R with a port alone is a SOCKS proxy at the client for the node's programs."""
        (tmp_path / "page").write_bytes(QUESTION)
        there = free_port()
        with (
            web_server(tmp_path) as web,
            stock.holding("-R", str(there), NODE) as process,
        ):
            wait_for_port(there, process)
            page = fetched(f"socks5h://127.0.0.1:{there}", f"http://localhost:{web}/page")
        assert page == QUESTION

    def test_port_taken(self, stock: StockSsh) -> None:
        """A port that is in use is refused, and the client says so."""
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            taken = server.getsockname()[1]
            done = stock.run(
                "-o", "ExitOnForwardFailure=yes", "-R", f"{taken}:127.0.0.1:1", NODE, "true"
            )
        assert done.returncode == 255
        assert b"remote port forwarding failed" in done.stderr


class JumpTests:
    """``-J`` over the hub and over a node."""

    def test_over_a_node(self, stock: StockSsh, tmp_path: Path) -> None:
        """A machine that only the node reaches is reached over the node."""
        with plain_sshd(tmp_path) as (_, words):
            done = stock.run(
                "-J", NODE, *words, "127.0.0.1", "sha256sum; echo $SSH_CONNECTION", given=QUESTION
            )
        assert done.returncode == 0, done.stderr
        assert b"127.0.0.1" in done.stdout

    def test_copy_over_the_hub(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """scp goes over the hub as a jump host, without msh, both ways."""
        (home,) = (path.parent for path in (cluster.directory / "msh").glob("*/profile.json"))
        config = tmp_path / "config"
        config.write_text(
            "Host *\n"
            f"  IdentityFile {home}/user.key\n  CertificateFile {home}/user-cert.pub\n"
            f"  UserKnownHostsFile {home}/known_hosts\n  IdentitiesOnly yes\n"
            f"Host demo\n  ProxyCommand openssl s_client -quiet -verify_quiet"
            f" -connect {cluster.address} -servername demo -alpn mezite-ssh"
            f" -CAfile {home}/ca.pem -verify_return_error\n"
        )
        stock = StockSsh(config)
        (tmp_path / "here").write_bytes(QUESTION)
        jump = ("-J", "demo")
        for source, target in (
            (f"{tmp_path}/here", f"{NODE}:{tmp_path}/there"),
            (f"{NODE}:{tmp_path}/there", f"{tmp_path}/back"),
        ):
            stock.succeed(*jump, source, target, program="scp")
        assert (tmp_path / "back").read_bytes() == QUESTION


class SharedConnectionTests:
    """ControlMaster and ControlPersist, as users have them in their own configuration."""

    @pytest.fixture
    def shared(self, stock: StockSsh, short_directory: Path) -> Iterator[list[str]]:
        """The words that share a connection, which is closed in the end."""
        words = ["-o", f"ControlPath={short_directory}/%C"]
        yield [*words, "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        stock.run(*words, "-O", "exit", NODE)
        wait_until(lambda: not list(short_directory.iterdir()), "the connection stays")

    def test_sessions(self, stock: StockSsh, shared: list[str], cluster: LocalCluster) -> None:
        """Sessions, copies and a terminal share one connection through the hub."""

        def came_in() -> int:
            return (cluster.directory / "db1.log").read_text().count(f"came in as {LOGIN}")

        before = came_in()
        stock.succeed(*shared, NODE, "true")
        assert stock.run(*shared, "-O", "check", NODE).returncode == 0

        def one(number: int) -> tuple[int, bytes, bytes]:
            done = stock.run(*shared, NODE, f"cat; echo {number} >&2; exit 3", given=QUESTION)
            return done.returncode, done.stdout, done.stderr

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(one, range(8)))
        assert answers == [(3, QUESTION, b"%d\n" % number) for number in range(8)]
        said = stock.succeed(*shared, "-tt", NODE, "tty")
        assert said.startswith(b"/dev/pts/")
        assert came_in() == before + 1

    def test_forward_added(self, stock: StockSsh, shared: list[str], reversing_port: int) -> None:
        """A forwarded port is added to a connection that runs, and taken away."""
        stock.succeed(*shared, NODE, "true")
        here = free_port()
        forward = ("-L", f"{here}:127.0.0.1:{reversing_port}")
        stock.succeed(*shared, "-O", "forward", *forward, NODE)
        assert ask(socket.AF_INET, ("127.0.0.1", here), b"abc") == b"cba"
        stock.succeed(*shared, "-O", "cancel", *forward, NODE)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", here)) != 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
