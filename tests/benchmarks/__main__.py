"""
All benchmarks in one run: ``python -m tests.benchmarks``, ``make bench``, ``tox -e bench``.

Names choose some of them; options, such as ``--format=json``, are given to each.
"""

from __future__ import annotations

import subprocess
import sys

_ALL = (
    "relay",
    "sessions",
    "proxycommand",
    "throughput",
    "keystrokes",
    "floods",
    "sshcost",
    "idle",
    "recording",
    "workers",
)


def main() -> int:
    """One after the other, each in a process of its own; the worst status."""
    worst = 0
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    for name in names or _ALL:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{name}", *options], check=False
        )
        worst = max(worst, done.returncode)
        print(flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
