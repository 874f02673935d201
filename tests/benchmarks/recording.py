"""
What recording costs: ``true`` and bulk output by stock ssh, at a node with
recording off, best effort and strict, and at a server without an agent with
recording off and strict, where the hub records; in turn, in one run.

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mezite.cli.local import LocalCluster, local_cluster
from tests.benchmarks.idle import cpu_seconds
from tests.end_to_end.test_openssh_nodes import fingerprint, trusting_sshd

MODES: Final = ("off", "best_effort", "strict")
PROXY_MODES: Final = ("off", "strict")
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


@frozen
class _Way:
    """Somebody with a mode, on the way to a node."""

    config: Path
    node: str

    def run(self, command: str) -> float:
        """The seconds that this took."""
        place = f"{getpass.getuser()}@{self.node}"
        begun = time.perf_counter()
        subprocess.run(
            ["ssh", "-F", self.config, "-o", "BatchMode=yes", place, command],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begun


@contextmanager
def _without_agent(cluster: LocalCluster, node: str) -> Iterator[None]:
    """OpenSSH's sshd as a node of this cluster."""
    setup = ["openssh", "setup", "--user-ca"]
    user_ca = cluster.succeed("mezctl", f"--data-dir={cluster.hub_data}", *setup)
    directory = cluster.directory / "sshd"
    with trusting_sshd(directory, user_ca) as port:
        key = f"--host-key={fingerprint(directory)}"
        cluster.admin("nodes", "add", f"--openssh={node}", f"--addr=127.0.0.1:{port}", key)
        yield


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
    """Milliseconds of ``true``, and for each kind of output MB/s and our processes' CPU."""
    with tempfile.TemporaryDirectory() as place, local_cluster(Path(place)) as cluster:
        for where in ("AGENT_RECORDING", "RECORDINGS_OPENSSH"):
            cluster.environment[f"MEZITE_{where}_OUTPUT_LIMIT"] = limit
            cluster.environment[f"MEZITE_{where}_QUOTA"] = "1TiB"
        hub = cluster.start_hub()
        configs = {mode: _person(cluster, mode) for mode in MODES}
        agent = cluster.start_agent("db1")
        cluster.wait_online("db1")
        with _without_agent(cluster, "plain1"):
            ways = {mode: _Way(configs[mode], "db1") for mode in MODES}
            ways |= {f"proxy, {mode}": _Way(configs[mode], "plain1") for mode in PROXY_MODES}
            for way in ways.values():
                way.run("true")
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    times[name].append(way.run("true"))
            pids = (hub.process.pid, agent.process.pid)
            bulk = {
                what: _bulk(ways, command, megabytes << 20, bulk_rounds, pids)
                for what, command in _sources(Path(place), megabytes).items()
            }
    return {
        "true": {name: statistics.median(found) * 1000 for name, found in times.items()},
        "bulk": bulk,
    }


def _bulk(
    ways: Mapping[str, _Way], command: str, size: int, rounds: int, pids: Sequence[int]
) -> dict[str, Any]:
    """What this command's output takes on each way: of time, and of each process's CPU."""
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            before = [cpu_seconds(pid) for pid in pids]
            took = way.run(command)
            time.sleep(1)  # what is still being written is part of the cost
            hub, agent = (cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True))
            taken[name].append((took, hub, agent))
    found = {}
    for name, rows in taken.items():
        took, hub, agent = (statistics.median(column) for column in zip(*rows, strict=True))
        found[name] = {
            "seconds": took,
            "megabytes_per_second": size / took / 1e6,
            "hub_cpu_seconds_per_gb": hub / size * 1e9,
            "agent_cpu_seconds_per_gb": agent / size * 1e9,
        }
    return found


def report(results: dict[str, Any], load: float) -> str:
    """The results as a table; the targets are 1.05 for ``true`` and 1.30 for output."""
    true = results["true"]
    rows = [["", *true], ["true, ms", *_beside(true, {n: f"{ms:.1f}" for n, ms in true.items()})]]
    for what, found in results["bulk"].items():
        seconds = {name: each["seconds"] for name, each in found.items()}
        rates = {name: f"{each['megabytes_per_second']:.0f}" for name, each in found.items()}
        rows.append([f"{what}, MB/s", *_beside(seconds, rates)])
        for process in ("hub", "agent"):
            costs = [each[f"{process}_cpu_seconds_per_gb"] for each in found.values()]
            rows.append([f"  {process}, CPU s/GB", *(f"{cost:.2f}" for cost in costs)])
    return "\n".join(
        [f"recording: {os.cpu_count()} CPUs, load {load:.1f} before"]
        + [f"{title:18}" + "".join(f"{cell:>17}" for cell in cells) for title, *cells in rows]
    )


def _beside(values: Mapping[str, float], shown: Mapping[str, str]) -> list[str]:
    """What is shown, with the value's ratio to the one without recording on the same way."""
    cells = []
    for name, value in values.items():
        off = "proxy, off" if name.startswith("proxy") else "off"
        cells.append(shown[name] + ("" if name == off else f" x{value / values[off]:4.2f}"))
    return cells


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
