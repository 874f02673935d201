"""
The process of :mod:`tests.benchmarks.agents`, as a benchmark sees it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mezite.cli.local import LocalCluster


class Fleet:
    """So many agents; ``said`` is what they said last."""

    def __init__(self, cluster: LocalCluster, number: int) -> None:
        token = cluster.new_token(f"--uses={number}")
        place = cluster.directory / "fleet"
        place.mkdir()
        self.number = number
        self.said: dict[str, Any] = {"joined": 0, "up": 0, "dialed": 0, "warnings": {}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.agents", cluster.address,
             token["token"], token["ca_pin"], str(number), str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)

    def tell(self, word: str) -> None:
        """``join``, ``dial`` or ``cut``."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def wait(
        self,
        what: str,
        seconds: float,
        *,
        number: int | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> bool:
        """Until so many (all) are ``joined`` or ``up``; whether they came to be in time."""
        wanted = self.number if number is None else number
        begun = told = time.monotonic()
        while self.said[what] < wanted:
            if self.process.poll() is not None:
                raise RuntimeError("the process of the agents has ended")
            now = time.monotonic()
            if now - begun > seconds:
                return False
            if now - told >= 5:
                told = now
                tell(f"{self.said[what]} of {wanted} {what} after {now - begun:.0f} s")
            time.sleep(0.05)
        return True

    def stop(self) -> None:
        """End the process, and every tunnel with it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def fleet(cluster: LocalCluster, number: int) -> Iterator[Fleet]:
    """So many agents of this cluster's hub, ended on every way out."""
    agents = Fleet(cluster, number)
    try:
        yield agents
    finally:
        agents.stop()
