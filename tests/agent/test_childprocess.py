"""Tests of a child's beginning and its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import childprocess
from mezite.agent.childprocess import (
    BEGIN_SECONDS,
    HANG_UP_SECONDS,
    ChildProcess,
    Ended,
    Launch,
)


class ThreadedReactor(MemoryReactorClock):
    """Keeps what threads want called until the test calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.has_called = Event()

    def callFromThread(self, function: Callable[..., None], *arguments: Any) -> None:
        self.called.append((function, arguments))
        self.has_called.set()

    def run_called(self) -> None:
        assert self.has_called.wait(10)
        self.has_called.clear()
        called, self.called = self.called, []
        for function, arguments in called:
            function(*arguments)


def shell(script: str) -> Launch:
    return Launch("/bin/sh", ["sh", "-c", script], {}, "/")


def descriptors() -> list[int]:
    return [os.open(os.devnull, os.O_RDWR) for _ in range(3)]


class BeginningTests(SynchronousTestCase):
    """Processes that begin in a thread."""

    def setUp(self) -> None:
        self.reactor = ThreadedReactor()

    def end(self, child: ChildProcess) -> Ended:
        ended: list[Ended] = []
        child.when_ended(ended.append)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        child.doRead()
        return ended[0]

    def test_begun(self) -> None:
        """A process that begins is given to who waits, and its descriptors are closed."""
        given = descriptors()
        beginning = ChildProcess.begin(self.reactor, shell("exit 7"), given, terminal=False)
        self.assertNoResult(beginning)
        self.reactor.run_called()
        self.assertEqual(self.end(self.successResultOf(beginning)), Ended(7))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cannot_begin(self) -> None:
        """A program that is not there is an OSError."""
        nothing = Launch("/no/such/shell", ["sh"], {}, "/")
        beginning = ChildProcess.begin(self.reactor, nothing, descriptors(), terminal=False)
        self.reactor.run_called()
        self.failureResultOf(beginning, OSError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_home_hangs(self) -> None:
        """Nobody waits for ever for a directory; what begins after all is ended."""
        hang = Event()
        spawned = childprocess._spawned
        made: list[subprocess.Popen[bytes]] = []

        def hung(*arguments: Any) -> subprocess.Popen[bytes]:
            assert hang.wait(10)
            made.append(spawned(*arguments))
            return made[-1]

        self.patch(childprocess, "_spawned", hung)
        beginning = ChildProcess.begin(
            self.reactor, shell("sleep 60"), descriptors(), terminal=False
        )
        self.reactor.advance(BEGIN_SECONDS)
        self.failureResultOf(beginning, OSError)
        hang.set()
        self.reactor.run_called()
        [child] = made
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        for reader in self.reactor.getReaders():
            reader.doRead()  # type: ignore[attr-defined]
        self.assertEqual(child.returncode, 0)

    def test_too_many(self) -> None:
        """So many may hang at once, and no more."""
        self.patch(childprocess, "_beginnings", childprocess.BoundedSemaphore(1))
        childprocess._beginnings.acquire()
        with self.assertRaises(OSError):
            ChildProcess.begin(self.reactor, shell("true"), descriptors(), terminal=False)


class HangUpTests(SynchronousTestCase):
    """Processes whose client has gone."""

    def begun(self, script: str) -> ChildProcess:
        """A shell that has come as far as to say so."""
        read_end, write_end = os.pipe()
        with open(os.devnull, "r+b") as null:
            child = ChildProcess.start(
                self.reactor, shell(script), null.fileno(), write_end, null.fileno(), terminal=False
            )
        os.close(write_end)
        os.read(read_end, 1)
        os.close(read_end)
        child.when_ended(self.ended.append)
        self.addCleanup(self.kill, child)
        return child

    def kill(self, child: ChildProcess) -> None:
        child.signal_group(signal.SIGKILL)
        if not self.ended:
            self.reap(child)

    def reap(self, child: ChildProcess) -> None:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        child.doRead()

    def setUp(self) -> None:
        self.reactor = ThreadedReactor()
        self.ended: list[Ended] = []

    def test_heard(self) -> None:
        """A process ends by SIGHUP, also one that was stopped."""
        child = self.begun("echo; kill -STOP $$; sleep 60")
        child.hang_up()
        self.reap(child)
        self.assertEqual(self.ended, [Ended(0, signal.SIGHUP)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_not_obeyed(self) -> None:
        """One that hears it and goes on is killed after a while, and not twice."""
        child = self.begun("trap : HUP; echo; while :; do sleep 0.05; done")
        child.hang_up()
        child.hang_up()
        self.reactor.advance(HANG_UP_SECONDS)
        self.reap(child)
        self.assertEqual(self.ended, [Ended(0, signal.SIGKILL)])

    def test_ignored(self) -> None:
        """One that was told to outlive it does."""
        child = self.begun("trap '' HUP; echo; exec sleep 60")
        child.hang_up()
        self.reactor.advance(HANG_UP_SECONDS)
        child.doRead()
        self.assertEqual(self.ended, [])
