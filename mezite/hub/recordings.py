"""
What a hub has for recordings, put together: intake, keeping, and when each is swept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mezite.auth.recordkeeping import RecordKeeping, Seal
from mezite.auth.recordsweep import RecordSweep, Retention
from mezite.auth.reviewing import Reviewing
from mezite.auth.trail import AuditTrail
from mezite.config.hub import HubConfig
from mezite.error import BadInput, MeziteError
from mezite.hub.error import HubCannotStart
from mezite.hub.livesessions import LiveSessions
from mezite.hub.recordingintake import RecordingIntake
from mezite.hub.recordingservice import RecordingMethods
from mezite.recording.sealing import parse_recipients, seal
from mezite.store.interfaces import IStore
from mezite.store.recordingfiles import FileRecordings, IncomingFiles
from mezite.store.recordingobjects import open_bucket
from mezite.store.transactions import Threads
from mezite.tasks import background

# How soon recordings that nobody brings any more are closed, and others are removed.
_SWEEP_SECONDS: Final = 60.0
# Five may wait for a storage that is slow (mezite.auth.recordkeeping); the others write.
THREADS: Final = 8


class HubRecordings:
    """The recordings of one hub."""

    _log = Logger()

    def __init__(
        self,
        config: HubConfig,
        store: IStore,
        trail: AuditTrail,
        live: LiveSessions,
        reviewing: Reviewing,
        *,
        threads: Threads,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        settings, directory = config.recordings, config.data_dir / "recordings"
        bucket, recipients = settings.bucket, settings.encrypt_to
        stored: Any = FileRecordings(directory) if bucket is None else open_bucket(bucket)
        self.keeping = RecordKeeping(
            store.recordings,
            trail,
            incoming=IncomingFiles(directory / "incoming"),
            stored=stored,
            threads=threads,
            wall_clock=wall_clock,
            seal=None if recipients is None else sealing_to(recipients),
        )
        self.due = RecordSweep(
            self.keeping,
            store.recordings,
            threads=threads,
            wall_clock=wall_clock,
            retention=Retention(settings.keep, settings.max_size),
        )
        self.intake = RecordingIntake(
            store.recordings,
            self.keeping,
            live,
            threads=threads,
            wall_clock=wall_clock,
            abandon_after=settings.abandon_after,
        )
        self.methods = RecordingMethods(self.keeping, self.intake, reviewing, trail, wall_clock)
        self._threads = threads
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = clock
        self._is_tidy = False

    def start(self) -> None:
        self._sweeping.start(_SWEEP_SECONDS, now=False)

    async def stop(self) -> None:
        """Let what is being written be written; what agents bring after that they bring again."""
        if self._sweeping.running:
            self._sweeping.stop()
        self._threads.stop()

    def _sweep(self) -> Deferred[None]:
        return background(self._swept(), doing="looking after recordings")

    async def _swept(self) -> None:
        if not self._is_tidy:
            await self.due.tidy()
            self._is_tidy = True
        for part in (self.intake.sweep, self.due.sweep):
            try:
                await part()
            except MeziteError as error:
                self._log.warn("recordings wait for a minute: {error}", error=error)


def sealing_to(path: Path) -> Seal:
    """
    What encrypts recordings to the public keys in this file.

    :raises HubCannotStart: recordings would lie in the clear.
    """
    try:
        recipients = parse_recipients(path.read_bytes())
    except OSError as error:
        raise HubCannotStart(f"cannot read {path}: {error.strerror}") from None
    except BadInput as error:
        raise HubCannotStart(f"recordings.encrypt_to: {path}: {error}") from None
    return lambda recording, pieces: seal(recording, pieces, recipients)
