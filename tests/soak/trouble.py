"""
What is done to a cluster at random, and for how long it is an excuse.

Each :class:`Disturbance` begins when something is broken and ends when every node is
back. Whoever fails in that time, and whatever is logged in it, has a cause.
"""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from attrs import define, field

from mezite.cli.local import LocalCluster, Program, free_port
from tests.soak.samples import Samples

NODES: Final = ("db1", "db2", "db3")
# Only this one is restarted: the others' memory is looked at.
MORTAL: Final = "db3"
BACK_SECONDS: Final = 35.0
# What follows from a disturbance may be logged a little later, or be under way.
_AFTERMATH: Final = 5.0
_POLL: Final = 0.2
SOURCE: Final = Path(__file__).parents[2]
_SURPRISES: Final = re.compile(r"Traceback|Unhandled|\"level\": \"critical\"")
# Warnings of every start, and of what a session was told to do.
_ORDINARY: Final = re.compile(
    r"not running as root|this machine's own name|was not stopped properly the last time"
)


@define(eq=False)
class Disturbance:
    """One thing that was done; moments are POSIX seconds, as in logs."""

    what: str
    begun: float
    ended: float | None = None

    def covers(self, begin: float, end: float) -> bool:
        until = float("inf") if self.ended is None else self.ended + _AFTERMATH
        return self.begun - 1 <= end and begin <= until


@define(eq=False)
class Trouble:
    """Breaks a cluster's connections and programs, and remembers when."""

    cluster: LocalCluster
    draw: random.Random
    agents: dict[str, Program] = field(init=False, factory=dict)
    hub: Program | None = field(init=False, default=None)
    past: list[Disturbance] = field(init=False, factory=list)
    late: list[str] = field(init=False, factory=list)
    # Programs that died have their samples, too.
    samples: list[Samples] = field(init=False, factory=list)
    _relay: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _port: int = field(init=False, factory=free_port)

    # The cluster.

    def start_nodes(self) -> None:
        self.start_relay()
        for node in NODES:
            self.start_agent(node)

    def start_relay(self) -> None:
        """What stands between the hub and its agents."""
        self._relay = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.faults.relay",
                f"--listen=127.0.0.1:{self._port}",
                f"--to={self.cluster.address}",
            ],
            cwd=SOURCE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._relay.stdout is not None
        self._relay.stdout.readline()

    def start_hub(self) -> None:
        self.hub = self.cluster.start_hub()
        self.samples.append(Samples("hub", self.hub.process.pid))

    def start_agent(self, node: str) -> None:
        data = self.cluster.directory / node
        joining: list[str] = []
        if not (data / "identity.json").exists():
            token = self.cluster.new_token()
            joining = [f"--token={token['token']}", f"--ca-pin={token['ca_pin']}"]
        hub = f"--hub=127.0.0.1:{self._port}"
        options = [f"--data-dir={data}", hub, *joining, f"--hostname={node}"]
        agent = self.agents[node] = self.cluster.start(node, ["twist", "mezd", *options])
        self.samples.append(Samples(node, agent.process.pid))

    def stop(self) -> None:
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()

    def _tell_relay(self, line: str) -> None:
        assert self._relay is not None
        assert self._relay.stdin is not None
        self._relay.stdin.write(line.encode() + b"\n")
        self._relay.stdin.flush()

    # What is done to it.

    def cut(self) -> None:
        """Every tunnel is reset."""
        self._tell_relay("cut")

    def deafen(self) -> None:
        """For some seconds nothing passes, and then all of it."""
        self._tell_relay("deaf")
        time.sleep(self.draw.uniform(2, 8))
        self._tell_relay("well")

    def slow(self) -> None:
        """For some seconds everything takes 200 ms each way."""
        self._tell_relay("delay 0.2")
        time.sleep(self.draw.uniform(5, 10))
        self._tell_relay("delay 0")

    def kill_agent(self) -> None:
        self.agents[MORTAL].kill()
        self.start_agent(MORTAL)

    def stop_agent(self) -> None:
        self.agents[MORTAL].stop()
        self.start_agent(MORTAL)

    def kill_hub(self) -> None:
        assert self.hub is not None
        self.hub.kill()
        self.start_hub()

    def stop_hub(self) -> None:
        assert self.hub is not None
        self.hub.stop()
        self.start_hub()

    def happen(self, *, with_hub: bool) -> Disturbance:
        """One of these at random; until every node is back."""
        ways: list[Callable[[], None]] = [
            self.cut,
            self.cut,
            self.deafen,
            self.slow,
            self.kill_agent,
            self.stop_agent,
        ]
        if with_hub:
            ways += [self.kill_hub, self.stop_hub] * 3
        way = self.draw.choice(ways)
        disturbance = Disturbance(way.__name__, time.time())
        self.past.append(disturbance)
        tunnels = self._tunnels()
        way()
        done = time.monotonic()
        while not self._are_back(way, tunnels):
            if time.monotonic() - done > BACK_SECONDS:
                self.late.append(f"not every node was back {BACK_SECONDS:g} s after {way.__name__}")
                break
            time.sleep(_POLL)
        disturbance.ended = time.time()
        return disturbance

    def _tunnels(self) -> dict[str, float]:
        """Since when each agent is connected; those that are not are missing."""
        return {node: since for node in NODES if (since := self.since(node)) is not None}

    def _are_back(self, way: Callable[[], None], before: dict[str, float]) -> bool:
        now = self._tunnels()
        if way.__name__ in ("deafen", "slow"):
            return len(now) == len(NODES)
        whose = (MORTAL,) if way.__name__.endswith("agent") else NODES
        # Connected anew, and not as before the cut was noticed.
        return len(now) == len(NODES) and all(now[n] != before.get(n) for n in whose)

    def since(self, node: str) -> float | None:
        """Since when a node's agent is connected, as it says; None if it is not."""
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(1.0)
                asking.connect(str(self.cluster.directory / node / "status.sock"))
                with asking.makefile("rb") as answer:
                    said = json.loads(answer.read())
        except (OSError, ValueError):
            return None
        return float(said["since"]) if said["state"] == "connected" else None

    # What it excuses.

    def covers(self, begin: float, end: float) -> bool:
        """Whether something was broken at some time between these."""
        return any(each.covers(begin, end) for each in self.past)

    def unexplained(self, nodes: Sequence[str] = NODES) -> list[str]:
        """Lines of the logs that nothing explains."""
        return [
            f"{name}: {line[:600]}"
            for name in ("hub", *nodes)
            for line in (self.cluster.directory / f"{name}.log").read_text().splitlines()
            if self._is_unexplained(line)
        ]

    def _is_unexplained(self, line: str) -> bool:
        if _SURPRISES.search(line):
            return True
        try:
            said = json.loads(line)
            level, message = said["level"], said["message"]
            at = datetime.fromisoformat(said["time"]).timestamp()
        except (ValueError, KeyError, TypeError):
            return False
        if level not in ("warn", "error") or _ORDINARY.search(message):
            return False
        return not self.covers(at, at)
