"""
How long a session takes to begin and end while strangers flood the port.

``python -m tests.benchmarks.floods [--rounds 7] [--connections 400] [--flood NAME]``
runs ``true`` on a node by ``msh ssh`` and by stock ssh, first without and then with each
flood of :mod:`tests.end_to_end.floods`, which comes from another address of loopback.
A session that fails has taken for ever.
"""

from __future__ import annotations

import argparse
import getpass
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from mezite.cli.local import LocalCluster, Program, local_cluster
from tests.end_to_end.floods import KINDS, SOURCE, Seen, flooding

_USER: Final = "ada"
_PASSWORD: Final = "only for this run"
# A flood has opened its connections by then.
_WARM_SECONDS: Final = 3.0
NONE: Final = "none"
# Without a balancer there is no header of one.
_KINDS: Final = [kind for kind in KINDS if kind != "slow_header"]


@frozen
class Measured:
    """Medians in seconds, the hub's share of a processor meanwhile, and what the flood saw."""

    msh: float
    ssh: float
    hub_load: float
    seen: Seen | None


def _timed(cluster: LocalCluster, words: Sequence[str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(words, check=False, capture_output=True, env=dict(cluster.variables()))
    if done.returncode:
        print(done.stderr.decode().strip(), file=sys.stderr)
        return math.inf
    return time.perf_counter() - begun


def _cpu_seconds(program: Program) -> float:
    return time.clock_gettime((~program.process.pid << 3) | 2)


def measure(rounds: int, connections: int, kinds: Sequence[str]) -> Iterator[tuple[str, Measured]]:
    """What sessions take, by flood; first without one."""
    login = getpass.getuser()
    with tempfile.TemporaryDirectory() as directory, local_cluster(Path(directory)) as cluster:
        hub = cluster.start_hub()
        cluster.add_user(_USER, _PASSWORD, f"--logins={login}")
        cluster.log_in(_USER, _PASSWORD)
        cluster.start_agent("db1")
        cluster.wait_online("db1")
        config = cluster.directory / "ssh_config"
        config.write_bytes(cluster.succeed("msh", "config"))
        by_msh = (cluster.executable("msh"), "ssh", f"{login}@db1", "true")
        by_ssh = ("ssh", "-F", str(config), "-o", "BatchMode=yes", f"{login}@db1", "true")
        for words in (by_msh, by_ssh):
            _timed(cluster, words)

        def sessions() -> tuple[float, float, float]:
            begun, before = time.monotonic(), _cpu_seconds(hub)
            msh = statistics.median(_timed(cluster, by_msh) for _ in range(rounds))
            ssh = statistics.median(_timed(cluster, by_ssh) for _ in range(rounds))
            return msh, ssh, (_cpu_seconds(hub) - before) / (time.monotonic() - begun)

        yield NONE, Measured(*sessions(), None)
        for kind in kinds:
            with flooding(cluster.port, **{kind: connections}) as flood:
                time.sleep(_WARM_SECONDS)
                times = sessions()
                yield kind, Measured(*times, flood.seen()[kind])


def report(kind: str, found: Measured, usual: Measured) -> str:
    """A line of the table."""
    line = (
        f"{kind:14}{1000 * found.msh:9.0f}{found.msh / usual.msh:6.2f}x"
        f"{1000 * found.ssh:7.0f}{found.ssh / usual.ssh:6.2f}x{100 * found.hub_load:8.0f}%"
    )
    if found.seen is not None:
        seen = found.seen
        line += f"{seen.opened:9}{seen.ended:8}{seen.refused:9}{seen.longest:8.1f}s"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument(
        "--flood", action="append", choices=[k for k in KINDS if k != "slow_header"]
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    measured = measure(given.rounds, given.connections, given.flood or _KINDS)
    if given.format == "json":
        rows: dict[str, Any] = {kind: asdict(found) for kind, found in measured}
        print(json.dumps({"load_before": load, "floods": rows}, indent=2))
        return
    print(
        f"`true` on a node, milliseconds, with {given.connections} connections of a flood from"
        f" {SOURCE}; {os.cpu_count()} CPUs, load {load:.1f} before\n"
        f"{'flood':14}{'msh ssh':>9}{'':>7}{'ssh':>7}{'':>7}{'hub CPU':>9}"
        f"{'opened':>9}{'ended':>8}{'refused':>9}{'longest':>9}"
    )
    _, usual = first = next(measured)
    for kind, found in chain((first,), measured):
        print(report(kind, found, usual), flush=True)


if __name__ == "__main__":
    main()
