"""
What ``msh proxy ssh`` adds to a TLS connection: the time to a node's first
bytes by it, and by bare TLS clients with the same certificates; in turn, in one run.

``python -m tests.benchmarks.proxycommand [--rounds 40] [--format json]``
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from mezite.cli.local import LocalCluster, local_cluster

_USER = "ada"
_PASSWORD = "only for this run"
_BANNER = b"SSH-2.0-"


@frozen
class Taken:
    """Seconds until the first bytes, and of processor time."""

    wall: float
    processor: float


def _until_banner(command: Sequence[str], environment: Mapping[str, str]) -> Taken:
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    heard = b""
    while _BANNER not in heard:
        more = os.read(process.stdout.fileno(), 4096)
        if not more:
            raise RuntimeError(f"{command[0]} was not connected")
        heard += more
    wall = time.perf_counter() - begun
    process.kill()
    return Taken(wall, _processor_time(process))


def _processor_time(process: subprocess.Popen[bytes]) -> float:
    """What it used until its end, which other programs on the machine do not change."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.communicate()
    return usage.ru_utime + usage.ru_stime


def _bare(cluster: LocalCluster, profile: Path) -> Taken:
    """In this process, with everything imported: the network's and TLS's own time."""
    begun, used = time.perf_counter(), time.process_time()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["mezite-ssh"])
    context.load_verify_locations(profile / "ca.pem")
    context.load_cert_chain(profile / "tls.crt", profile / "tls.key")
    with (
        socket.create_connection(("127.0.0.1", cluster.port)) as connected,
        context.wrap_socket(connected, server_hostname=f"db1.{cluster.name}") as tls,
    ):
        if not tls.recv(4096).startswith(_BANNER):
            raise RuntimeError("the node did not answer")
        return Taken(time.perf_counter() - begun, time.process_time() - used)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds for each way: median, lowest and highest."""
    with tempfile.TemporaryDirectory() as place, local_cluster(Path(place)) as cluster:
        cluster.start_hub()
        cluster.add_user(_USER, _PASSWORD, f"--logins={getpass.getuser()}")
        cluster.log_in(_USER, _PASSWORD)
        cluster.start_agent("db1")
        cluster.wait_online("db1")
        environment = cluster.variables()
        (profile,) = (each.parent for each in Path(place).glob("msh/*/profile.json"))
        openssl = [
            "openssl", "s_client", "-connect", cluster.address, "-quiet", "-alpn", "mezite-ssh",
            "-servername", f"db1.{cluster.name}", "-CAfile", f"{profile}/ca.pem",
            "-cert", f"{profile}/tls.crt", "-key", f"{profile}/tls.key",
        ]  # fmt: skip
        ways: dict[str, Callable[[], Taken]] = {
            "bare, no process": lambda: _bare(cluster, profile),
            "openssl s_client": lambda: _until_banner(openssl, environment),
            "python, nothing done": lambda: _empty(environment),
            "msh proxy ssh": lambda: _until_banner(
                [cluster.executable("msh"), "proxy", "ssh", "db1"], environment
            ),
        }
        times: dict[str, list[Taken]] = {way: [] for way in ways}
        for once in ways.values():
            once()  # what is cold the first time is not what is asked for
        for _ in range(rounds):
            for way, once in ways.items():
                times[way].append(once())
    return {way: _summary(taken) for way, taken in times.items()}


def _summary(taken: Sequence[Taken]) -> dict[str, float]:
    walls = [each.wall for each in taken]
    return {
        "median": statistics.median(walls),
        "min": min(walls),
        "max": max(walls),
        "cpu": statistics.median(each.processor for each in taken),
    }


def _empty(environment: Mapping[str, str]) -> Taken:
    """The interpreter's own start and end, which no program in Python does without."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", ""], env=dict(environment))
    processor = _processor_time(process)
    return Taken(time.perf_counter() - begun, processor)


def report(results: dict[str, dict[str, float]]) -> str:
    """The results as a table, and what is added."""
    lines = [
        "a connection to a node, milliseconds to its first bytes",
        f"{'':24}median   min   max",
    ]
    for way, taken in results.items():
        values = "".join(f"{1000 * taken[key]:6.0f}" for key in ("median", "min", "max", "cpu"))
        lines.append(f"{way:24}{values}")
    for key in ("median", "min"):
        added = 1000 * (results["msh proxy ssh"][key] - results["bare, no process"][key])
        lines.append(f"msh proxy ssh adds to a bare connection, {key}: {added:.0f} (at most 150)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    results = measure(given.rounds)
    print(json.dumps(results) if given.format == "json" else report(results))


if __name__ == "__main__":
    main()
