"""
What it costs to relay a gigabyte, in CPU seconds of the relaying process.

``python -m tests.benchmarks.relay`` runs three relays side by side on the
loopback, each a process of its own, and the same client against each in turn:
Twisted's own TLS with its port forwarder, our TLS transports with our splice,
and our TLS transport spliced to a stream of a tunnel. The last is the hub's work.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.doubles.certificates import certificate_set

ROLES = "tests.benchmarks.relayroles"
_BLOCK = b"\0" * (256 * 1024)
KINDS = {
    "twisted": "Twisted TLS to Twisted TLS",
    "tls": "TLSTransport to TLSTransport",
    "mux": "TLSTransport to a tunnel's stream",
}


@frozen
class Round:
    """One transfer: who relayed, which way, and what it took."""

    kind: str
    way: str
    cpu_per_gb: float
    megabytes_per_second: float


@define
class Processes:
    """The processes of one run."""

    folder: Path
    running: list[subprocess.Popen[str]] = field(factory=list)

    def start(self, role: str, port: int = 0) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.relayroles",
                role,
                str(self.folder),
                str(port),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def stop(self) -> None:
        for process in self.running:
            process.communicate(timeout=10)


def write_certificates(folder: Path) -> None:
    ours = certificate_set()
    (folder / "ca.pem").write_bytes(ours.ca_pem)
    for name, credentials in (("hub", ours.hub), ("node", ours.node)):
        (folder / f"{name}.crt").write_bytes(credentials.certificate_pem)
        (folder / f"{name}.key").write_bytes(credentials.key_pem)


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """User and system time so far: Linux has a clock for each process, named by its id."""
    return time.clock_gettime((~process.pid << 3) | 2)


def transfer(port: int, kind: str, way: str, count: int) -> float:
    """Move so many bytes through the relay on this port; the seconds it took."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind != "twisted":  # which ends the handshake over a name it does not know
        context.set_alpn_protocols(["mezite-ssh"])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain) as connection,
    ):
        started = time.monotonic()
        connection.sendall(f"{way} {count}\n".encode())
        if way == "up":
            for start in range(0, count, len(_BLOCK)):
                connection.sendall(_BLOCK[: count - start])
            assert connection.recv(1) == b"!"
        else:
            buffer = bytearray(256 * 1024)
            left = count
            while left:
                received = connection.recv_into(buffer)
                assert received, f"{left} bytes are missing"
                left -= received
        return time.monotonic() - started


def measure(rounds: int, megabytes: int, kinds: list[str]) -> list[Round]:
    count = megabytes * 1_000_000
    measured: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        processes = Processes(Path(folder))
        try:
            write_certificates(Path(folder))
            _, far_port = processes.start("far")
            relays: dict[str, tuple[subprocess.Popen[str], int]] = {}
            for kind in kinds:
                process, port = processes.start(kind, int(far_port))
                relays[kind] = process, int(port)
                if kind == "mux":
                    assert processes.start("tunnel", int(port))[1] == "ready"
            for turn in range(rounds + 1):
                for kind, (process, port) in relays.items():
                    for way in ("up", "down"):
                        before = cpu_seconds(process)
                        took = transfer(port, kind, way, count if turn else count // 10)
                        spent = cpu_seconds(process) - before
                        if turn:  # the first, short one only warms up
                            measured.append(
                                Round(kind, way, spent / count * 1e9, count / took / 1e6)
                            )
        finally:
            processes.stop()
    return measured


def summary(rounds: list[Round]) -> list[dict[str, Any]]:
    """Medians, one row for each relay and way; the ratio is to Twisted's own."""
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for way in ("up", "down"):
            chosen = [r for r in rounds if (r.kind, r.way) == (kind, way)]
            if chosen:
                cpu = statistics.median(r.cpu_per_gb for r in chosen)
                speed = statistics.median(r.megabytes_per_second for r in chosen)
                row = {"relay": kind, "way": way, "cpu_seconds_per_gb": round(cpu, 3)}
                rows.append({**row, "megabytes_per_second": round(speed)})
    base = {r["way"]: r["cpu_seconds_per_gb"] for r in rows if r["relay"] == "twisted"}
    for row in rows:
        if row["way"] in base:
            row["ratio"] = round(row["cpu_seconds_per_gb"] / base[row["way"]], 3)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--relay", action="append", choices=list(KINDS))
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args()
    rows = summary(measure(options.rounds, options.megabytes, options.relay or list(KINDS)))
    if options.format == "json":
        print(json.dumps(rows, indent=2))
        return
    print(f"{options.rounds} rounds of {options.megabytes} MB each way, {os.cpu_count()} CPUs")
    print(f"{'relay':36}{'way':6}{'CPU s/GB':>10}{'MB/s':>8}{'ratio':>8}")
    for row in rows:
        ratio = row.get("ratio", "")
        print(
            f"{KINDS[row['relay']]:36}{row['way']:6}{row['cpu_seconds_per_gb']:10.2f}"
            f"{row['megabytes_per_second']:8}{ratio:>8}"
        )


if __name__ == "__main__":
    main()
