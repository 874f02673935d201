"""
What recording costs: ``true`` and bulk output by stock ssh with recording off,
best effort and strict; in turn, in one run.

Output is recorded whole here, and not only up to the cap that commands have by
default. ``--limit=256MiB`` measures with the cap.

``python -m tests.benchmarks.recording [--rounds 30] [--megabytes 1024] [--format json]``
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from mezite.cli.local import LocalCluster, local_cluster
from tests.benchmarks.idle import cpu_seconds

MODES: Final = ("off", "best_effort", "strict")
_PASSWORD: Final = "only for this run"
_ROLE: Final = """\
kind: role
version: v1
metadata: {{name: {name}}}
spec:
  options: {{record_session: {mode}}}
"""


def _person(cluster: LocalCluster, mode: str) -> Path:
    """Somebody with this mode; the configuration for stock ssh."""
    name = mode.replace("_", "-")
    role = cluster.directory / f"{name}.yaml"
    role.write_text(_ROLE.format(name=name, mode=mode))
    cluster.admin("roles", "create", f"--from-file={role}")
    cluster.environment["MSH_HOME"] = str(cluster.directory / f"msh-{name}")
    cluster.add_user(name, _PASSWORD, f"--logins={getpass.getuser()}", f"--roles=access,{name}")
    cluster.log_in(name, _PASSWORD)
    config = cluster.directory / f"ssh-{name}"
    config.write_bytes(cluster.succeed("msh", "config"))
    return config


def _ssh(config: Path, command: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        ["ssh", "-F", config, "-o", "BatchMode=yes", f"{getpass.getuser()}@db1", command],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def _sources(directory: Path, megabytes: int) -> dict[str, str]:
    """Commands that write so much, by what they write."""
    noise = directory / "noise"
    noise.write_bytes(os.urandom(32 << 20))
    log = directory / "log"
    with log.open("w") as file:
        for number in range(200_000):
            file.write(
                f"2024-05-01T12:{number // 60 % 60:02}:{number % 60:02}.{number * 7919 % 10**6:06}"
                f" INFO worker-{number % 13} request {number * 104729 % 10**9} took"
                f" {number * 31 % 997} ms and moved {number * 7 % 8191} rows of orders\n"
            )
    copies = megabytes // 32 + 1
    size = megabytes << 20
    return {
        "zeros": f"head -c {size} /dev/zero",
        "log": f"yes {log} | head -n {copies * 2} | xargs cat | head -c {size}",
        "noise": f"yes {noise} | head -n {copies} | xargs cat | head -c {size}",
    }


def measure(rounds: int, megabytes: int, bulk_rounds: int, limit: str) -> dict[str, Any]:
    """Milliseconds of ``true``, and for each kind of output MB/s and the agent's CPU."""
    with tempfile.TemporaryDirectory() as place, local_cluster(Path(place)) as cluster:
        cluster.environment["MEZITE_AGENT_RECORDING_OUTPUT_LIMIT"] = limit
        cluster.environment["MEZITE_AGENT_RECORDING_QUOTA"] = "1TiB"
        cluster.start_hub()
        people = {mode: _person(cluster, mode) for mode in MODES}
        agent = cluster.start_agent("db1")
        cluster.wait_online("db1")
        for config in people.values():
            _ssh(config, "true")
        times: dict[str, list[float]] = {mode: [] for mode in MODES}
        for _ in range(rounds):
            for mode, config in people.items():
                times[mode].append(_ssh(config, "true"))
        bulk: dict[str, Any] = {}
        for what, command in _sources(Path(place), megabytes).items():
            taken: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
            for _ in range(bulk_rounds):
                for mode, config in people.items():
                    before = cpu_seconds(agent.process.pid)
                    took = _ssh(config, command)
                    time.sleep(1)  # what is still being written is part of the cost
                    spent = cpu_seconds(agent.process.pid) - before
                    taken[mode].append((took, spent))
            size = megabytes << 20
            bulk[what] = {
                mode: {
                    "seconds": statistics.median(each[0] for each in found),
                    "megabytes_per_second": size / statistics.median(e[0] for e in found) / 1e6,
                    "agent_cpu_seconds_per_gb": statistics.median(e[1] for e in found) / size * 1e9,
                }
                for mode, found in taken.items()
            }
    return {
        "true": {mode: statistics.median(found) * 1000 for mode, found in times.items()},
        "bulk": bulk,
    }


def report(results: dict[str, Any], load: float) -> str:
    """The results as a table; the targets are 1.05 for ``true`` and 1.30 for output."""
    off = results["true"]["off"]
    lines = [
        f"recording: {os.cpu_count()} CPUs, load {load:.1f} before",
        f"{'':12}{'off':>14}{'best_effort':>20}{'strict':>20}",
        f"{'true, ms':12}"
        + "".join(
            f"{results['true'][mode]:14.1f}"
            + ("" if mode == "off" else f" x{results['true'][mode] / off:4.2f}")
            for mode in MODES
        ),
    ]
    for what, found in results["bulk"].items():
        base = found["off"]["seconds"]
        lines.append(
            f"{what + ', MB/s':12}"
            + "".join(
                f"{found[mode]['megabytes_per_second']:14.0f}"
                + ("" if mode == "off" else f" x{found[mode]['seconds'] / base:4.2f}")
                for mode in MODES
            )
        )
        lines.append(
            f"{'  CPU s/GB':12}"
            + "".join(
                f"{found[mode]['agent_cpu_seconds_per_gb']:14.2f}"
                + ("" if mode == "off" else " " * 6)
                for mode in MODES
            )
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--bulk-rounds", type=int, default=3)
    parser.add_argument("--limit", default="1TiB")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    results = measure(given.rounds, given.megabytes, given.bulk_rounds, given.limit)
    results["load_before"] = load
    print(json.dumps(results, indent=2) if given.format == "json" else report(results, load))


if __name__ == "__main__":
    main()
