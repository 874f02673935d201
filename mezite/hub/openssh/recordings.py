"""
The recordings that the hub itself makes: on its disk first, as an agent's, then taken in.

A :class:`HubSpool` begins them, a :class:`Feeder` brings each to the hub's
:class:`~mezite.hub.recordingintake.RecordingIntake` while it grows, as an agent
would over its tunnel. What a killed hub leaves behind is brought at the next start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mezite.config.recordingbounds import RecordingConfig
from mezite.error import Denied, MeziteError, TimedOut
from mezite.hub.recordingintake import Arrival, RecordingIntake
from mezite.identity.x509 import NodeIdentity
from mezite.names import ClusterName
from mezite.recording.chunks import Chunk, ChunkReader, Position
from mezite.recording.error import RecordingFailed
from mezite.recording.events import Header
from mezite.recording.recorder import Caps, Recorder
from mezite.recording.recordings import ISpooled, SpooledRecordings
from mezite.recording.spool import Spool, SpoolFile, SpoolLimits
from mezite.store.recordings import IRecordings
from mezite.store.transactions import Threads
from mezite.tasks import background, within

_DIRECTORY: Final = "openssh-recordings"
# So many chunks go over at once, of 256 KiB each.
_AT_ONCE: Final = 8
_RETRY_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 3.0


@define(eq=False)
class _Held:
    """A recording in the spool; ``reason`` says why it was cut off, if it was."""

    file: SpoolFile
    is_live: bool
    reason: str | None = None
    arrival: Arrival | None = None
    has_more: bool = True
    bringing: Deferred[None] | None = None


@implementer(ISpooled)
@define(eq=False)
class Feeder:
    """Brings what is in the spool to where the hub keeps recordings."""

    _log = Logger()

    intake: RecordingIntake
    sessions: IRecordings
    cluster: ClusterName
    threads: Threads
    clock: IReactorTime
    held: dict[str, _Held] = field(init=False, factory=dict)
    _is_stopped: bool = field(init=False, default=False)

    def begun(self, file: SpoolFile) -> None:
        self._bring(self.held.setdefault(file.recording, _Held(file, is_live=True)))

    def left_behind(self, file: SpoolFile) -> None:
        """This was in the spool when the hub started."""
        reason = None if file.is_finished else "the hub or its machine went down"
        held = _Held(file, is_live=False, reason=reason)
        self._bring(self.held.setdefault(file.recording, held))

    def written(self, recording: str) -> None:
        held = self.held.get(recording)
        if held is not None:
            self._bring(held)

    def ended(self, recording: str, reason: str | None) -> None:
        held = self.held.get(recording)
        if held is not None:
            held.is_live, held.reason = False, reason
            self._bring(held)

    def settled(self) -> Deferred[Any]:
        """Fires when nothing is being brought."""
        return DeferredList([each.bringing for each in self.held.values() if each.bringing])

    def stop(self) -> None:
        self._is_stopped = True

    def _bring(self, held: _Held) -> None:
        held.has_more = True
        if held.bringing is None and not self._is_stopped:
            recording = held.file.recording
            bringing = background(self._brought(held), doing=f"taking in {recording}")
            # It may be over already.
            held.bringing = None if bringing.called else bringing

    async def _brought(self, held: _Held) -> None:
        try:
            while held.has_more:
                held.has_more = False
                await self._bring_all(held)
        except Denied as error:
            self._log.warn(
                "the recording {recording} is not taken: {error}",
                recording=held.file.recording,
                error=error,
            )
            self.held.pop(held.file.recording, None)
            await self.threads.run(held.file.set_aside)
        except MeziteError as error:
            self._log.warn(
                "the recording {recording} waits in the spool: {error}",
                recording=held.file.recording,
                error=error,
            )
            held.arrival = None
            self.clock.callLater(_RETRY_SECONDS, self._bring, held)
        finally:
            held.bringing = None

    async def _bring_all(self, held: _Held) -> None:
        file = held.file
        if held.arrival is None:
            held.arrival = await self._begin(held)
        arrival = held.arrival
        if not arrival.is_over:
            while arrival.position.number < file.count:
                position = arrival.position
                chunks = await self.threads.run(lambda: _read(file, position))  # noqa: B023
                await self.intake.append(arrival, chunks)
            if held.is_live or held.has_more:
                return
            if held.reason is None and file.is_finished:
                await self.intake.finish(arrival)
            else:
                await self.intake.abandon(arrival, held.reason or "")
        self.held.pop(file.recording, None)
        await self.threads.run(file.remove)

    async def _begin(self, held: _Held) -> Arrival:
        recording = held.file.recording
        session_id = recording.partition(".")[0]
        session = await self.sessions.session(session_id)
        if session is None:
            raise Denied("the hub knows no such session")
        node = NodeIdentity(self.cluster, session.agent_id, session.node)

        def drop() -> None:
            held.arrival = None

        return await self.intake.begin(node, "", recording, drop)


def _read(file: SpoolFile, position: Position) -> list[Chunk]:
    numbers = range(position.number, min(file.count, position.number + _AT_ONCE))
    return ChunkReader(position).receive(b"".join(file.read(number) for number in numbers))


@define(eq=False)
class HubSpool:
    """
    What :class:`~mezite.recording.recordings.SessionRecordings` begin recordings in.

    Its directory is made when it is first needed, since most hubs have no
    server without an agent.
    """

    _log = Logger()

    recordings: SpooledRecordings
    feeder: Feeder
    _is_prepared: bool = field(init=False, default=False)

    @classmethod
    def below(
        cls,
        data_dir: Path,
        feeder: Feeder,
        config: RecordingConfig,
        *,
        wall_clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> HubSpool:
        """The spool of the hub with this data directory."""
        limits = SpoolLimits(config.quota, config.min_free)
        spool = Spool(data_dir / _DIRECTORY, limits, where="the hub")
        made = SpooledRecordings(
            spool=spool,
            threads=feeder.threads,
            caps=Caps(config.output_limit, config.input_limit),
            uploads=feeder,
            clock=feeder.clock,
            wall_clock=wall_clock,
            monotonic=monotonic,
        )
        return cls(made, feeder)

    def start(self) -> None:
        """Bring what a hub before left behind."""
        spool = self.recordings.spool
        # Before there is any session, so this once the reactor may wait for the disk.
        if not spool.path.is_dir():
            return
        try:
            found = spool.prepare()
        except RecordingFailed as error:
            self._log.error("{error}; sessions that have to be recorded are refused", error=error)
            return
        self._is_prepared = True
        background(self._recover(found), doing="looking at the recordings that were left behind")

    async def _recover(self, recordings: list[str]) -> None:
        spool, threads = self.recordings.spool, self.recordings.threads
        for recording in recordings:
            try:
                found = await threads.run(lambda: spool.recover(recording))  # noqa: B023
            except RecordingFailed as error:
                self._log.warn("{recording}: {error}", recording=recording, error=error)
                continue
            if found is not None:
                self.feeder.left_behind(found)

    async def begin(
        self, header: Header, *, is_lossy: bool, on_failed: Callable[[Exception], None]
    ) -> Recorder:
        """
        A recording whose first chunk is on the disk.

        :raises RecordingFailed: there is none.
        """
        if not self._is_prepared:
            await self.recordings.threads.run(self.recordings.spool.prepare)
            self._is_prepared = True
        return await self.recordings.begin(header, is_lossy=is_lossy, on_failed=on_failed)

    async def stop(self) -> None:
        """The hub stops; what is not taken in by then is brought at the next start."""
        await self.recordings.stop("the hub was stopped")
        try:
            settled = self.feeder.settled()
            await within(self.feeder.clock, _STOP_SECONDS, settled, doing="taking recordings in")
        except TimedOut as error:
            self._log.warn("{error}", error=error)
        self.feeder.stop()
