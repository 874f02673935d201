"""
A thread pool for tests, that runs nothing until it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    """The work is done before this returns."""
    return maybeDeferred(work)


class HeldThreads:
    """Collects work; ``finish`` does the oldest and fires its Deferred."""

    def __init__(self) -> None:
        self.held: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.held.append((work, waiting))
        return waiting

    def finish(self) -> None:
        work, waiting = self.held.pop(0)
        maybeDeferred(work).chainDeferred(waiting)
