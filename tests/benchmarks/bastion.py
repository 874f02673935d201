"""
The peer: an OpenSSH bastion, as people build it by hand.

A node without an inbound port keeps ``ssh -R`` open to a bastion's sshd, and a
user reaches the node's own sshd through it with a ProxyCommand. Everything is
on loopback, with keys made for the run.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from mezite.cli.local import free_port

_SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "/usr/sbin/sshd"


@define(eq=False)
class Bastion:
    """Two sshd, the node's and the bastion's, and the tunnel between them."""

    directory: Path
    node_port: int = field(factory=free_port)
    bastion_port: int = field(factory=free_port)
    remote_port: int = field(factory=free_port)
    # Where the node reaches the bastion, if that is not the bastion's own port.
    line_port: int | None = None
    running: list[subprocess.Popen[bytes]] = field(factory=list)

    @property
    def config(self) -> Path:
        """The user's configuration: ``node`` through the bastion, ``direct`` without it."""
        return self.directory / "config"

    def start(self) -> None:
        key = self.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        shutil.copy(f"{key}.pub", self.directory / "authorized_keys")
        Path("/run/sshd").mkdir(exist_ok=True)
        common = (
            f"User {getpass.getuser()}\nIdentityFile {key}\nIdentitiesOnly yes\n"
            "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n"
            "LogLevel ERROR\nBatchMode yes\n"
        )
        self.config.write_text(
            f"Host bastion\nHostName 127.0.0.1\nPort {self.bastion_port}\n"
            f"Host line\nHostName 127.0.0.1\nPort {self.line_port or self.bastion_port}\n"
            f"Host direct\nHostName 127.0.0.1\nPort {self.node_port}\n"
            f"Host node\nHostName 127.0.0.1\nPort {self.remote_port}\n"
            f"ProxyCommand ssh -F {self.config} -W %h:%p bastion\n"
            f"Host *\n{common}"
        )
        for name, port in (("node", self.node_port), ("bastion", self.bastion_port)):
            self._start_sshd(name, port)
        self.open_tunnel(self.remote_port)
        self._wait("node")

    def open_tunnel(self, remote_port: int) -> subprocess.Popen[bytes]:
        """What the node runs to be reached."""
        forward = f"127.0.0.1:{remote_port}:127.0.0.1:{self.node_port}"
        tunnel = subprocess.Popen(
            ["ssh", "-F", str(self.config), "-N", "-o", "ExitOnForwardFailure=yes", "-R", forward,
             "line"],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.running.append(tunnel)
        return tunnel

    def stop(self) -> None:
        while self.running:
            process = self.running.pop()
            process.terminate()
            process.wait(10)

    def _start_sshd(self, name: str, port: int) -> None:
        host_key = self.directory / f"{name}_host_key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True
        )
        config = self.directory / f"{name}_sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {host_key}\n"
            f"AuthorizedKeysFile {self.directory / 'authorized_keys'}\nStrictModes no\n"
            "UsePAM no\nPidFile none\nPermitRootLogin yes\nMaxStartups 1000\nMaxSessions 1000\n"
        )
        self.running.append(
            subprocess.Popen([_SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
        )
        self._wait("bastion" if name == "bastion" else "direct")

    def _wait(self, host: str) -> None:
        for _ in range(100):
            done = subprocess.run(
                ["ssh", "-F", str(self.config), host, "true"], capture_output=True, check=False
            )
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"{host} does not answer: {done.stderr.decode()}")


@contextmanager
def bastion(directory: Path) -> Iterator[Bastion]:
    """A bastion that is stopped on every way out."""
    built = Bastion(directory)
    try:
        built.start()
        yield built
    finally:
        built.stop()
