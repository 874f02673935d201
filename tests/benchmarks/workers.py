"""
What workers bring and cost: copies at once through a hub of one process, and of two workers.

``python -m tests.benchmarks.workers [--copies 4] [--megabytes 512] [--sessions 30]
[--share 0.25] [--tunnels 200] [--format json]``

The load is as heavy as the hub, so that the throughput says something only where there
are cores for both. So copies go a second time with a share of a core for each process of
the hub (:mod:`tests.benchmarks.shares`), which then bounds them on two cores, too. With
workers, copies go with node and person at one worker; with each at another, where a
neighbour's socket lies between; and half of them so, as it comes about by chance.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, frozen

from mezite.cli.local import LocalCluster, local_cluster
from tests.benchmarks.fleet import fleet
from tests.benchmarks.idle import children, cpu_seconds
from tests.benchmarks.shares import shares, used_seconds

_USER: Final = "ada"
_PASSWORD: Final = "only for this run"
ONE: Final = "one process"
SAME: Final = "same worker"
NEIGHBOUR: Final = "neighbour"
MIXED: Final = "half and half"


@frozen
class Carried:
    """Copies at once, by where their ends are."""

    placement: str
    megabytes_per_second: float
    # With a share of a core for each process of the hub.
    bounded_megabytes_per_second: float
    # What of it they used: if it is less, something else bounded the copies.
    shares_used: list[float]
    # Of the hub's processes: control (or the only one) first, then the workers.
    hub_cpu_seconds_per_gb: list[float]
    load_cpu_seconds_per_gb: float
    setup_milliseconds: float


@define
class Load:
    """A process with one node and one person."""

    process: subprocess.Popen[str]
    tunnel_port: int

    def ask(self, words: str) -> dict[str, Any]:
        self.tell(words)
        return self.answer()

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def holders(port: int) -> dict[int, int]:
    """Which process holds the connection from each local port to the hub's."""
    listed = subprocess.run(
        ["ss", "-Htnp", f"sport = :{port}"], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"^ESTAB.*:(\d+) +users:\(\(.*?pid=(\d+)", listed, re.MULTILINE)
    return {int(peer): int(pid) for peer, pid in found}


def begin(cluster: LocalCluster, name: str, stack: ExitStack) -> Load:
    """A node that holds a tunnel."""
    (profile,) = (path for path in (cluster.directory / "msh").iterdir() if path.is_dir())
    token = cluster.new_token()["token"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.workersload", cluster.address, str(profile),
         token, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    return Load(process, json.loads(process.stdout.readline())["port"])


def place(cluster: LocalCluster, load: Load, placement: str) -> float:
    """Dial until the person is where the placement wants them; how long that dial took."""
    for _ in range(100):
        dialed = load.ask("dial")
        found = holders(cluster.port)
        is_same = found[load.tunnel_port] == found[dialed["port"]]
        if placement == ONE or is_same == (placement == SAME):
            took: float = dialed["seconds"]
            return took
        # It stays, so that the other worker has fewer connections, and takes the next one.
    raise AssertionError("every connection goes to the same worker")


def copy(loads: Sequence[Load], count: int) -> float:
    """Have all of them copy so many bytes at once; the seconds that it took."""
    begun = time.perf_counter()
    for load in loads:
        load.tell(f"get {count}")
    for load in loads:
        load.answer()
    return time.perf_counter() - begun


def carry(
    cluster: LocalCluster, hub: int, loads: Sequence[Load], placement: str, given: Any
) -> Carried:
    """Copy at once, and set sessions up one after the other."""
    for number, load in enumerate(loads):
        place(cluster, load, (SAME, NEIGHBOUR)[number % 2] if placement == MIXED else placement)
        load.ask(f"get {1 << 24}")  # what is cold is not what is asked for
    hubs = [hub, *children(hub)]
    theirs = [load.process.pid for load in loads]
    before = {pid: cpu_seconds(pid) for pid in [*hubs, *theirs]}
    count = given.megabytes << 20
    took = copy(loads, count)
    gigabytes = count * len(loads) / 1e9
    spent = {pid: (cpu_seconds(pid) - before[pid]) / gigabytes for pid in before}
    before_bounded = {pid: used_seconds(pid) for pid in hubs}
    with shares(hubs, given.share):
        took_bounded = copy(loads, count)
    used = [(used_seconds(pid) - before_bounded[pid]) / took_bounded for pid in hubs]
    setups = []
    for load in loads:
        load.ask("drop")
    for _ in range(given.sessions):
        setups.append(place(cluster, loads[0], SAME if placement == MIXED else placement))
        loads[0].ask("drop")
    return Carried(
        placement,
        1e3 * gigabytes / took,
        1e3 * gigabytes / took_bounded,
        [round(each, 2) for each in used],
        [round(spent[pid], 2) for pid in hubs],
        round(sum(spent[pid] for pid in theirs), 2),
        1e3 * statistics.median(setups),
    )


def spread(workers: int, tunnels: int) -> list[int]:
    """How many of so many tunnels that come at once each worker takes."""
    with tempfile.TemporaryDirectory() as there, local_cluster(Path(there)) as cluster:
        cluster.environment["MEZITE_MEZHUB_WORKERS"] = str(workers)
        cluster.start_hub()
        with fleet(cluster, tunnels) as agents:
            agents.tell("join")
            assert agents.wait("joined", 600.0)
            agents.tell("dial")
            assert agents.wait("up", 300.0)
            (status,) = cluster.admin("status")
            return [row["tunnels"] for row in status["workers"]]


def measure(workers: int, placements: Sequence[str], given: Any) -> list[Carried]:
    """Each placement, at one hub with so many workers."""
    with (
        tempfile.TemporaryDirectory() as there,
        local_cluster(Path(there)) as cluster,
        ExitStack() as stack,
    ):
        cluster.environment["MEZITE_MEZHUB_WORKERS"] = str(workers)
        hub = cluster.start_hub().process.pid
        cluster.add_user(_USER, _PASSWORD, "--logins=root")
        cluster.log_in(_USER, _PASSWORD)
        loads = [begin(cluster, f"node{number}", stack) for number in range(given.copies)]
        return [carry(cluster, hub, loads, placement, given) for placement in placements]


def report(carried: Sequence[Carried], spreads: dict[int, list[int]], given: Any) -> str:
    """The results as a table."""
    lines = [f"{given.copies} copies of {given.megabytes} MiB at once, from node to person"]
    lines.append(
        f"{'':14}{'MB/s':>8}{f'at {given.share:g} core':>14}  {'of which used':20}"
        f"{'hub CPU s/GB (each process)':36}load s/GB  set up"
    )
    for each in carried:
        parts = " + ".join(f"{spent:.2f}" for spent in each.hub_cpu_seconds_per_gb)
        shown = f"{sum(each.hub_cpu_seconds_per_gb):.2f} ({parts})"
        used = " + ".join(f"{share:.2f}" for share in each.shares_used)
        lines.append(
            f"{each.placement:14}{each.megabytes_per_second:8.0f}"
            f"{each.bounded_megabytes_per_second:14.0f}  {used:20}{shown:36}"
            f"{each.load_cpu_seconds_per_gb:9.2f}{each.setup_milliseconds:6.1f} ms"
        )
    for workers, counts in spreads.items():
        lines.append(f"{sum(counts)} tunnels over {workers} workers: {counts}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--tunnels", type=int, default=200)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    carried = [*measure(1, [ONE], given), *measure(2, [SAME, NEIGHBOUR, MIXED], given)]
    spreads = {workers: spread(workers, given.tunnels) for workers in (2, 4) if given.tunnels}
    if given.format == "json":
        print(json.dumps({"carried": [asdict(each) for each in carried], "spreads": spreads}))
    else:
        print(report(carried, spreads, given))


if __name__ == "__main__":
    main()
