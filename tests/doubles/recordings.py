"""
Recordings of sessions, in a directory that the test made and without threads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from zope.interface import implementer

from mezite.recording.chunks import ChunkReader, Position
from mezite.recording.events import Header
from mezite.recording.format import Decoder
from mezite.recording.forwardrecord import ForwardRecord
from mezite.recording.recorder import Caps
from mezite.recording.recordings import (
    ISpooled,
    SessionRecord,
    SessionRecordings,
    SpooledRecordings,
)
from mezite.recording.spool import Spool, SpoolFile, SpoolLimits
from mezite.ssh.error import ChannelRefused
from tests.doubles.threads import InlineThreads

PLENTY = 1 << 40


@implementer(ISpooled)
@define(eq=False)
class SpoolWatch:
    """Notes what there is on the disk."""

    files: dict[str, SpoolFile] = field(factory=dict)
    ends: dict[str, str | None] = field(factory=dict)

    def begun(self, file: SpoolFile) -> None:
        self.files[file.recording] = file

    def written(self, recording: str) -> None:
        pass

    def ended(self, recording: str, reason: str | None) -> None:
        self.ends[recording] = reason

    def content(self, recording: str) -> bytes:
        """The file that the chunks of a recording make."""
        file = self.files[recording]
        reader = ChunkReader(Position.start(recording))
        return b"".join(
            chunk.content()
            for number in range(file.count)
            for chunk in reader.receive(file.read(number))
        )

    def events(self, recording: str) -> list[Any]:
        """The header of a recording, and its events."""
        return Decoder().receive(self.content(recording))


@define(eq=False)
class Disk:
    """A disk with so much room."""

    room: int = PLENTY

    def free(self, path: Path) -> int:
        return self.room


def recordings_below(
    path: str | Path,
    *,
    clock: Clock | None = None,
    quota: int = PLENTY,
    disk: Disk | None = None,
    threads: Any = None,
    caps: Caps = Caps(PLENTY, PLENTY),  # noqa: B008 - it is frozen
) -> tuple[SpooledRecordings, SpoolWatch]:
    """What a node records with, and what comes of it."""
    clock = clock or Clock()
    spool = Spool(Path(path), SpoolLimits(quota, min_free=1), (disk or Disk()).free)
    spool.prepare()
    watch = SpoolWatch()
    made = SpooledRecordings(
        spool=spool,
        threads=threads or InlineThreads(),
        caps=caps,
        uploads=watch,
        clock=clock,
        wall_clock=clock.seconds,
        monotonic=clock.seconds,
    )
    return made, watch


def forward_record(path: str | Path, **rest: Any) -> tuple[ForwardRecord, SpoolWatch, list[str]]:
    """The record of what is forwarded in session s1, and why it was lost."""
    node, watch = recordings_below(path, **rest)
    lost: list[str] = []
    session = SessionRecordings(node, SessionRecord(), Header(0, session="s1"))
    made = ForwardRecord(session, lambda error: lost.append(str(error)), ChannelRefused)
    return made, watch, lost
