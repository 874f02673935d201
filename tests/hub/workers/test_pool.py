"""Tests of the processes of workers, which are played: how they are begun, watched and ended."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.workers import pool, process
from mezite.hub.workers.control import WorkerLink
from mezite.hub.workers.limits import LINK_LIMITS
from mezite.hub.workers.pool import FIRST_PAUSE, LONGEST_PAUSE, STABLE_SECONDS, WorkerPool
from mezite.mux.frames import Role
from mezite.mux.keepalive import SILENCE
from mezite.mux.protocol import MuxProtocol
from mezite.names import HostPort
from tests.doubles.processreactor import PlayedChild, ProcessReactor

PLACE = HostPort("127.0.0.1", 3080)
# A worker that hangs is found after this long, and killed 3 s later, within the ticks of a test.
HANG_SECONDS = SILENCE + 3.0 + 2.0


@define(eq=False)
class PlayedWorkers:
    """Stands for :class:`~mezite.hub.workers.control.Workers`: links, and nothing behind them."""

    clock: ProcessReactor
    count: int = 2
    is_listening: bool = True
    links: dict[int, Any] = field(init=False, factory=dict)

    def link(self, number: int, pid: int | None = None) -> Any:
        link = self.links[number] = PlayedLink(self.clock, number, pid)
        return link

    def stop_listening(self) -> None:
        self.is_listening = False


class PlayedLink:
    """Stands for :class:`WorkerLink`, with a mux of its own."""

    def __init__(self, clock: ProcessReactor, number: int, pid: int | None) -> None:
        self.number = number
        self.pid = pid
        self.held = 3
        self.on_down: Any = None
        self.mux = MuxProtocol(
            role=Role.SERVER,
            clock=clock,
            accept=lambda stream: stream.abortConnection(),
            limits=LINK_LIMITS,
            on_down=lambda _: self.on_down(),
        )


class PoolTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        self.workers = PlayedWorkers(self.reactor)
        # Nobody listens on it: it is a socket that is there.
        self.port, self.other = socket.socketpair()
        self.addCleanup(self.other.close)
        self.patch(pool, "listening_socket", lambda place: self.port)
        self.lines: list[Any] = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)
        workers: Any = self.workers
        self.pool = WorkerPool(workers, self.reactor, "info")
        self.pool.start(PLACE)

    def stop(self) -> Deferred[None]:
        """Stop the pool, with processes that end when they are asked to."""
        for child in self.running:
            self.answer(child)
        stopping = Deferred.fromCoroutine(self.pool.stop())
        self.tick(1.0)
        for child in self.running:
            child.end()
        self.tick(1.0)
        return stopping

    @property
    def children(self) -> list[PlayedChild]:
        return self.reactor.children

    @property
    def running(self) -> list[PlayedChild]:
        return [child for child in self.children if not child.is_over]

    def said(self) -> list[str]:
        """The log."""
        return [formatEvent(event) for event in self.lines]

    def tick(self, seconds: float) -> None:
        """Let time pass, in small steps."""
        for _ in range(round(seconds * 2)):
            self.reactor.advance(0.5)
            self.reactor.serve()

    def answer(self, child: PlayedChild) -> None:
        """Let the worker in this process speak with control, until the process ends."""
        mux = MuxProtocol(
            role=Role.CLIENT,
            clock=self.reactor,
            accept=lambda stream: stream.abortConnection(),
            limits=LINK_LIMITS,
        )
        if process.LINK in child.fds:
            pool.speak(self.reactor, child.fds.pop(process.LINK), mux)


class LivePoolTestCase(PoolTestCase):
    """A pool that is stopped behind each test."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.stop)


class BeginningTests(LivePoolTestCase):
    """What a worker is begun with."""

    def test_descriptors(self) -> None:
        """It has what it is given, and nothing of the hub's settings."""
        self.assertEqual(len(self.children), 2)
        for number, child in enumerate(self.children, 1):
            self.assertEqual(child.arguments[1:], ["-P", "-m", "mezite.hub.workers",
                                                   str(number), "2", "info"])  # fmt: skip
            self.assertEqual(
                set(child.fds), {process.LINK, process.PORT, process.DOORWAY, process.BOARD}
            )
            self.assertFalse([name for name in child.environment if name.startswith("MEZITE_")])

    def test_neighbours(self) -> None:
        """Each pair of workers has a socket between them, a new one with who is begun again."""
        first, second = self.children
        self.assertEqual([self.neighbour_of(first), self.neighbour_of(second)], [2, 1])
        second.end()
        self.tick(1.0)
        third = self.children[-1]
        self.assertEqual([self.neighbour_of(first), self.neighbour_of(third)], [2, 1])

    def neighbour_of(self, child: PlayedChild) -> int:
        """The number that came with the next socket at this process's doorway."""
        with socket.socket(fileno=os.dup(child.fds[process.DOORWAY])) as doorway:
            doorway.setblocking(False)
            data, fds, _, _ = socket.recv_fds(doorway, process.NEIGHBOUR.size, 1)
        (fd,) = fds
        os.close(fd)
        (number,) = process.NEIGHBOUR.unpack(data)
        return int(number)

    def test_no_descriptors(self) -> None:
        """A worker that cannot be begun is tried again, and says why."""
        self.children[1].end()
        self.reactor.refuses = OSError(24, "Too many open files")
        before = len(os.listdir("/proc/self/fd"))
        self.tick(1.0)
        self.assertIn(
            "worker 2 cannot begin: Too many open files; it is tried again in 10 s", self.said()
        )
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(len(self.children), 2)
        self.tick(LONGEST_PAUSE)
        self.assertEqual(len(self.children), 3)


class EndTests(LivePoolTestCase):
    """Workers that end by themselves."""

    def pause(self) -> float:
        """How long after the second worker's end another one begins."""
        before = len(self.children)
        ended = self.reactor.seconds()
        self.children[-1].end(signal.SIGSEGV)
        while len(self.children) == before:
            self.reactor.advance(0.05)
            self.reactor.serve()
        return self.reactor.seconds() - ended

    def test_again_and_again(self) -> None:
        """Each pause is twice the one before, up to ten seconds, until one has lived for long."""
        self.answer(self.children[0])
        pauses = [self.pause() for _ in range(9)]
        wanted = [min(FIRST_PAUSE * 2**count, LONGEST_PAUSE) for count in range(9)]
        for pause, length in zip(pauses, wanted, strict=True):
            self.assertLess(abs(pause - length), 0.06)
        self.answer(self.children[-1])
        self.tick(STABLE_SECONDS)
        self.assertLess(abs(self.pause() - FIRST_PAUSE), 0.06)
        self.assertEqual(len(self.running), 2)

    def test_sentence(self) -> None:
        """The log says which, how, and what it took along."""
        self.children[1].end(signal.SIGKILL)
        self.tick(1.0)
        self.assertIn(
            "worker 2 ended (pid 1001, signal SIGKILL) and took 3 tunnels with it;"
            " another begins in 0.1 s",
            self.said(),
        )
        self.children[2].end(status=1)
        self.tick(1.0)
        self.assertTrue(any("(pid 1002, status 1)" in line for line in self.said()))


class HangTests(LivePoolTestCase):
    """Workers that are there and do nothing."""

    def test_killed(self) -> None:
        """One that does not answer is found, killed and begun again; the other goes on."""
        self.answer(self.children[0])
        self.tick(HANG_SECONDS)
        self.assertEqual(self.children[1].signals, ["KILL"])
        self.assertIn("worker 2 does not end (pid 1001) and is killed", self.said())
        self.assertTrue(any("is silent" in line for line in self.said()))
        self.answer(self.children[2])
        self.tick(HANG_SECONDS)
        self.assertEqual([child.pid for child in self.running], [1000, 1002])
        self.assertEqual(self.children[0].signals, [])

    def test_broken_link(self) -> None:
        """One whose link breaks is given three seconds to end, and is then not killed."""
        link: WorkerLink = self.workers.links[2]
        link.mux.abort()
        self.tick(1.0)
        self.children[1].end()
        self.tick(5.0)
        self.assertEqual(self.children[1].signals, [])
        self.assertFalse(any("killed" in line for line in self.said()))


class StopTests(PoolTestCase):
    """A hub that stops."""

    def test_in_good_order(self) -> None:
        """Workers end when they are told, and nothing is left to do."""
        self.successResultOf(self.stop())
        self.assertFalse(self.workers.is_listening)
        self.assertEqual(self.port.fileno(), -1)
        self.assertEqual([child.signals for child in self.children], [[], []])
        self.tick(LONGEST_PAUSE)
        self.assertEqual(len(self.children), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_while_one_waits(self) -> None:
        """A worker that was to be begun again is not."""
        self.answer(self.children[0])
        for _ in range(6):
            self.children[-1].end(status=1)
            self.tick(5.0)
        self.children[-1].end(status=1)
        began = len(self.children)
        self.successResultOf(self.stop())
        self.tick(2 * LONGEST_PAUSE)
        self.assertEqual(len(self.children), began)

    def test_ends_meanwhile(self) -> None:
        """A worker that ends while sessions are waited for is not begun again."""
        self.pool.stop_listening()
        self.children[1].end(signal.SIGKILL)
        self.tick(LONGEST_PAUSE)
        self.assertEqual(len(self.children), 2)
        self.successResultOf(self.stop())

    def test_one_hangs(self) -> None:
        """A worker that does not end is killed, and the stop does not wait for it."""
        stopping = Deferred.fromCoroutine(self.pool.stop())
        self.children[0].end()
        self.tick(2.0)
        self.assertNoResult(stopping)
        self.tick(2.0)
        self.successResultOf(stopping)
        self.assertEqual(self.children[1].signals, ["KILL"])
        self.assertTrue(any("they are killed" in line for line in self.said()))
