"""
The recordings on this node, on their way to the hub.

A :class:`RecordingUploads` knows every recording on the disk, opens a stream
for each while it is made and after, tries again after every cut, and has it
deleted when the hub says that it is whole there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.agent.upload import Outcome, RecordingUpload
from mezite.error import MeziteError
from mezite.recording.diskthreads import Threads
from mezite.recording.error import RecordingFailed
from mezite.recording.recordings import ISpooled
from mezite.recording.spool import Spool, SpoolFile
from mezite.recording.uploadwire import IDS_IN_A_MESSAGE, Inventory, encode
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.tasks import background

SERVICE: Final = "recording"
# Of the 1,024 streams of a tunnel, for what is uploaded at a time.
STREAMS: Final = 64
# A command that is over before does not share the tunnel with its own record.
BEGIN_SECONDS: Final = 0.5
# A hub without the service, or one that is full, is asked again so much later.
RETRY_FIRST: Final = 5.0
RETRY_LONGEST: Final = 600.0


@define(eq=False)
class Held:
    """A recording on the disk; ``reason`` says why it was cut off, if it was."""

    file: SpoolFile
    is_live: bool
    reason: str | None = None
    upload: RecordingUpload | None = None
    # The hub has all that there is, and nothing has come since.
    is_asleep: bool = False


@implementer(ISpooled)
@define(eq=False)
class RecordingUploads:
    """
    :param open_stream: opens a stream to a service of the hub; it raises an
        :class:`~mezite.error.Unavailable` where there is no tunnel.
    """

    _log = Logger()

    spool: Spool
    threads: Threads
    clock: IReactorTime
    open_stream: Callable[[StreamHeader], Any] = field(repr=False)
    uniform: Callable[[float, float], float] = random.uniform
    held: dict[str, Held] = field(init=False, factory=dict)
    # On the disk from before, and not looked at yet.
    _left_behind: list[str] = field(init=False, factory=list)
    _running: int = field(init=False, default=0)
    _failures: int = field(init=False, default=0)
    _retry: IDelayedCall | None = field(init=False, default=None)
    _is_stopped: bool = field(init=False, default=False)

    def adopt(self, recordings: list[str]) -> None:
        """These were on the disk when the agent started."""
        self._left_behind = list(recordings)
        if recordings:
            background(self._recover(), doing="looking at the recordings that were left behind")

    async def _recover(self) -> None:
        while self._left_behind and not self._is_stopped:
            recording = self._left_behind[0]
            try:
                found = await self.threads.run(lambda: self.spool.recover(recording))  # noqa: B023
            except RecordingFailed as error:
                self._log.warn("{recording}: {error}", recording=recording, error=error)
                found = None
            self._left_behind.pop(0)
            if found is not None:
                reason = None if found.is_finished else "the agent or its machine went down"
                self.held[recording] = Held(found, is_live=False, reason=reason)
                self._begin()

    # What is recorded now.

    def begun(self, file: SpoolFile) -> None:
        self.held[file.recording] = Held(file, is_live=True)
        self._begin_in(BEGIN_SECONDS)

    def written(self, recording: str) -> None:
        held = self.held.get(recording)
        if held is None:
            return
        held.is_asleep = False
        if held.upload is not None:
            held.upload.more()
        else:
            self._begin_in(BEGIN_SECONDS)

    def ended(self, recording: str, reason: str | None) -> None:
        held = self.held.get(recording)
        if held is not None:
            held.is_live, held.reason = False, reason
            self.written(recording)

    # What goes to the hub.

    def tunnel_up(self) -> None:
        """The hub can be reached, perhaps another one than before."""
        self._failures = 0
        self._stop_waiting()
        try:
            stream = self._stream()
        except MeziteError:
            return
        stream.attach(_Told())
        ids = [*self._left_behind, *self.held]
        for at in range(0, len(ids) or 1, IDS_IN_A_MESSAGE):
            part = tuple(ids[at : at + IDS_IN_A_MESSAGE])
            stream.write(encode(Inventory(part, at + IDS_IN_A_MESSAGE >= len(ids))))
        stream.loseConnection()
        self._begin()

    def stop(self) -> None:
        """The agent stops; what is on the disk stays there."""
        self._is_stopped = True
        self._stop_waiting()
        for held in self.held.values():
            if held.upload is not None:
                held.upload.stop()

    def _stream(self) -> Any:
        return self.open_stream(StreamHeader(service=SERVICE))

    def _begin_in(self, seconds: float) -> None:
        if self._retry is None and not self._is_stopped:
            self._retry = self.clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._stop_waiting()
        for held in list(self.held.values()):
            if self._running >= STREAMS or self._is_stopped:
                return
            if held.upload is None and not held.is_asleep and not self._begin_one(held):
                return

    def _begin_one(self, held: Held) -> bool:
        try:
            stream = self._stream()
        except MeziteError:
            # tunnel_up() begins again.
            return False
        held.upload = RecordingUpload(
            held.file,
            threads=self.threads,
            clock=self.clock,
            end=lambda: None if held.is_live else (held.reason or ""),
            on_over=lambda outcome: self._over(held, outcome),
        )
        self._running += 1
        stream.attach(held.upload)
        return True

    def _over(self, held: Held, outcome: Outcome) -> None:
        held.upload = None
        self._running -= 1
        if self._is_stopped:
            return
        if outcome in (Outcome.DONE, Outcome.IDLE):
            self._failures = 0
            held.is_asleep = outcome is Outcome.IDLE
            if outcome is Outcome.DONE:
                self.held.pop(held.file.recording, None)
            self._begin_in(0)
            return
        if outcome is Outcome.UNHEARD and not self._failures:
            self._log.info("the hub takes no recordings now; they are kept on the node")
        most = min(RETRY_LONGEST, RETRY_FIRST * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._begin_in(self.uniform(most / 2, most))

    def _stop_waiting(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None


class _Told(Protocol):
    """A stream on which all is said by us."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Whether it was understood shows in what the hub asks for later."""
