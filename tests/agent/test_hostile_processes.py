"""Tests of processes that cannot be begun, or cannot be watched."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import childprocess
from mezite.agent.childprocess import ChildProcess, Launch


class BeginningTests(SynchronousTestCase):
    def begin(self) -> ChildProcess:
        with open(os.devnull, "r+b") as null:
            number = null.fileno()
            launch = Launch("/bin/sleep", ["sleep", "60"], {}, "/")
            return ChildProcess.start(
                MemoryReactorClock(), launch, number, number, number, terminal=False
            )

    def test_unwatched(self) -> None:
        """A process whose end nobody would hear of is not left behind, nor is its zombie."""
        started: list[int] = []

        def pidfd_open(pid: int) -> int:
            started.append(pid)
            raise OSError(errno.EMFILE, "too many open files")

        self.patch(os, "pidfd_open", pidfd_open)
        self.assertRaises(OSError, self.begin)
        self.assertFalse(Path(f"/proc/{started[0]}").exists())

    def test_unprepared(self) -> None:
        """What fails in the child before its program is the OSError that callers await."""

        class Unprepared:
            def __init__(self, *rest: object) -> None:
                pass

            def __call__(self) -> None:
                raise RuntimeError

        self.patch(childprocess, "_Preparation", Unprepared)
        self.assertRaises(OSError, self.begin)
        self.assertFalse(issubclass(subprocess.SubprocessError, OSError))
