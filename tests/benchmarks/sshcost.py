"""
What SSH costs the node, in CPU seconds per gigabyte of its server: the whole
agent through its tunnel, our SSH server on plain TCP, and an untouched Conch
server with aes256-ctr; in one run, with stock ssh as the client.

``python -m tests.benchmarks.sshcost [--megabytes 300] [--format json]``
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.benchmarks.idle import cpu_seconds
from tests.benchmarks.ways import OURS, ways

CONCH: Final = "Conch, aes256-ctr"
_CTR: Final = ("-c", "aes256-ctr")
_GCM: Final = ("-c", "aes256-gcm@openssh.com")
# Whatever stock ssh likes best of what msh config and the node offer.
_DEFAULT: Final = ()


@frozen
class Server:
    """Who is measured, and how stock ssh gets there."""

    name: str
    pid: int
    words: Sequence[str]


@contextmanager
def listening(module: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """A server of its own process, which prints its port; its pid and that port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def servers() -> Iterator[list[Server]]:
    """All that are compared."""
    login = getpass.getuser()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there = stack.enter_context(ways())
        node_pid, node_port = stack.enter_context(
            listening("tests.end_to_end.node_sshd", str(place), login)
        )
        key = place / "conch"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        conch_pid, conch_port = stack.enter_context(
            listening("tests.benchmarks.conchserver", login, f"{key}.pub")
        )
        plain = ("-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
                 "-o", "UserKnownHostsFile=/dev/null", "-l", login)  # fmt: skip
        node = (*plain, "-i", str(place / "id"), "-p", str(node_port), "127.0.0.1")
        agent = there.words[OURS]
        yield [
            Server("agent in its tunnel", there.pids["agent"], (*_DEFAULT, *agent)),
            Server("agent, aes256-gcm", there.pids["agent"], (*_GCM, *agent)),
            Server("ours alone, aes256-gcm", node_pid, (*_GCM, *node)),
            Server("ours alone, aes256-ctr", node_pid, (*_CTR, *node)),
            Server(
                CONCH,
                conch_pid,
                (*_CTR, *plain, "-i", str(key), "-p", str(conch_port), "127.0.0.1"),
            ),
        ]


def cost(server: Server, direction: str, count: int) -> float:
    """CPU seconds of this server for a gigabyte."""
    before = cpu_seconds(server.pid)
    if direction == "down":
        subprocess.run(
            ["ssh", *server.words, f"head -c {count} /dev/zero"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    else:
        with subprocess.Popen(
            ["head", "-c", str(count), "/dev/zero"], stdout=subprocess.PIPE
        ) as source:
            done = subprocess.run(
                ["ssh", *server.words, "wc -c"],
                stdin=source.stdout,
                capture_output=True,
                check=True,
            )
        assert int(done.stdout) == count
    return (cpu_seconds(server.pid) - before) / count * 1e9


def measure(megabytes: int) -> dict[str, dict[str, float]]:
    """CPU seconds per gigabyte for each server, down and up."""
    with servers() as compared:
        for server in compared:
            cost(server, "down", 1 << 20)
        return {
            server.name: {
                direction: cost(server, direction, megabytes << 20) for direction in ("down", "up")
            }
            for server in compared
        }


def report(results: dict[str, dict[str, float]], load: float) -> str:
    """The results as a table; the target is half of Conch's."""
    lines = [
        f"SSH at the node: CPU seconds per GB, {os.cpu_count()} CPUs, load {load:.1f} before",
        f"{'':24}{'down':>7}{'up':>7}{'of Conch':>16}",
    ]
    for name, found in results.items():
        shares = "".join(f"{found[way] / results[CONCH][way]:8.2f}" for way in ("down", "up"))
        lines.append(f"{name:24}{found['down']:7.2f}{found['up']:7.2f}{shares}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    results = measure(given.megabytes)
    if given.format == "json":
        print(json.dumps({"load_before": load, "cpu_seconds_per_gb": results}, indent=2))
    else:
        print(report(results, load))


if __name__ == "__main__":
    main()
