"""Stock programs at work: OpenSSH's with our configuration, and what they lead to."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from attrs import frozen

from mezite.cli.local import free_port
from tests.end_to_end.conftest import LOGIN

# A busy machine with two cores takes seconds for what is done at once elsewhere.
PATIENCE = 60.0


@frozen
class StockSsh:
    """OpenSSH's programs with one configuration, and no other."""

    config: Path

    def words(self, program: str, *words: str) -> list[str]:
        """A command line; ``words`` come after the configuration."""
        return [program, "-F", str(self.config), "-o", "BatchMode=yes", *words]

    def run(
        self,
        *words: str,
        program: str = "ssh",
        given: bytes = b"",
        seconds: float = PATIENCE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, whatever its status."""
        return subprocess.run(
            self.words(program, *words),
            input=given,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=None if env is None else dict(env),
        )

    def succeed(self, *words: str, program: str = "ssh", given: bytes = b"") -> bytes:
        """What it writes to its standard output; it must succeed."""
        done = self.run(*words, program=program, given=given)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    @contextmanager
    def holding(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """``ssh -N`` with these words, ended on every way out."""
        process = subprocess.Popen(
            self.words("ssh", "-N", "-o", "ExitOnForwardFailure=yes", *words),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Look again and again, and fail with ``what`` when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody on this machine listens there, and the process lives."""

    def answers() -> bool:
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read().decode())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, f"nobody listens on {port}")


@contextmanager
def reversing(family: socket.AddressFamily, address: object) -> Iterator[socket.socket]:
    """A server that reads each connection to its end, and answers with the bytes reversed."""

    def answer(connected: socket.socket) -> None:
        with connected:
            heard = bytearray()
            while more := connected.recv(65536):
                heard += more
            connected.sendall(heard[::-1])

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connected, _ = server.accept()
            except OSError:
                return
            Thread(target=answer, args=(connected,), daemon=True).start()

    with socket.socket(family) as server:
        server.bind(address)
        server.listen(100)
        Thread(target=serve, args=(server,), daemon=True).start()
        try:
            yield server
        finally:
            # Closing alone does not wake a thread that waits in accept().
            server.shutdown(socket.SHUT_RDWR)


def fetched(proxy: str, url: str) -> bytes:
    """What curl gets from there through this proxy."""
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "", "-m", "30", "-x", proxy, url],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def web_server(directory: Path) -> Iterator[int]:
    """The port of a server of these files over plain HTTP."""
    port = free_port()
    server = subprocess.Popen(
        ["python3", "-m", "http.server", "-b", "127.0.0.1", str(port)],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for_port(port, server)
        yield port
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)


def ask(family: socket.AddressFamily, address: object, question: bytes) -> bytes:
    """Send all of it, end our direction, and read what is answered."""
    with socket.socket(family) as connected:
        connected.settimeout(PATIENCE)
        connected.connect(address)
        sending = Thread(target=lambda: (connected.sendall(question), connected.shutdown(1)))
        sending.start()
        heard = bytearray()
        while more := connected.recv(65536):
            heard += more
        sending.join(PATIENCE)
        return bytes(heard)


@contextmanager
def plain_sshd(directory: Path) -> Iterator[tuple[int, list[str]]]:
    """
    Debian's sshd as a machine that only the nodes reach.

    :yields: its port, and the words with which ssh is let in.
    """
    for name in ("key", "host_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    shutil.copy(directory / "key.pub", directory / "authorized_keys")
    port = free_port()
    host_key = (directory / "host_key.pub").read_text().split()[:2]
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {directory}/host_key\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PidFile none\nPermitRootLogin yes\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    assert program is not None
    daemon = subprocess.Popen(
        [program, "-D", "-e", "-f", str(directory / "sshd_config")],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for_port(port, daemon)
        yield (
            port,
            ["-i", str(directory / "key"), "-o", f"UserKnownHostsFile={directory}/known_hosts",
             "-o", "CertificateFile=none", "-l", LOGIN, "-p", str(port)],
        )  # fmt: skip
    finally:
        daemon.terminate()
        daemon.communicate(timeout=PATIENCE)
