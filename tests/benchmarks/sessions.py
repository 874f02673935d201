"""
How long ``true`` takes on a node by stock ssh: through the hub, through an
OpenSSH bastion, and directly; in turn, in one run.

``python -m tests.benchmarks.sessions [--rounds 20] [--format json]``
"""

from __future__ import annotations

import argparse
import getpass
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from mezite.cli.local import local_cluster
from tests.benchmarks.bastion import bastion

_USER = "ada"
_PASSWORD = "only for this run"


def _timed(*command: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds for each way: median, lowest and highest."""
    login = getpass.getuser()
    with (
        tempfile.TemporaryDirectory() as ours,
        tempfile.TemporaryDirectory() as theirs,
        local_cluster(Path(ours)) as cluster,
        bastion(Path(theirs)) as peer,
    ):
        cluster.start_hub()
        cluster.add_user(_USER, _PASSWORD, f"--logins={login}")
        cluster.log_in(_USER, _PASSWORD)
        cluster.start_agent("db1")
        cluster.wait_online("db1")
        config = cluster.directory / "ssh_config"
        config.write_bytes(cluster.succeed("msh", "config"))
        ways = {
            "hub and agent": ("ssh", "-F", str(config), f"{login}@db1", "true"),
            "OpenSSH bastion": ("ssh", "-F", str(peer.config), "node", "true"),
            "direct sshd": ("ssh", "-F", str(peer.config), "direct", "true"),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for way, command in ways.items():
            _timed(*command)  # what is cold the first time is not what is asked for
            del way
        for _ in range(rounds):
            for way, command in ways.items():
                times[way].append(_timed(*command))
    return {
        way: {"median": statistics.median(taken), "min": min(taken), "max": max(taken)}
        for way, taken in times.items()
    }


def report(results: dict[str, dict[str, float]]) -> str:
    """The results as a table."""
    lines = ["session set-up: `true` by stock ssh, milliseconds", f"{'':20}median   min   max"]
    for way, taken in results.items():
        values = "".join(f"{1000 * taken[key]:6.0f}" for key in ("median", "min", "max"))
        lines.append(f"{way:20}{values}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    results = measure(given.rounds)
    print(json.dumps(results) if given.format == "json" else report(results))


if __name__ == "__main__":
    main()
