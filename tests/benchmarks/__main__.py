"""All benchmarks in one run: ``python -m tests.benchmarks``, ``make bench``, ``tox -e bench``."""

from __future__ import annotations

import subprocess
import sys

_ALL = (
    "relay",
    "sessions",
    "proxycommand",
    "throughput",
    "keystrokes",
    "sshcost",
    "idle",
    "recording",
)


def main() -> int:
    """One after the other, each in a process of its own; the worst status."""
    worst = 0
    for name in sys.argv[1:] or _ALL:
        done = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False)
        worst = max(worst, done.returncode)
        print(flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
