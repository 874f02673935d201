"""
The end of a network: removes its namespaces once whoever made them has gone.

Started with the prefix of their names and the end of a pipe as standard input;
the pipe's end is theirs. It kills what runs in the namespaces and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time

from tests.faults.namespaces import NAMED, NamespaceTrouble, names_of, run


def sweep(prefix: str) -> None:
    """Kill what runs in the namespaces with this prefix, and remove them."""
    for namespace in names_of(prefix):
        for number in run("ip", "netns", "pids", namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
        with contextlib.suppress(NamespaceTrouble):
            run("ip", "netns", "del", namespace)
    for directory in NAMED.glob(f"{prefix}-*"):
        shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        # Somebody else's may be in it.
        NAMED.rmdir()


def main(prefix: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(prefix)
    # Between its making and its name in the list there is a moment.
    time.sleep(0.1)
    sweep(prefix)


if __name__ == "__main__":
    main(sys.argv[1])
