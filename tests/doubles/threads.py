"""
Threads that are none: work is done at once, where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import define
from twisted.internet.defer import Deferred, execute

T = TypeVar("T")


@define(eq=False)
class InlineThreads:
    """Does the work before it answers."""

    is_stopped: bool = False

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        assert not self.is_stopped, "work was given to threads that were let go"
        return execute(work)

    def stop(self) -> None:
        self.is_stopped = True


@define(eq=False)
class HeldThreads:
    """Does the work when a test says so."""

    held: list[tuple[Deferred[object], Callable[[], object]]]
    is_stopped: bool = False

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        answer: Deferred[T] = Deferred()
        self.held.append((answer, work))  # type: ignore[arg-type]
        return answer

    def stop(self) -> None:
        self.is_stopped = True

    def work(self) -> None:
        """Do what was given first."""
        answer, work = self.held.pop(0)
        execute(work).chainDeferred(answer)
