"""
The bytes of one file on their way from one side to another.

It does what a :class:`~mezite.client.copyplan.CopyPlan` decides: reads ahead,
writes in order, and holds no more than the plan has in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from mezite.client.copyplan import CopyPlan, Range
from mezite.client.copysides import IReading, IWriting


async def pump(
    reading: IReading, writing: IWriting, plan: CopyPlan, on_written: Callable[[int], None]
) -> None:
    """
    Copy until the plan is done; ``on_written`` is told of each part's length.

    The first failure of either side ends it. What was begun may then still be
    on its way; both sides close a file only behind that.
    """
    await _Pump(reading, writing, plan, on_written).finished


class _Pump:
    def __init__(
        self,
        reading: IReading,
        writing: IWriting,
        plan: CopyPlan,
        on_written: Callable[[int], None],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._plan = plan
        self._on_written = on_written
        self._is_reading = False
        self._has_ended = False
        self.finished: Deferred[None] = Deferred(lambda _: self._end(Failure(CancelledError())))
        self._read_more()

    def _end(self, reason: Failure | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self.finished.callback(reason)  # a failure is an errback

    def _read_more(self) -> None:
        # What fires at once comes back here; the outermost call goes on for it.
        if self._is_reading:
            return
        self._is_reading = True
        try:
            while not self._has_ended and (ranges := self._plan.wanted()):
                for wanted in ranges:
                    if not self._has_ended:
                        self._read(wanted)
        finally:
            self._is_reading = False
        if not self._has_ended and self._plan.is_done:
            self._end(None)

    def _read(self, wanted: Range) -> None:
        def arrived(data: bytes) -> None:
            if not self._has_ended:
                self._write(wanted, data)

        reading: Deferred[Any] = self._reading.read(wanted.offset, wanted.length)
        reading.addCallback(arrived)
        reading.addErrback(self._end)

    def _write(self, wanted: Range, data: bytes) -> None:
        for piece in self._plan.arrived(wanted, data):
            self._write_piece(piece.offset, piece.data)
        self._read_more()

    def _write_piece(self, offset: int, data: bytes) -> None:
        length = len(data)

        def written(_: None) -> None:
            if not self._has_ended:
                self._plan.written(length)
                self._on_written(length)
                self._read_more()

        writing: Deferred[Any] = self._writing.write(offset, data)
        writing.addCallback(written)
        writing.addErrback(self._end)
