"""
What others relay with: haproxy from TLS to TLS in one thread, and an OpenSSH
bastion between ``ssh -L`` and ``ssh -R``. Each is started for the relay
benchmark, with the cipher that the others agree on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from mezite.cli.local import free_port
from tests.benchmarks.bastion import bastion
from tests.end_to_end.stock import wait_for_port

_SUITE: Final = "TLS_AES_128_GCM_SHA256"
SSH_CIPHER: Final = "aes128-gcm@openssh.com"
# Sizes are haproxy's own; the test asks for one thread, as the hub's process has one.
_HAPROXY: Final = """
global
    nbthread 1
    maxconn 1000
    ssl-default-bind-ciphersuites {suite}
    ssl-default-server-ciphersuites {suite}
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen relay
    bind 127.0.0.1:{port} ssl crt {certificate}
    server far 127.0.0.1:{far} ssl verify none
"""


@frozen
class Peer:
    """A relay: its port, and the processes that do the work."""

    port: int
    pids: tuple[int, ...]


@contextmanager
def haproxy(folder: Path, far_port: int) -> Iterator[Peer]:
    """Ends the client's TLS, and dials the far side by TLS."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program is not None, "haproxy is not installed"
    certificate = folder / "haproxy.pem"
    certificate.write_bytes((folder / "hub.crt").read_bytes() + (folder / "hub.key").read_bytes())
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        _HAPROXY.format(suite=_SUITE, port=port, certificate=certificate, far=far_port)
    )
    process = subprocess.Popen(
        [program, "-db", "-q", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_for_port(port, process)
        yield Peer(port, (process.pid,))
    finally:
        process.terminate()
        process.communicate(timeout=10)


@contextmanager
def openssh(folder: Path, far_port: int) -> Iterator[Peer]:
    """Carries TCP from ``ssh -L`` of a client to ``ssh -R`` of a node."""
    directory = folder / "bastion"
    directory.mkdir()
    with bastion(directory) as built:
        sshd = built.running[1].pid
        before = set(_descendants(sshd))
        remote, local = free_port(), free_port()
        ends = [
            subprocess.Popen(
                ["ssh", "-F", str(built.config), "-N", "-c", SSH_CIPHER,
                 "-o", "ExitOnForwardFailure=yes", *words, "bastion"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for words in (
                ("-R", f"127.0.0.1:{remote}:127.0.0.1:{far_port}"),
                ("-L", f"127.0.0.1:{local}:127.0.0.1:{remote}"),
            )
        ]  # fmt: skip
        try:
            for port, end in zip((remote, local), ends, strict=True):
                wait_for_port(port, end)
            time.sleep(0.2)  # what has only logged in is gone by then
            yield Peer(local, tuple(set(_descendants(sshd)) - before))
        finally:
            for end in ends:
                end.terminate()
                end.communicate(timeout=10)


def _descendants(pid: int) -> Iterator[int]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from _descendants(int(child))
