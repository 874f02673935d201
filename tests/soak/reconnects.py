"""
``python -m tests.soak.reconnects``: one agent reconnects a thousand times.

Its tunnel is reset as soon as it is up, with a session in every hundredth. Prints what
agent and hub hold before and after, and ends with status 1 if one of them kept a
descriptor or a thread, or grew by more than 5 %.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from mezite.cli.local import LocalCluster, Program
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.soak.samples import Sample
from tests.soak.trouble import SOURCE, Trouble

NODE: Final = "db1"
# What is imported, cached or grown by the first ones.
_WARMING: Final = 150
_SESSION_EVERY: Final = 100
_LOOK_EVERY: Final = 250
_SECONDS: Final = 60.0
_GROWTH: Final = 1.05
# What a look itself opens, and the pool of the database.
_SPARE: Final = 2


class ImpatientCluster(LocalCluster):
    """Its agents do not wait."""

    def start(self, name: str, command: list[str]) -> Program:  # type: ignore[override]
        if command[:2] != ["twist", "mezd"]:
            return super().start(name, command)
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.impatientagent", *command[2:]],
                cwd=SOURCE,
                env=dict(self.variables()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name, process, log)
        self._running.append(program)
        return program


def reconnect(cluster: LocalCluster, trouble: Trouble, times: int) -> None:
    """Cut the tunnel so many times, each as soon as the hub knows the node again."""
    for number in range(times):
        before = trouble.since(NODE)
        trouble.cut()
        deadline = time.monotonic() + _SECONDS
        while (now := trouble.since(NODE)) is None or now == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the agent is not back after {number} reconnects")
            time.sleep(0.01)
        if number % _SESSION_EVERY == 0:
            cluster.succeed("msh", "ssh", f"{LOGIN}@{NODE}", "true")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.reconnects", description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    options = parser.parse_args()
    complaints = []
    with tempfile.TemporaryDirectory(prefix="mezite-reconnects-") as directory:
        cluster = ImpatientCluster(Path(directory))
        trouble = Trouble(cluster, random.Random(0))
        try:
            trouble.start_hub()
            cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
            cluster.log_in(USER, PASSWORD)
            trouble.start_relay()
            trouble.start_agent(NODE)
            cluster.wait_online(NODE)
            reconnect(cluster, trouble, _WARMING)
            time.sleep(2)
            before = [Sample.of(each.pid) for each in trouble.samples]
            begun = time.monotonic()
            for done in range(0, options.times, _LOOK_EVERY):
                reconnect(cluster, trouble, min(_LOOK_EVERY, options.times - done))
                seen = "; ".join(f"{s.name} {Sample.of(s.pid)}" for s in trouble.samples)
                print(f"{min(done + _LOOK_EVERY, options.times):6} {seen}", flush=True)
            took = time.monotonic() - begun
            time.sleep(2)
            print(f"{options.times} reconnects in {took:.0f} s")
            for samples, first in zip(trouble.samples, before, strict=True):
                last = Sample.of(samples.pid)
                growth = 100 * (last.memory / first.memory - 1)
                print(f"{samples.name:4} before {first}; after {last}: memory {growth:+.1f} %")
                if (
                    last.memory > _GROWTH * first.memory
                    or last.descriptors > first.descriptors + _SPARE
                    or last.threads > first.threads + _SPARE
                ):
                    complaints.append(f"{samples.name} kept something")
            complaints += [line for line in trouble.unexplained([NODE]) if "Traceback" in line]
        finally:
            trouble.stop()
            cluster.stop()
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
