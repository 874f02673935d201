"""
A hub's recordings, in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mezite.error import Denied, MeziteError
from mezite.hub.recordinguploads import IRecordingIntake
from mezite.identity.x509 import NodeIdentity
from mezite.recording.chunks import Chunk, Position


@define(eq=False)
class StoredRecording:
    """What has been kept of one recording."""

    recording: str
    chunks: list[Chunk] = field(factory=list)
    is_verified: bool = False
    interrupted: str | None = None

    @property
    def position(self) -> Position:
        return self.chunks[-1].after if self.chunks else Position.start(self.recording)

    @property
    def is_whole(self) -> bool:
        return bool(self.chunks) and self.chunks[-1].is_last

    @property
    def is_over(self) -> bool:
        return self.is_verified

    @property
    def content(self) -> bytes:
        return b"".join(chunk.content() for chunk in self.chunks)


@implementer(IRecordingIntake)
@define(eq=False)
class MemoryRecordings:
    """Keeps recordings, unless ``fails`` says why not."""

    recordings: dict[str, StoredRecording] = field(factory=dict)
    fails: MeziteError | None = None
    listed: list[frozenset[str]] = field(factory=list)
    left: list[str] = field(factory=list)

    def begin(
        self, node: NodeIdentity, address: str, recording: str, drop: Callable[[], None]
    ) -> Deferred[StoredRecording]:
        if self.fails is not None:
            return fail(self.fails)
        return succeed(self.recordings.setdefault(recording, StoredRecording(recording)))

    def append(self, brought: StoredRecording, chunks: Sequence[Chunk]) -> Deferred[None]:
        if self.fails is not None:
            return fail(self.fails)
        for chunk in chunks:
            if chunk.number != len(brought.chunks):
                return fail(Denied("a chunk came twice"))
            brought.chunks.append(chunk)
        return succeed(None)

    def finish(self, brought: StoredRecording) -> Deferred[Position]:
        brought.is_verified = True
        return succeed(brought.position)

    def abandon(self, brought: StoredRecording, reason: str) -> Deferred[Position]:
        brought.is_verified, brought.interrupted = True, reason
        return succeed(brought.position)

    def leave(self, brought: StoredRecording) -> Deferred[None]:
        self.left.append(brought.recording)
        return succeed(None)

    def inventory(
        self, node: NodeIdentity, address: str, held: Collection[str], since: float
    ) -> Deferred[None]:
        self.listed.append(frozenset(held))
        return succeed(None)
