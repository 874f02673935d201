"""
Processes that get no more than a share of a core each: many small cores, played by a few.

How work spreads over processes cannot be seen where the load takes the cores that they
would need. Here each process is stopped whenever it has used more than its share, and goes
on when it has not, so that what bounds it is its own time, as on a machine with a core for
each. What it waits for meanwhile is milliseconds.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field

_TICK_SECONDS: Final = 0.002
# What a process that had nothing to do may use later, at once.
_SAVED_SECONDS: Final = 0.01


def used_seconds(pid: int) -> float:
    """Seconds that the process was on a core, in all of its threads."""
    return 1e-9 * sum(
        int((task / "schedstat").read_text().split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


@define(eq=False)
class _Bounded:
    pid: int
    share: float
    _allowed: float = field(init=False)
    _is_stopped: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._allowed = used_seconds(self.pid)

    def pass_by(self, seconds: float) -> None:
        """So much time has passed."""
        used = used_seconds(self.pid)
        self._allowed = min(self._allowed + seconds * self.share, used + _SAVED_SECONDS)
        self._stop(used > self._allowed)

    def release(self) -> None:
        self._stop(False)

    def _stop(self, wanted: bool) -> None:
        if wanted is not self._is_stopped:
            self._is_stopped = wanted
            os.kill(self.pid, signal.SIGSTOP if wanted else signal.SIGCONT)


@contextmanager
def shares(pids: Sequence[int], share: float) -> Iterator[None]:
    """Each of these processes has this share of a core, and no more."""
    bounded = [_Bounded(pid, share) for pid in pids]
    is_over = threading.Event()

    def bound() -> None:
        last = time.monotonic()
        while not is_over.wait(_TICK_SECONDS):
            now = time.monotonic()
            for each in bounded:
                each.pass_by(now - last)
            last = now

    bounding = threading.Thread(target=bound)
    bounding.start()
    try:
        yield
    finally:
        is_over.set()
        bounding.join()
        for each in bounded:
            each.release()
