"""
A line to the hub that a test can cut: the relay of the fault suite, on loopback.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from mezite.cli.local import free_port

_SOURCE = Path(__file__).parents[2]


@define(eq=False)
class Line:
    """What goes to ``address`` arrives at the hub, as long as the line is well."""

    address: str
    _relay: subprocess.Popen[bytes]

    def tell(self, what: str) -> None:
        """As :mod:`tests.faults.relay` understands it: ``cut``, ``deaf``, ``well``."""
        assert self._relay.stdin is not None
        self._relay.stdin.write(f"{what}\n".encode())
        self._relay.stdin.flush()


@contextmanager
def line_to(hub: str) -> Iterator[Line]:
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "tests.faults.relay", f"--listen={address}", f"--to={hub}"]
    relay = subprocess.Popen(command, cwd=_SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"ready\n"
        yield Line(address, relay)
    finally:
        relay.kill()
        relay.communicate()
