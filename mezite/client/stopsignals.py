"""
Signals that ask a process to end, as one exception in one stretch of its code.

A handler that raises may run between any two steps: when what was to be sent has
been taken and not been sent, or in the ``finally`` that puts the old handlers
back. This one raises only where it is armed, and once.
"""

from __future__ import annotations

import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], Any] | int | None


class Stopped(BaseException):
    """Somebody wants this process to end, by the signal of this ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopSignals:
    """
    What is done with :data:`SIGNALS` as long as this is entered.

    The first one is kept and raised as :exc:`Stopped` in :meth:`raised` and
    :meth:`poll`, also if it came before; ssh sends more than one, so those that
    follow are ignored.
    """

    def __init__(self) -> None:
        self._before: dict[int, _Handler] = {}
        self._is_armed = False
        self._number = 0

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self.receive)
        return self

    def __exit__(self, *_failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """A signal has come."""
        if self._number:
            return
        self._number = number
        if self._is_armed:
            raise Stopped(number)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """The stretch in which a signal is an exception."""
        try:
            self._is_armed = True
            if self._number:
                raise Stopped(self._number)
            yield
        finally:
            self._is_armed = False

    def poll(self, poll: select.poll, milliseconds: int | None) -> list[tuple[int, int]]:
        """What is ready, like the same in :meth:`raised`, which would take longer."""
        try:
            self._is_armed = True
            if self._number:
                raise Stopped(self._number)
            return poll.poll(milliseconds)
        finally:
            self._is_armed = False
