"""
Recording on a node, put together: from a session to the disk, and on to the hub.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mezite.agent.uploads import RecordingUploads
from mezite.config.recordingbounds import RecordingConfig
from mezite.recording.diskthreads import Threads
from mezite.recording.error import RecordingFailed
from mezite.recording.recorder import Caps
from mezite.recording.recordings import SpooledRecordings
from mezite.recording.spool import Spool, SpoolLimits
from mezite.rpc.proto.tunnel_pb2 import StreamHeader

_DIRECTORY: Final = "recordings"


@define(eq=False)
class RecordingService(Service):
    """
    Records sessions below ``data_dir``.

    ``open_stream`` opens a stream to a service of the hub.
    """

    _log = Logger()

    data_dir: Path
    config: RecordingConfig
    threads: Threads
    clock: IReactorTime
    wall_clock: Callable[[], float]
    open_stream: Callable[[StreamHeader], Any] = field(repr=False)
    monotonic: Callable[[], float] = time.monotonic
    recordings: SpooledRecordings = field(init=False)
    uploads: RecordingUploads = field(init=False)

    def __attrs_post_init__(self) -> None:
        config = self.config
        spool = Spool(self.data_dir / _DIRECTORY, SpoolLimits(config.quota, config.min_free))
        self.uploads = RecordingUploads(spool, self.threads, self.clock, self.open_stream)
        self.recordings = SpooledRecordings(
            spool=spool,
            threads=self.threads,
            caps=Caps(config.output_limit, config.input_limit),
            uploads=self.uploads,
            clock=self.clock,
            wall_clock=self.wall_clock,
            monotonic=self.monotonic,
        )

    def startService(self) -> None:
        super().startService()
        try:
            # Before there is any session, so this once the reactor may wait for the disk.
            self.uploads.adopt(self.recordings.spool.prepare())
        except RecordingFailed as error:
            self._log.error("{error}; sessions that have to be recorded are refused", error=error)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.recordings.stop()
        self.uploads.stop()
