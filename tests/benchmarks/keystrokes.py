"""
How long a keystroke takes to come back from a terminal on a node, idle and
while bulk data goes through the same tunnel; through hub and agent, through an
OpenSSH bastion, and directly.

``python -m tests.benchmarks.keystrokes [--keys 200] [--copies 1] [--mbit 20] [--format json]``

``--mbit`` puts a slow line (:mod:`tests.benchmarks.slowline`) between the node and the hub, and
another between the node and the bastion: what waits in buffers shows there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.benchmarks.ways import Ways, ways

# A fast typist's pauses; random, so that no timer falls into step with them.
_PAUSES: Final = (0.02, 0.06)
# A bulk copy has opened its windows by then.
_WARM_SECONDS: Final = 2.0
_LOADS: Final = ("idle", "bulk down", "bulk up")


@contextmanager
def load_on(there: Ways, way: str, kind: str, copies: int) -> Iterator[None]:
    """Bulk data in other sessions on the same node, for as long as this is entered."""
    if kind == "idle":
        yield
        return
    is_down = kind == "bulk down"
    with open("/dev/zero", "rb") as zeros:
        copying = [
            subprocess.Popen(
                there.ssh(way, "cat /dev/zero" if is_down else "cat > /dev/null"),
                stdin=subprocess.DEVNULL if is_down else zeros,
                stdout=subprocess.DEVNULL,
            )
            for _ in range(copies)
        ]
    try:
        time.sleep(_WARM_SECONDS)
        assert all(each.poll() is None for each in copying)
        yield
        assert all(each.poll() is None for each in copying)
    finally:
        for each in copying:
            each.terminate()
            each.wait()


def echoes(there: Ways, way: str, keys: int) -> list[float]:
    """Seconds from each key to its echo, by the terminal of the node."""
    client = subprocess.Popen(
        there.ssh(way, "stty -icanon; echo ready; exec cat > /dev/null", options=("-tt", "-enone")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    taken: list[float] = []
    try:
        said = b""
        while not said.endswith(b"ready\r\n"):
            more = client.stdout.read(100)
            assert more, "there is no terminal"
            said += more
        for _ in range(keys):
            time.sleep(random.uniform(*_PAUSES))
            begun = time.perf_counter()
            client.stdin.write(b"x")
            assert client.stdout.read(1) == b"x"
            taken.append(time.perf_counter() - begun)
    finally:
        client.kill()
        client.communicate()
    return taken


def percentile(values: list[float], share: float) -> float:
    """The value that so many of all are not above."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(
    keys: int, copies: int = 1, megabits: float = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """For each way and load: p50 and p99 in milliseconds."""
    with ways(megabits) as there:
        results: dict[str, dict[str, dict[str, float]]] = {way: {} for way in there.words}
        for kind in _LOADS:
            for way in there.words:
                with load_on(there, way, kind, copies):
                    taken = echoes(there, way, keys)
                results[way][kind] = {
                    "p50_ms": 1000 * percentile(taken, 0.5),
                    "p99_ms": 1000 * percentile(taken, 0.99),
                }
        for found in results.values():
            for kind in _LOADS:
                found[kind]["p99_to_idle"] = found[kind]["p99_ms"] / found["idle"]["p99_ms"]
    return results


def report(results: dict[str, dict[str, dict[str, float]]], conditions: str) -> str:
    """The results as a table."""
    lines = [
        f"keystroke echo, milliseconds, {conditions}",
        f"{'':18}{'':10}{'p50':>8}{'p99':>8}{'to idle p99':>13}",
    ]
    for way, found in results.items():
        for kind, values in found.items():
            lines.append(
                f"{way:18}{kind:10}{values['p50_ms']:8.1f}{values['p99_ms']:8.1f}"
                f"{values['p99_to_idle']:13.1f}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--mbit", type=float, default=0)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    results = measure(given.keys, given.copies, given.mbit)
    if given.format == "json":
        print(json.dumps({"load_before": load, "ways": results}, indent=2))
    else:
        line = f", a line of {given.mbit:g} Mbit/s" if given.mbit else ""
        print(
            report(
                results,
                f"{os.cpu_count()} CPUs, load {load:.1f} before,"
                f" {given.copies} copies at once{line}",
            )
        )


if __name__ == "__main__":
    main()
