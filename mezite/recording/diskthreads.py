"""
Threads for the disk, so that the reactor never waits for it.

What is given to them is done in no order; who needs one gives the next piece of
work when the one before is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

# One writes while another packs, or reads what is uploaded; a disk that hangs takes them all.
THREADS: Final = 4

T = TypeVar("T")


class Threads(Protocol):
    """Where work that blocks is done."""

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Do this in a thread; fires with its result in the reactor's."""


class DiskThreads:
    """Threads of a pool that nothing else uses."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, name="mezite-recordings")
        self._pool.start()
        # An idle thread that was forgotten would keep the process from ending.
        reactor.addSystemEventTrigger("after", "shutdown", self.stop)

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._pool, work)

    def stop(self) -> None:
        if self._pool.started:
            self._pool.stop()
