"""
``python -m tests.soak``: a working cluster that is disturbed at random.

Prints what each process holds, and ends with status 1 if memory grew by more than
5 % since the fifth minute, a descriptor or thread was left behind, a node was late, or
something failed or was logged without a cause.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from mezite.cli.local import local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.soak.samples import WINDOW, Sample, Samples
from tests.soak.trouble import NODES, Trouble
from tests.soak.work import Work

# Where memory is looked at first: by then everything has been done once.
SETTLED: Final = 300.0
# The hub is killed and restarted before this, and not after: its memory is looked at.
_HUB_SECONDS: Final = 180.0
_INTERVAL: Final = 10.0
_GROWTH: Final = 1.05
# After the last session, for what goes a little later.
_QUIET: Final = 30.0
# Those of a pool that has grown, and connections kept for a while.
_SPARE_DESCRIPTORS: Final = 6
_SPARE_THREADS: Final = 8


def run(seconds: float, trouble: Trouble, work: Work) -> float:
    """Work and disturb for so long; when it began."""
    begun = time.monotonic()
    next_trouble, next_sample = begun + 15, begun
    work.begin()
    while (now := time.monotonic()) < begun + seconds:
        if now >= next_sample:
            for samples in trouble.samples:
                samples.take()
            next_sample = now + _INTERVAL
        if now >= next_trouble and now < begun + seconds - WINDOW:
            done = trouble.happen(with_hub=now - begun < _HUB_SECONDS)
            took = (done.ended or 0) - done.begun
            print(f"{now - begun:6.0f} s  {done.what}: all back after {took:.1f} s", flush=True)
            next_trouble = time.monotonic() + trouble.draw.uniform(10, 30)
        time.sleep(0.5)
    for samples in trouble.samples:
        samples.take()
    return begun


def grown(samples: Samples, settled: float, end: float) -> list[str]:
    """Print how a process's memory went, and complain if it grew."""
    first, last = samples.around(settled), samples.around(end)
    if first is None or last is None:
        return []
    ratio = last.memory / first.memory
    print(f"{samples.name:5} then {first}; at the end {last}: memory {100 * (ratio - 1):+.1f} %")
    return [f"{samples.name} grew by {100 * (ratio - 1):.1f} %"] if ratio > _GROWTH else []


def left_behind(name: str, before: Sample, after: Sample) -> list[str]:
    """Complain of what a process has kept now that nobody uses it."""
    print(f"{name:5} idle before {before}; idle after {after}")
    complaints = []
    if after.descriptors > before.descriptors + _SPARE_DESCRIPTORS:
        complaints.append(f"{name} kept {after.descriptors - before.descriptors} descriptors")
    if after.threads > before.threads + _SPARE_THREADS:
        complaints.append(f"{name} kept {after.threads - before.threads} threads")
    return complaints


def soak(directory: Path, minutes: float, seed: int) -> list[str]:
    """What was wrong, in sentences."""
    with local_cluster(directory) as cluster:
        trouble = Trouble(cluster, random.Random(seed))
        work = Work(cluster, trouble, seed)
        try:
            trouble.start_hub()
            cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
            cluster.log_in(USER, PASSWORD)
            trouble.start_nodes()
            cluster.wait_online(*NODES)
            idle = {each.pid: Sample.of(each.pid) for each in trouble.samples}
            begun = run(minutes * 60, trouble, work)
            end = time.monotonic()
            work.stop()
            time.sleep(_QUIET)
            complaints = [*work.errors, *trouble.late, *trouble.unexplained()]
            settled = begun + min(SETTLED, (end - begun) / 2)
            print(f"then is {settled - begun:.0f} s, the end {end - begun:.0f} s")
            for samples in trouble.samples:
                complaints += grown(samples, settled, end - WINDOW / 2)
                if samples.pid in idle and Path(f"/proc/{samples.pid}").exists():
                    after = Sample.of(samples.pid)
                    complaints += left_behind(samples.name, idle[samples.pid], after)
        finally:
            trouble.stop()
    print(f"done {dict(work.done)}, cut off {dict(work.excused)}")
    print(f"{len(trouble.past)} disturbances, seed {seed}")
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="[drawn]")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mezite-soak-") as directory:
        complaints = soak(Path(directory), options.minutes, seed)
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    return 1 if complaints else 0


def _end(*_: object) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
