"""
What is recorded on this machine, and what becomes of a session that cannot be.

:class:`SpooledRecordings` owns the recorders of all sessions; a
:class:`SessionRecordings` begins those of one, as strictly as the hub wants it.
What is on the disk is :mod:`mezite.recording.spool`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from mezite.error import TimedOut
from mezite.identity.rolesdoc import Recording
from mezite.recording.diskdeadline import DiskDeadline
from mezite.recording.diskthreads import Threads
from mezite.recording.error import RecordingFailed
from mezite.recording.events import Header
from mezite.recording.recorder import Caps, Recorder
from mezite.recording.recordingfile import RecordingFile
from mezite.recording.spool import Spool, SpoolFile
from mezite.tasks import within

# A disk that takes longer to begin a file is not one to keep a record on.
BEGIN_SECONDS: Final = 5.0
# The process is to end soon after SIGTERM.
STOP_SECONDS: Final = 2.0


class ISpooled(Interface):
    """Who wants to know of the recordings on the disk."""

    def begun(file: SpoolFile) -> None:
        """There is a recording, with a chunk."""

    def written(recording: str) -> None:
        """There is more of it."""

    def ended(recording: str, reason: str | None) -> None:
        """There will be no more; with a reason if it was cut off."""


@define(eq=False)
class SpooledRecordings:
    """
    The recordings that are being made.

    :param caps: for what has no terminal.
    :param uploads: an :class:`ISpooled`.
    :param monotonic: the times in recordings, which no clock that is set moves.
    """

    _log = Logger()

    spool: Spool
    threads: Threads
    caps: Caps
    uploads: Any
    clock: IReactorTime
    wall_clock: Callable[[], float]
    monotonic: Callable[[], float]
    _recorders: set[Recorder] = field(init=False, factory=set)

    async def begin(
        self,
        header: Header,
        *,
        is_lossy: bool,
        on_failed: Callable[[Exception], None],
    ) -> Recorder:
        """
        A recording whose first chunk is on the disk.

        :raises RecordingFailed: there is none.
        """
        header = evolve(header, timestamp=int(self.wall_clock()))
        file = await self._file(header)
        recording = file.spooled.recording
        recorder = Recorder(
            file,
            threads=self.threads,
            clock=self.clock,
            monotonic=self.monotonic,
            caps=None if header.has_terminal else self.caps,
            is_lossy=is_lossy,
            has_input=header.has_input,
            on_failed=on_failed,
            on_written=lambda: self.uploads.written(recording),
            where=self.spool.where,
        )
        self._recorders.add(recorder)
        recorder.finished.addCallback(lambda _: self._finished(recorder))
        self.uploads.begun(file.spooled)
        return recorder

    def _finished(self, recorder: Recorder) -> None:
        self._recorders.discard(recorder)
        self.uploads.ended(recorder.recording, recorder.failure)

    def _file(self, header: Header) -> Deferred[RecordingFile]:
        answer: Deferred[RecordingFile] = Deferred()

        def expire() -> None:
            where = self.spool.where
            answer.errback(RecordingFailed(f"the disk of {where} does not answer"))

        def begin() -> RecordingFile:
            spooled = self.spool.create(f"{header.session}.{header.number}")
            return RecordingFile.begin(spooled, header, self.monotonic)

        def begun(file: RecordingFile) -> None:
            if answer.called:
                # Nobody waits for it any more.
                self.threads.run(file.spooled.remove)
            else:
                deadline.cancel()
                answer.callback(file)

        def failed(failure: Failure) -> None:
            if not answer.called:
                deadline.cancel()
                answer.errback(failure)

        deadline = DiskDeadline(self.clock, BEGIN_SECONDS, expire)
        self.threads.run(begin).addCallbacks(begun, failed)
        return answer

    async def stop(self, why: str = "the agent was stopped") -> None:
        """The process stops, and all that it records with it."""
        for recorder in list(self._recorders):
            recorder.close(why)
        finished: Any = DeferredList([recorder.finished for recorder in list(self._recorders)])
        try:
            await within(self.clock, STOP_SECONDS, finished, doing="finishing recordings")
        except TimedOut as error:
            self._log.warn("{error}", error=error)


@frozen
class SessionRecord:
    """Whether a session is recorded, and what the person types with it."""

    mode: Recording = Recording.STRICT
    has_input: bool = False


@frozen
class SessionRecordings:
    """
    The recordings of one session.

    :param about: what all of them say in their headers.
    :param numbers: the next number, for each but the one of what is forwarded.
    """

    _log = Logger()

    # Begins recordings, as SpooledRecordings do.
    spooled: Any
    record: SessionRecord
    about: Header
    _count: list[int] = field(init=False, factory=lambda: [0])

    @property
    def mode(self) -> Recording:
        return self.record.mode

    async def begin(
        self, on_lost: Callable[[Exception], None], *, is_forwards: bool = False, **about: Any
    ) -> Recorder | None:
        """
        A recording, if there is one to be.

        :param on_lost: called if the session must end, because its record does.
        :raises RecordingFailed: there is none, and so no session.
        """
        if self.mode is Recording.OFF:
            return None
        number = 0
        if not is_forwards:
            self._count[0] = number = self._count[0] + 1
        is_strict = self.mode is Recording.STRICT
        header = evolve(self.about, number=number, has_input=self.record.has_input, **about)
        try:
            recorder: Recorder = await self.spooled.begin(
                header,
                is_lossy=not is_strict,
                on_failed=on_lost if is_strict else lambda error: None,
            )
            return recorder
        except RecordingFailed as error:
            self._log.warn(
                "session {session} cannot be recorded: {error}", session=header.session, error=error
            )
            if is_strict:
                raise RecordingFailed(
                    f"this session has to be recorded, and cannot be: {error}"
                ) from None
            return None
