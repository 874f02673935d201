"""
What a process holds: memory, descriptors and threads, looked at from time to time.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

# Around a moment, since one sample may fall into a copy.
WINDOW: Final = 60.0


@frozen
class Sample:
    """One look; ``memory`` is the resident set in KiB, ``at`` of the monotonic clock."""

    at: float
    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Sample:
        """
        What this process holds now.

        :raises OSError: it has gone.
        """
        place = Path("/proc") / str(pid)
        fields = dict(
            line.split(":", 1)
            for line in (place / "status").read_text().splitlines()
            if ":" in line
        )
        descriptors = len(os.listdir(place / "fd"))
        memory = int(fields["VmRSS"].split()[0])
        return cls(time.monotonic(), memory, descriptors, int(fields["Threads"]))

    def __str__(self) -> str:
        return (
            f"{self.memory / 1024:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads"
        )


@define(eq=False)
class Samples:
    """One process over time."""

    name: str
    pid: int
    taken: list[Sample] = field(factory=list)

    def take(self) -> None:
        """Look once more; a process that has gone has no more samples."""
        try:
            self.taken.append(Sample.of(self.pid))
        except (OSError, KeyError):
            pass

    def around(self, moment: float) -> Sample | None:
        """The medians of a minute around then."""
        near = [each for each in self.taken if abs(each.at - moment) <= WINDOW / 2]
        if not near:
            return None
        return Sample(
            moment,
            int(statistics.median(each.memory for each in near)),
            int(statistics.median(each.descriptors for each in near)),
            int(statistics.median(each.threads for each in near)),
        )
