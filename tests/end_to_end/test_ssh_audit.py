"""What ``ssh-audit`` has to say against a node's SSH server, and against the jump host."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from mezite.cli.local import LocalCluster

# Kept for clients from before 2025, which know no better ones.
FOR_OLDER_CLIENTS = {"curve25519-sha256", "curve25519-sha256@libssh.org"}
NOT_POST_QUANTUM = "does not provide protection against post-quantum attacks"


@contextmanager
def forwarded(command: Sequence[str], **rest: Any) -> Iterator[int]:
    """A port whose every connection is the standard input and output of this command."""
    listener = socket.create_server(("127.0.0.1", 0))
    running: list[subprocess.Popen[bytes]] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                running.append(
                    subprocess.Popen(
                        command,
                        stdin=connection,
                        stdout=connection,
                        stderr=subprocess.DEVNULL,
                        **rest,
                    )
                )

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for process in running:
            process.kill()
            process.wait()


def audit(port: int) -> dict[str, Any]:
    # How many connections at once a hub takes is a matter of its TLS port.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ssh_audit.ssh_audit", "--json", "--skip-rate-test"),
            *("--timeout=30", f"--port={port}", "127.0.0.1"),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def assert_sound(report: dict[str, Any]) -> None:
    against = [
        (kind, level, entry["algorithm"], sentence)
        for kind in ("kex", "key", "enc", "mac")
        for entry in report[kind]
        for level in ("fail", "warn")
        for sentence in entry["notes"].get(level, [])
    ]
    assert {name for _, _, name, _ in against} <= FOR_OLDER_CLIENTS, against
    assert {(kind, level, why) for kind, level, _, why in against} == {
        ("kex", "warn", NOT_POST_QUANTUM)
    }
    assert report["kex"][0]["algorithm"] == "mlkem768x25519-sha256"
    assert report["key"][0]["algorithm"] == "ssh-ed25519-cert-v01@openssh.com"
    assert report["cves"] == []


def assert_not_terrapin(report: dict[str, Any]) -> None:
    # The note there is about peers that offer no strict exchange; we refuse those the cipher.
    assert "kex-strict-s-v00@openssh.com" in {entry["algorithm"] for entry in report["kex"]}
    assert all("properly supports the strict" in note for note in report["additional_notes"])


class SshAuditTests:
    """No fail line, and no warn line but on what is kept for older clients."""

    def test_node(self, cluster: LocalCluster) -> None:
        """A node's SSH server, through a forwarded port."""
        command = [cluster.executable("msh"), "proxy", "ssh", "db1"]
        with forwarded(command, env=dict(cluster.variables())) as port:
            report = audit(port)
        assert_sound(report)
        assert_not_terrapin(report)

    def test_jump_host(self, cluster: LocalCluster) -> None:
        """The hub's jump host, through a TLS pipe."""
        (home,) = (path.parent for path in (cluster.directory / "msh").glob("*/profile.json"))
        command = [
            *("openssl", "s_client", "-quiet", "-verify_quiet", "-connect", cluster.address),
            *("-servername", "demo", "-alpn", "mezite-ssh", "-CAfile", str(home / "ca.pem")),
            "-verify_return_error",
        ]
        with forwarded(command) as port:
            report = audit(port)
        assert_sound(report)
        assert_not_terrapin(report)


@pytest.mark.parametrize("level", ["fail", "warn"])
def test_it_would_be_seen(level: str) -> None:
    """A line against anything else would be seen."""
    bad = {"algorithm": "3des-cbc", "notes": {level: ["it is broken"]}}
    report = {"kex": [], "key": [], "enc": [bad], "mac": []}
    with pytest.raises(AssertionError):
        assert_sound(report)
