"""
Ten thousand tunnels on one hub: what they cost while they are idle, how soon they are all
back after the hub was killed, and how long people wait for a session meanwhile.

``python -m tests.benchmarks tunnels --number=10000 [--rounds=20] [--format=json]``

With ``--rounds`` all agents are cut off so many times more, and what the hub's process
takes is shown while they are away, and when they are back.
"""

from __future__ import annotations

import argparse
import getpass
import json
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, field

from mezite.cli.local import LocalCluster, local_cluster
from tests.benchmarks.fleet import Fleet, fleet
from tests.benchmarks.idle import cpu_seconds, proportional_bytes

_USER: Final = "ada"
_PASSWORD: Final = "only for this run"
_NODE: Final = "db1"
# What the hub and the agents open beside their tunnels.
_OTHER_DESCRIPTORS: Final = 200
# Between the last tunnel and the look at memory and CPU; then so long a look: two pings of each.
_SETTLE_SECONDS: Final = 12.0
_IDLE_SECONDS: Final = 36.0
_SESSIONS: Final = 20
# Sessions begin this far apart while agents come back.
_APART_SECONDS: Final = 0.75
_BACK_SECONDS: Final = 180.0


def say(text: str) -> None:
    """To whoever waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def possible(wanted: int) -> tuple[int, str]:
    """How many tunnels this machine lets one process hold, and what forbids more."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    number = hard - _OTHER_DESCRIPTORS
    return (wanted, "") if wanted <= number else (number, f"descriptors (ulimit -Hn {hard})")


@define
class Session:
    """One ``true`` by stock ssh."""

    began: float
    seconds: float
    succeeded: bool
    said: str = ""


@define
class Results:
    """What was seen; bytes, seconds and parts of a core."""

    tunnels: int
    limited_by: str
    join_seconds: float = 0.0
    dial_seconds: float = 0.0
    bytes_per_tunnel: float = 0.0
    hub_bytes: float = 0.0
    idle_cpu: float = 0.0
    ssh_before: float = 0.0
    ssh_idle: float = 0.0
    all_back: float | None = None
    most_back: dict[str, float] = field(factory=dict)
    hub_cpu_of_storm: float = 0.0
    agents_cpu_of_storm: float = 0.0
    sessions: list[Session] = field(factory=list)
    bytes_after: float = 0.0
    rounds: list[tuple[float, float]] = field(factory=list)
    warnings: dict[str, int] = field(factory=dict)


class Person:
    """Somebody with stock ssh and a node of a real agent."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.login = getpass.getuser()
        cluster.add_user(_USER, _PASSWORD, f"--logins={self.login}")
        cluster.log_in(_USER, _PASSWORD)
        cluster.start_agent(_NODE)
        cluster.wait_online(_NODE)
        self.config = cluster.directory / "ssh_config"
        self.config.write_bytes(cluster.succeed("msh", "config"))

    def session(self, began: float = 0.0) -> Session:
        """Run ``true`` on the node."""
        begun = time.perf_counter()
        done = subprocess.run(
            ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", f"{self.login}@{_NODE}", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
        taken = time.perf_counter() - begun
        return Session(began, taken, done.returncode == 0, done.stderr.strip()[-200:])

    def usual(self, times: int = 5) -> float:
        """The median of some sessions in a row."""
        taken = [self.session() for _ in range(times)]
        return statistics.median(one.seconds for one in taken)


def measure(results: Results, rounds: int) -> None:
    """Join, dial, look, kill, look again."""
    number = results.tunnels
    with tempfile.TemporaryDirectory() as place, local_cluster(Path(place)) as cluster:
        hub = cluster.start_hub()
        person = Person(cluster)
        results.ssh_before = person.usual()
        with fleet(cluster, number) as agents:
            begun = time.monotonic()
            agents.tell("join")
            _demand(agents.wait("joined", 3600, tell=say), "not all agents joined")
            results.join_seconds = time.monotonic() - begun
            # Joining has made the process grow by what joining needs; tunnels come on top.
            time.sleep(2)
            before = proportional_bytes(hub.process.pid)
            begun = time.monotonic()
            agents.tell("dial")
            _demand(agents.wait("up", 600, tell=say), "not all agents came up")
            results.dial_seconds = time.monotonic() - begun
            say(f"{number} tunnels are up; now they are idle")
            time.sleep(_SETTLE_SECONDS)
            results.hub_bytes = proportional_bytes(hub.process.pid)
            results.bytes_per_tunnel = (results.hub_bytes - before) / number
            cpu = cpu_seconds(hub.process.pid)
            time.sleep(_IDLE_SECONDS)
            results.idle_cpu = (cpu_seconds(hub.process.pid) - cpu) / _IDLE_SECONDS
            results.ssh_idle = person.usual()
            _kill_and_wait(cluster, agents, person, results)
            for _ in range(rounds):
                results.rounds.append(_cut(cluster, agents))
            results.warnings = dict(agents.said["warnings"])


def _demand(truth: bool, otherwise: str) -> None:
    if not truth:
        raise SystemExit(f"tunnels: {otherwise}")


def _kill_and_wait(cluster: LocalCluster, agents: Fleet, person: Person, results: Results) -> None:
    """The hub dies and is started again; agents come back, and people are in a hurry."""
    (hub,) = [program for program in cluster.programs if program.name == "hub"]
    hub.kill()
    _demand(_until(lambda: agents.said["up"] == 0, 30), "agents did not notice")
    begun = time.monotonic()
    agents_cpu = cpu_seconds(agents.process.pid)
    hub = cluster.start_hub()
    opened = time.monotonic()
    say(f"the hub was killed, and its port is open again after {opened - begun:.1f} s")
    over = threading.Event()
    people = threading.Thread(
        target=_people, args=(person, results.sessions, begun, over), daemon=True
    )
    people.start()
    for part in (0.5, 0.9, 0.99):
        if agents.wait("up", _BACK_SECONDS, number=int(agents.number * part), tell=say):
            results.most_back[f"{part:.0%}"] = time.monotonic() - begun
    if agents.wait("up", _BACK_SECONDS, tell=say):
        results.all_back = time.monotonic() - begun
    results.hub_cpu_of_storm = cpu_seconds(hub.process.pid)
    results.agents_cpu_of_storm = cpu_seconds(agents.process.pid) - agents_cpu
    say(f"all back after {results.all_back} s")
    over.set()
    people.join()
    time.sleep(_SETTLE_SECONDS)
    results.bytes_after = proportional_bytes(hub.process.pid)


def _people(person: Person, sessions: list[Session], begun: float, over: threading.Event) -> None:
    """Begin one session after the other, each without waiting for the one before."""
    # Their node has to come back, too; this is not what they are asked about.
    while not person.session().succeeded and not over.is_set():
        time.sleep(0.2)
    under_way: list[threading.Thread] = []
    for _ in range(_SESSIONS):
        at = time.monotonic() - begun

        def one(at: float = at) -> None:
            sessions.append(person.session(at))

        under_way.append(threading.Thread(target=one, daemon=True))
        under_way[-1].start()
        time.sleep(_APART_SECONDS)
    for each in under_way:
        each.join()


def _cut(cluster: LocalCluster, agents: Fleet) -> tuple[float, float]:
    """All connections go at once; the hub's bytes without them, and when all are back."""
    (hub,) = [program for program in cluster.programs if program.name == "hub"]
    agents.tell("cut")
    _demand(_until(lambda: agents.said["dialed"] == 0, 30), "agents were not cut off")
    time.sleep(5)
    without = float(proportional_bytes(hub.process.pid))
    agents.tell("dial")
    _demand(agents.wait("up", _BACK_SECONDS), "not all agents came back")
    time.sleep(8)
    taken = float(proportional_bytes(hub.process.pid))
    say(f"cut off: the hub takes {without / 1e6:.1f} MB; all back: {taken / 1e6:.1f} MB")
    return without, taken


def _until(is_so: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def report(results: Results) -> str:
    """The results as a table."""
    lines = [
        f"{results.tunnels} tunnels on one hub"
        + (f", no more because of {results.limited_by}" if results.limited_by else ""),
        f"joined in                   {results.join_seconds:8.1f} s",
        f"dialed in                   {results.dial_seconds:8.1f} s",
        f"idle tunnel                 {results.bytes_per_tunnel / 1000:8.1f} KB at the hub",
        f"all of them, idle           {100 * results.idle_cpu:8.1f} % of a core",
        f"hub with them               {results.hub_bytes / 1e6:8.1f} MB",
        f"ssh NODE true, no tunnels   {results.ssh_before:8.2f} s",
        f"ssh NODE true, idle tunnels {results.ssh_idle:8.2f} s",
    ]
    lines += [
        f"{part:4} back after kill -9     {taken:8.1f} s"
        for part, taken in results.most_back.items()
    ]
    back = "not all came back" if results.all_back is None else f"{results.all_back:8.1f} s"
    lines.append(f"all back after kill -9      {back}")
    lines.append(f"hub's CPU until then        {results.hub_cpu_of_storm:8.1f} s")
    lines.append(f"CPU of the process of agents{results.agents_cpu_of_storm:8.1f} s")
    taken = [session.seconds for session in results.sessions if session.succeeded]
    if taken:
        lines.append(
            f"sessions meanwhile          {len(taken)} of {len(results.sessions)},"
            f" median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s"
        )
    lines.append(f"hub when all were back      {results.bytes_after / 1e6:8.1f} MB")
    if results.rounds:
        sizes = ", ".join(f"{one / 1e6:.1f} {other / 1e6:.1f}" for one, other in results.rounds)
        lines.append(f"cut off and back, MB        {sizes}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args(arguments)
    number, why = possible(given.number)
    if why:
        say(f"{given.number} tunnels are not possible here, {number} are: {why}")
    results = Results(number, why)
    status = 0
    # Also where a shell started it in the background, or a service manager ends it.
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_of_signal, signal.default_int_handler)
    try:
        measure(results, given.rounds)
    except KeyboardInterrupt:
        # All that ran has been ended on the way here.
        say("tunnels: given up; this is what was seen until then")
        status = 1
    print(json.dumps(asdict(results)) if given.format == "json" else report(results))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
