"""
What an idle tunnel costs the hub: the growth of its memory with real tunnels,
beside what one ``ssh -R`` costs a bastion's sshd.

``python -m tests.benchmarks.idle [--tunnels 2000] [--format json]``
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

from mezite.cli.local import free_port, local_cluster
from tests.benchmarks.bastion import bastion
from tests.benchmarks.fleet import fleet

# A sshd per tunnel is far heavier; thirty show what one costs.
_PEER_TUNNELS = 30
_IDLE_SECONDS = 12.0


def proportional_bytes(*pids: int) -> int:
    """The memory of these processes, what they share divided among those who share it."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1])
    return total


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / 100.0


def children(pid: int) -> list[int]:
    """All processes below this one."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [int(word) for word in listed] + [
        below for word in listed for below in children(int(word))
    ]


def measure(tunnels: int) -> dict[str, float]:
    """Bytes per tunnel at the hub and at the bastion, and the hub's idle CPU."""
    with tempfile.TemporaryDirectory() as place, local_cluster(Path(place)) as cluster:
        hub = cluster.start_hub().process.pid
        with fleet(cluster, tunnels) as agents:
            agents.tell("join")
            assert agents.wait("joined", 600.0)
            # Joining has made the process grow by what joining needs; tunnels come on top.
            before = proportional_bytes(hub)
            agents.tell("dial")
            assert agents.wait("up", 300.0)
            time.sleep(_IDLE_SECONDS)
            after = proportional_bytes(hub)
            began = cpu_seconds(hub)
            time.sleep(_IDLE_SECONDS)
            busy = (cpu_seconds(hub) - began) / _IDLE_SECONDS
            (status,) = cluster.admin("status")
            assert status["tunnels"] == tunnels, status
    with tempfile.TemporaryDirectory() as place, bastion(Path(place)) as peer:
        daemon = peer.running[1].pid
        peer_before = proportional_bytes(daemon, *children(daemon))
        for _ in range(_PEER_TUNNELS):
            peer.open_tunnel(free_port())
        time.sleep(5)
        peer_after = proportional_bytes(daemon, *children(daemon))
    return {
        "tunnels": tunnels,
        "hub_bytes_per_tunnel": (after - before) / tunnels,
        "hub_idle_cpu": busy,
        "bastion_bytes_per_tunnel": (peer_after - peer_before) / _PEER_TUNNELS,
    }


def report(results: dict[str, float]) -> str:
    """The results as a table."""
    return (
        f"idle tunnels: {results['tunnels']:.0f} on one hub\n"
        f"hub              {results['hub_bytes_per_tunnel'] / 1000:8.1f} KB a tunnel,"
        f" {100 * results['hub_idle_cpu']:.1f} % of a core\n"
        f"OpenSSH bastion  {results['bastion_bytes_per_tunnel'] / 1000:8.1f} KB a tunnel"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tunnels", type=int, default=2000)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    results = measure(given.tunnels)
    print(json.dumps(results) if given.format == "json" else report(results))


if __name__ == "__main__":
    main()
