"""
How fast a gigabyte goes through stock ssh, down and up: through hub and agent,
through an OpenSSH bastion, and directly; in turn, in one run.

``python -m tests.benchmarks.throughput [--megabytes 1024] [--rounds 1] [--format json]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from typing import Any

from attrs import asdict, frozen

from tests.benchmarks.idle import cpu_seconds
from tests.benchmarks.ways import BASTION, DIRECT, OURS, Ways, ways


@frozen
class Transfer:
    """One way, one direction: its rate and, for ours, what it cost our processes."""

    way: str
    direction: str
    megabytes_per_second: float
    cpu_seconds_per_gb: dict[str, float]


def transfer(there: Ways, way: str, direction: str, count: int) -> Transfer:
    """Move so many bytes once."""
    before = {name: cpu_seconds(pid) for name, pid in there.pids.items()}
    begun = time.perf_counter()
    if direction == "down":
        subprocess.run(
            there.ssh(way, f"head -c {count} /dev/zero"), stdout=subprocess.DEVNULL, check=True
        )
    else:
        with subprocess.Popen(
            ["head", "-c", str(count), "/dev/zero"], stdout=subprocess.PIPE
        ) as source:
            done = subprocess.run(
                there.ssh(way, "wc -c"), stdin=source.stdout, capture_output=True, check=True
            )
        assert int(done.stdout) == count
    took = time.perf_counter() - begun
    spent = {
        name: (cpu_seconds(pid) - before[name]) / count * 1e9
        for name, pid in there.pids.items()
        if way == OURS
    }
    return Transfer(way, direction, count / took / 1e6, spent)


def measure(megabytes: int, rounds: int) -> list[Transfer]:
    """The median of each way and direction."""
    count = megabytes << 20
    found: dict[tuple[str, str], list[Transfer]] = {}
    with ways() as there:
        for way in there.words:
            transfer(there, way, "down", 1 << 20)  # what is cold is not what is asked for
        for _ in range(rounds):
            for direction in ("down", "up"):
                for way in there.words:
                    found.setdefault((way, direction), []).append(
                        transfer(there, way, direction, count)
                    )
    return [
        Transfer(
            way,
            direction,
            statistics.median(each.megabytes_per_second for each in taken),
            {
                name: statistics.median(each.cpu_seconds_per_gb[name] for each in taken)
                for name in taken[0].cpu_seconds_per_gb
            },
        )
        for (way, direction), taken in found.items()
    ]


def ratios(transfers: list[Transfer]) -> dict[str, dict[str, float]]:
    """Ours against the two others; the targets are 2.5 and 0.5."""
    rate = {(each.way, each.direction): each.megabytes_per_second for each in transfers}
    return {
        direction: {
            peer: rate[OURS, direction] / rate[peer, direction] for peer in (BASTION, DIRECT)
        }
        for direction in ("down", "up")
    }


def report(transfers: list[Transfer], megabytes: int, load: float) -> str:
    """The results as a table."""
    lines = [
        f"throughput: {megabytes} MiB by stock ssh, {os.cpu_count()} CPUs, load {load:.1f} before",
        f"{'':18}{'':6}{'MB/s':>6}   CPU s/GB: {'hub':>6}{'agent':>7}",
    ]
    for each in transfers:
        spent = "".join(f"{value:7.2f}" for value in each.cpu_seconds_per_gb.values())
        lines.append(
            f"{each.way:18}{each.direction:6}{each.megabytes_per_second:6.0f}"
            + (f"{'':12}{spent}" if spent else "")
        )
    for direction, found in ratios(transfers).items():
        told = ", ".join(f"{value:.2f} of the {peer}" for peer, value in found.items())
        lines.append(f"ours {direction}: {told}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    transfers = measure(given.megabytes, given.rounds)
    if given.format == "json":
        result: dict[str, Any] = {
            "load_before": load,
            "transfers": [asdict(each) for each in transfers],
            "ratios": ratios(transfers),
        }
        print(json.dumps(result, indent=2))
    else:
        print(report(transfers, given.megabytes, load))


if __name__ == "__main__":
    main()
