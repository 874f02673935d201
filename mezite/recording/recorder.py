"""
What happens in a session, until it is on the disk.

A :class:`Recorder` takes events in the reactor's thread and has them written in
others. It holds a bounded amount: whoever brings more is told to pause, or, if
the record is only best effort, loses it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.recording.diskdeadline import DiskDeadline
from mezite.recording.diskthreads import Threads
from mezite.recording.events import (
    Caption,
    Event,
    Exited,
    Input,
    Note,
    Output,
    Resized,
    Stream,
)
from mezite.recording.recordingfile import RecordingFile

# What a killed agent may lose; whoever watches sees it as late.
FLUSH_SECONDS: Final = 0.25
# So much is written at once, without waiting for more: a chunk.
BATCH: Final = 256 * 1024
# Producers are paused above this, and resumed below half of it.
HIGH: Final = 2 * 1024 * 1024
# Where nobody is paused: what is beyond is lost.
LOSSY_LIMIT: Final = 8 * 1024 * 1024
# A disk that takes longer for a batch is not one to keep a record on.
WRITE_SECONDS: Final = 30.0
# What an event without bytes costs in memory, about.
_EVENT_COST: Final = 200


@frozen
class Caps:
    """How many bytes of a command's streams are recorded, before they are only counted."""

    output: int
    input: int


class _State(enum.Enum):
    RECORDING = enum.auto()
    # Nothing more is taken; what was is written.
    FINISHING = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()


class Recorder:
    """
    :param caps: None for a terminal, of which everything is recorded.
    :param is_lossy: whether to lose what comes too fast, in the place of slowing it down.
    :param on_failed: called once, with the error, if nothing more can be recorded.
    :param on_written: called when there is more on the disk.
    :param where: whose disk it is, for sentences.
    """

    _log = Logger()

    def __init__(
        self,
        file: RecordingFile,
        *,
        threads: Threads,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        caps: Caps | None,
        is_lossy: bool,
        has_input: bool,
        on_failed: Callable[[Exception], None],
        on_written: Callable[[], None] = lambda: None,
        where: str = "the node",
    ) -> None:
        self.has_input = has_input
        # Called with whether to pause; whoever brings data sets it.
        self.on_pressure: Callable[[bool], None] = lambda is_high: None
        self.finished: Deferred[None] = Deferred()
        # Why the recording was cut off, if it was.
        self.failure: str | None = None
        self._file = file
        self._threads = threads
        self._clock = clock
        self._monotonic = monotonic
        self._began = monotonic()
        self._caps = caps
        self._is_lossy = is_lossy
        self._on_failed = on_failed
        self._on_written = on_written
        self._where = where
        self._state = _State.RECORDING
        self._counts = dict.fromkeys(Stream, 0)
        self._capped: set[Stream] = set()
        self._waiting: list[Event] = []
        self._waiting_size = 0
        self._writing_size = 0
        self._lost = 0
        self._is_writing = False
        self._is_high = False
        self._timer: IDelayedCall | None = None

    @property
    def recording(self) -> str:
        return self._file.spooled.recording

    # What happens.

    def output(self, data: bytes, stream: Stream = Stream.OUTPUT) -> None:
        """The process wrote this."""
        cap = None if self._caps is None else self._caps.output
        room = self._count(len(data), stream, cap)
        if room:
            self._take(Output(self._now(), data[:room], stream), room)
        if room < len(data):
            self._capped_at(cap, stream)

    def input(self, data: bytes) -> None:
        """The person wrote this; it is counted at least."""
        cap = None if self._caps is None else self._caps.input
        room = self._count(len(data), Stream.INPUT, cap)
        if not self.has_input:
            return
        if room:
            self._take(Input(self._now(), data[:room]), room)
        if room < len(data):
            self._capped_at(cap, Stream.INPUT)

    def resized(self, columns: int, rows: int) -> None:
        self._take(Resized(self._now(), columns, rows))

    def note(
        self, kind: str, fields: Mapping[str, str | int | bool], caption: str | None = None
    ) -> None:
        """Something that is no text; the caption is what people who watch see of it."""
        self._take(Note(self._now(), kind, fields))
        if caption is not None:
            self._take(Caption(self._now(), f"{caption}\r\n"), len(caption))

    def exited(self, status: int, signal: str | None = None, *, dumped_core: bool = False) -> None:
        """The process is over, and so is the recording."""
        events: list[Event] = []
        if signal is not None:
            events.append(Note(self._now(), "signal", {"name": signal, "core": dumped_core}))
        self._finish([*events, self._totals(), Exited(self._now(), status)])

    def close(self, reason: str | None = None) -> None:
        """The recording is over without the end of a process."""
        ended = [] if reason is None else [Note(self._now(), "ended", {"reason": reason})]
        self._finish([*ended, self._totals()])

    def _now(self) -> int:
        return int((self._monotonic() - self._began) * 1_000_000)

    def _totals(self) -> Note:
        counts = self._counts
        return Note(
            self._now(),
            "totals",
            {
                "input": counts[Stream.INPUT],
                "output": counts[Stream.OUTPUT],
                "error": counts[Stream.ERROR],
            },
        )

    # How much of it is taken.

    def _count(self, size: int, stream: Stream, cap: int | None) -> int:
        """How many of so many bytes are recorded."""
        before = self._counts[stream]
        self._counts[stream] = before + size
        return size if cap is None else max(0, min(size, cap - before))

    def _capped_at(self, cap: int | None, stream: Stream) -> None:
        if stream not in self._capped and cap is not None:
            self._capped.add(stream)
            self.note(
                "capped",
                {"stream": int(stream), "bytes": cap},
                f"[from here on only counted, after {cap} bytes]",
            )

    def _take(self, event: Event, size: int = 0) -> None:
        if self._state is not _State.RECORDING:
            return
        held = self._waiting_size + self._writing_size
        if self._is_lossy and held > LOSSY_LIMIT:
            self._lost += size
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._waiting.append(Note(event.time, "gap", {"bytes": lost}))
        self._waiting.append(event)
        self._waiting_size += size + _EVENT_COST
        self._write_soon()
        self._balance()

    def _balance(self) -> None:
        held = self._waiting_size + self._writing_size
        is_high = held >= HIGH or (self._is_high and held * 2 > HIGH)
        is_high = is_high and not self._is_lossy and self._state is _State.RECORDING
        if is_high != self._is_high:
            self._is_high = is_high
            self.on_pressure(is_high)

    # How it comes to the disk.

    def _write_soon(self) -> None:
        if self._is_writing:
            return
        if self._waiting_size >= BATCH:
            self._write()
        elif self._timer is None:
            self._timer = self._clock.callLater(FLUSH_SECONDS, self._write)

    def _finish(self, events: Sequence[Event]) -> None:
        if self._state is not _State.RECORDING:
            return
        if self._lost:
            self._waiting.append(Note(self._now(), "gap", {"bytes": self._lost}))
        self._state = _State.FINISHING
        self._waiting.extend(events)
        if not self._is_writing:
            self._write()

    def _write(self) -> None:
        self._stop_waiting()
        batch, self._waiting = self._waiting, []
        self._writing_size, self._waiting_size = self._waiting_size, 0
        in_a_hurry = self._writing_size >= BATCH
        is_last = self._state is _State.FINISHING
        file = self._file

        def work() -> None:
            if is_last:
                file.finish(batch)
            else:
                file.write(batch, in_a_hurry=in_a_hurry)

        self._is_writing = True
        deadline = DiskDeadline(self._clock, WRITE_SECONDS, self._expire)
        self._threads.run(work).addCallbacks(
            self._written, self._not_written, (deadline, is_last), {}, (deadline,)
        )

    def _written(self, _: None, deadline: DiskDeadline, is_last: bool) -> None:
        deadline.cancel()
        self._is_writing = False
        self._writing_size = 0
        if self._state is _State.FAILED:
            return
        if is_last:
            self._state = _State.FINISHED
        self._on_written()
        if is_last:
            self.finished.callback(None)
        elif self._state is _State.FINISHING:
            self._write()
        elif self._waiting:
            self._write_soon()
        self._balance()

    def _not_written(self, failure: Failure, deadline: DiskDeadline) -> None:
        deadline.cancel()
        self._is_writing = False
        if failure.check(MeziteError) is None:
            self._log.failure("a recording failed", failure=failure)
            self.fail(MeziteError("the recording failed in a way that nobody foresaw"))
        else:
            self.fail(MeziteError(str(failure.value)))

    def _expire(self) -> None:
        self.fail(MeziteError(f"the disk of {self._where} does not answer"))

    def fail(self, error: Exception) -> None:
        """Nothing more can be recorded."""
        if self._state in (_State.FAILED, _State.FINISHED):
            return
        was_recording = self._state is _State.RECORDING
        self._state = _State.FAILED
        self.failure = str(error)
        self._stop_waiting()
        self._waiting.clear()
        self._waiting_size = self._writing_size = 0
        self._log.warn(
            "the recording {recording} stops: {error}", recording=self.recording, error=error
        )
        if was_recording:
            self._on_failed(error)
        self._balance()
        self.finished.callback(None)

    def _stop_waiting(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
