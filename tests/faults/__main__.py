"""
``python -m tests.faults``: every fault once, then rounds at random.

Prints a line for each, and ends with status 1 if a node was late, a log had no
sentence or one too many, or a session did not do what it is for.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.faults import namespaces
from tests.faults.cluster import has_clocks, spread_cluster
from tests.faults.faults import FAULTS, SHORT, Fault
from tests.faults.rounds import Rounds


def _chosen(only: list[str], rounds: int, draw: random.Random, *, at_random: bool) -> list[Fault]:
    faults = [f for f in FAULTS if not only or any(part in f.name for part in only)]
    pool = [f for f in faults if f in SHORT]
    if not has_clocks():
        print("libfaketime is not installed (apt install faketime): no clock is set")
        faults = [f for f in faults if not f.sets_clocks]
        pool = [f for f in pool if not f.sets_clocks]
    return ([] if at_random else faults) + [draw.choice(pool) for _ in range(rounds) if pool]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="at random, afterwards")
    parser.add_argument("--seed", type=int, default=None, help="of the rounds [drawn]")
    parser.add_argument("--only", action="append", default=[], help="faults named like this")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs and data there")
    parser.add_argument("--at-random", action="store_true", help="the rounds alone")
    options = parser.parse_args()
    if why := namespaces.why_not():
        print(why)
        return 2
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    faults = _chosen(options.only, options.rounds, random.Random(seed), at_random=options.at_random)
    with ExitStack() as stack:
        directory = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mezite-faults-"))
        )
        directory.mkdir(parents=True, exist_ok=True)
        cluster = stack.enter_context(spread_cluster(directory, with_clocks=has_clocks()))
        rounds = Rounds(cluster)
        try:
            for fault in faults:
                rounds.play(fault)
        finally:
            rounds.end()
    print(f"{rounds.failed} of {len(faults)} went wrong, seed {seed}")
    return 1 if rounds.failed else 0


def _end(*_: object) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    # As Ctrl-C does, through every way out.
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
