"""
One recording on its way to the hub, on one stream.

:class:`RecordingUpload` puts an :class:`~mezite.recording.upload.UploadClient`
on the stream, and reads the chunks that it wants from the disk in threads.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.error import MeziteError
from mezite.recording.chunks import Position
from mezite.recording.diskthreads import Threads
from mezite.recording.error import RecordingFailed, RemoteUploadError
from mezite.recording.spool import SpoolFile
from mezite.recording.upload import UploadClient
from mezite.recording.uploadwire import RefusalCode, Refused, Resume, Verified
from mezite.tasks import background

# For an answer or an acknowledgement: the hub may wait for its own disk, or another store.
# And for the next byte of a shell: where nobody works, no stream is needed.
WAIT_SECONDS: Final = 60.0


class Outcome(enum.Enum):
    """How an upload's stream came to its end."""

    # The recording is off this node's hands.
    DONE = enum.auto()
    # The stream was reset before the hub said anything: it may not have the service.
    UNHEARD = enum.auto()
    CUT = enum.auto()
    # There was nothing to send for a while.
    IDLE = enum.auto()


@implementer(IPushProducer)
class RecordingUpload(Protocol):
    """
    :param end: None while there may be more; then why the recording was cut off,
        an empty text if it was not.
    :param on_over: called once.
    """

    transport: Any
    _log = Logger()

    def __init__(
        self,
        file: SpoolFile,
        *,
        threads: Threads,
        clock: IReactorTime,
        end: Callable[[], str | None],
        on_over: Callable[[Outcome], None],
    ) -> None:
        self._file = file
        self._threads = threads
        self._clock = clock
        self._end = end
        self._on_over = on_over
        self._client = UploadClient(file.recording)
        self._is_reading = False
        self._is_paused = False
        self._was_heard = False
        self._is_over = False
        # What the hub said of where it stands has been compared with the disk.
        self._agrees = False
        self._deadline: IDelayedCall | None = None
        self._waits_idly = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        self._was_heard = True
        self._stop_waiting()
        try:
            messages = self._client.receive(data)
        except RemoteUploadError as error:
            self._log.warn("{id}: {error}", id=self._file.recording, error=error)
            self._abort()
            return
        for message in messages:
            match message:
                case Resume(position=position):
                    self._work(self._compare(position))
                case Verified(position=position):
                    self._work(self._verified(position))
                case Refused(code=code, sentence=sentence):
                    self._work(self._refused(code, sentence))
        self._go_on()

    def more(self) -> None:
        """There is more on the disk, or there will be no more."""
        self._go_on()

    def stop(self) -> None:
        self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._abort()

    # What the hub said.

    async def _compare(self, position: Position) -> None:
        number = position.number
        if number > self._file.count:
            # Acknowledged, and then lost here: a power cut before the disk had it.
            if self._end() is None:
                raise RecordingFailed("the hub has more of a recording than was made")
            self._client.abandon(self._end() or "its end was lost on the node")
            return
        ours = await self._threads.run(lambda: self._file.position_at(number))
        if ours != position:
            await self._set_aside("the hub has another recording of this name")
            return
        self._agrees = True

    async def _verified(self, position: Position) -> None:
        if self._file.is_finished and position != self._file.position:
            await self._set_aside("the hub has another recording of this name")
            return
        await self._threads.run(self._file.remove)
        self._log.debug("{id} is at the hub", id=self._file.recording)
        self._over(Outcome.DONE)

    async def _refused(self, code: RefusalCode, sentence: str) -> None:
        if code is RefusalCode.NEVER:
            await self._set_aside(sentence)
            return
        self._log.warn(
            "the hub does not take {id} now: {why}", id=self._file.recording, why=sentence
        )
        self._abort()

    async def _set_aside(self, why: str) -> None:
        self._log.error(
            "the recording {id} stays on the node, set aside: {why}",
            id=self._file.recording,
            why=why,
        )
        await self._threads.run(self._file.set_aside)
        self._over(Outcome.DONE)

    # What is sent.

    def _go_on(self) -> None:
        client = self._client
        if self._agrees and not self._is_over and not self._is_reading and not self._is_paused:
            if client.may_send and client.next_number < self._file.count:
                self._is_reading = True
                self._work(self._send(client.next_number))
            elif client.is_all_acked and client.next_number == self._file.count:
                self._say_end()
        self._flush()

    async def _send(self, number: int) -> None:
        data = await self._threads.run(lambda: self._file.read(number))
        self._is_reading = False
        if not self._is_over:
            self._client.send_chunk(number, data)

    def _say_end(self) -> None:
        reason = self._end()
        if reason is None:
            return
        if self._file.is_finished:
            self._client.finish(self._file.position)
        else:
            self._client.abandon(reason)

    def _work(self, work: Any) -> None:
        async def run() -> None:
            try:
                await work
            except MeziteError as error:
                self._log.warn("{id}: {error}", id=self._file.recording, error=error)
                self._abort()
            except Exception:
                self._log.failure("uploading {id} failed", id=self._file.recording)
                self._abort()
            else:
                self._go_on()

        background(run(), doing="uploading a recording")

    def _flush(self) -> None:
        if self._is_over:
            return
        data = self._client.data_to_send()
        if data:
            if self._waits_idly:
                self._stop_waiting()
            self.transport.write(data)
        if self._deadline is None:
            # Not put off by what we send: that is what the hub has to answer.
            self._waits_idly = self._client.is_all_acked
            self._deadline = self._clock.callLater(WAIT_SECONDS, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        self._over(Outcome.IDLE if self._waits_idly else Outcome.CUT)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The stream is gone; ``connectionLost`` says so too."""

    def _abort(self) -> None:
        self._over(Outcome.CUT if self._was_heard else Outcome.UNHEARD)

    def _over(self, outcome: Outcome) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._stop_waiting()
        self.transport.unregisterProducer()
        if outcome in (Outcome.DONE, Outcome.IDLE):
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()
        self._on_over(outcome)
