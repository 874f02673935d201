"""
What it costs to relay a gigabyte, in CPU seconds of the relaying process.

``python -m tests.benchmarks.relay`` runs the relays side by side on the
loopback, each a process of its own, and the same client against each in turn,
in many short rounds: haproxy with one thread, Twisted's own TLS with its port
forwarder, our TLS transports with our splice, our TLS transport spliced to a
stream of a tunnel, and an OpenSSH bastion. The last but one is the hub's work.
All of them agree on the same cipher, except for Twisted's TLS as it comes, which
is there to be told apart from it.

A row is the median of its rounds; a ratio is the median of the ratios to the
relay beside it in the same round, so that what else the machine does weighs on
both. User and system time come from the kernel's ticks over all rounds. Of the bastion
both processes count, the one for the client and the one for the node.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.benchmarks.relaypeers import SSH_CIPHER, Peer, haproxy, openssh
from tests.doubles.certificates import certificate_set

ROLES = "tests.benchmarks.relayroles"
_BLOCK = b"\0" * (256 * 1024)
# The measure of the others.
BASE = "haproxy"
KINDS = {
    "haproxy": "haproxy, TLS to TLS, one thread",
    "twisted-as-is": "Twisted TLS to Twisted TLS, its own cipher",
    "twisted": "Twisted TLS to Twisted TLS",
    "tls": "TLSTransport to TLSTransport",
    "mux": "TLSTransport to a tunnel's stream",
    "openssh": "OpenSSH bastion, -L to -R",
}
# Twisted's TLS ends the handshake over a name that it does not know.
_WITHOUT_ALPN = ("haproxy", "twisted-as-is", "twisted")


@frozen
class Round:
    """One transfer: who relayed, which way, and what it took."""

    number: int
    kind: str
    way: str
    cipher: str
    cpu_per_gb: float
    user_per_gb: float
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


def cpu_seconds(relay: Peer) -> float:
    """User and system time so far: Linux has a clock for each process, named by its id."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in relay.pids)


def user_seconds(relay: Peer) -> float:
    """User time so far, in the kernel's ticks."""
    ticks = 0
    for pid in relay.pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def connected(port: int, kind: str) -> Iterator[tuple[socket.socket, str]]:
    """A client's connection to this kind of relay, and the cipher."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        if kind == "openssh":
            yield plain, SSH_CIPHER
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if kind not in _WITHOUT_ALPN:
            context.set_alpn_protocols(["mezite-ssh"])
        with context.wrap_socket(plain) as connection:
            cipher = connection.cipher()
            assert cipher is not None
            yield connection, cipher[0]


def transfer(port: int, kind: str, way: str, count: int) -> tuple[float, str]:
    """Move so many bytes through the relay on this port; the seconds it took, and the cipher."""
    with connected(port, kind) as (connection, cipher):
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
        return time.monotonic() - started, cipher


def one_round(number: int, relay: Peer, kind: str, way: str, count: int) -> Round:
    before, user_before = cpu_seconds(relay), user_seconds(relay)
    took, cipher = transfer(relay.port, kind, way, count)
    spent, user = cpu_seconds(relay) - before, user_seconds(relay) - user_before
    gigabytes = count / 1e9
    return Round(number, kind, way, cipher, spent / gigabytes, user / gigabytes, count / took / 1e6)


@contextmanager
def relays_of(kinds: list[str]) -> Iterator[dict[str, Peer]]:
    """All relays of these kinds, with what is on their far sides."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        processes = Processes(folder)
        stack.callback(processes.stop)
        write_certificates(folder)
        far_port = int(processes.start("far")[1])
        relays: dict[str, Peer] = {}
        for kind in kinds:
            if kind == "haproxy":
                relays[kind] = stack.enter_context(haproxy(folder, far_port))
            elif kind == "openssh":
                plain_port = int(processes.start("plain")[1])
                relays[kind] = stack.enter_context(openssh(folder, plain_port))
            else:
                process, port = processes.start(kind, far_port)
                relays[kind] = Peer(int(port), (process.pid,))
                if kind == "mux":
                    assert processes.start("tunnel", int(port))[1] == "ready"
        yield relays


def measure(rounds: int, megabytes: int, kinds: list[str]) -> list[Round]:
    count = megabytes * 1_000_000
    measured: list[Round] = []
    with relays_of(kinds) as relays:
        for number in range(rounds + 1):
            for way in ("up", "down"):
                for kind, relay in relays.items():
                    done = one_round(number, relay, kind, way, count)
                    if number:  # the first only warms up
                        measured.append(done)
    return measured


def summary(rounds: list[Round]) -> list[dict[str, Any]]:
    """One row for each relay and way."""
    base = {(r.number, r.way): r.cpu_per_gb for r in rounds if r.kind == BASE}
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        for way in ("up", "down"):
            chosen = [r for r in rounds if (r.kind, r.way) == (kind, way)]
            if not chosen:
                continue
            cpu = statistics.median(r.cpu_per_gb for r in chosen)
            share = sum(r.user_per_gb for r in chosen) / sum(r.cpu_per_gb for r in chosen)
            row: dict[str, Any] = {
                "relay": kind,
                "way": way,
                "cipher": chosen[0].cipher,
                "cpu_seconds_per_gb": round(cpu, 3),
                "user_seconds_per_gb": round(cpu * share, 3),
                "system_seconds_per_gb": round(cpu * (1 - share), 3),
                "megabytes_per_second": round(
                    statistics.median(r.megabytes_per_second for r in chosen)
                ),
            }
            if base:
                row["ratio"] = round(
                    statistics.median(r.cpu_per_gb / base[r.number, way] for r in chosen), 3
                )
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--relay", action="append", choices=list(KINDS))
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args()
    rows = summary(measure(options.rounds, options.megabytes, options.relay or list(KINDS)))
    if options.format == "json":
        print(json.dumps(rows, indent=2))
        return
    print(f"{options.rounds} rounds of {options.megabytes} MB each way, {os.cpu_count()} CPUs")
    print(
        f"{'relay':44}{'way':6}{'CPU s/GB':>9}{'user':>7}{'system':>8}{'ratio':>7}"
        f"{'MB/s':>6}  cipher"
    )
    for row in rows:
        print(
            f"{KINDS[row['relay']]:44}{row['way']:6}{row['cpu_seconds_per_gb']:9.2f}"
            f"{row['user_seconds_per_gb']:7.2f}{row['system_seconds_per_gb']:8.2f}"
            f"{row.get('ratio', ''):>7}{row['megabytes_per_second']:6}  {row['cipher']}"
        )


if __name__ == "__main__":
    main()
