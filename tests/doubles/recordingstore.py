"""
A hub's recordings, in memory.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mezite.error import Denied, MeziteError
from mezite.hub.recordinguploads import IRecordingStore, Stored
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
    def content(self) -> bytes:
        return b"".join(chunk.content() for chunk in self.chunks)


@implementer(IRecordingStore)
@define(eq=False)
class MemoryRecordings:
    """Keeps recordings, unless ``fails`` says why not."""

    recordings: dict[str, StoredRecording] = field(factory=dict)
    fails: MeziteError | None = None
    listed: list[frozenset[str]] = field(factory=list)

    def open(self, node: NodeIdentity, recording: str) -> Deferred[Stored]:
        if self.fails is not None:
            return fail(self.fails)
        kept = self.recordings.setdefault(recording, StoredRecording(recording))
        is_whole = bool(kept.chunks) and kept.chunks[-1].is_last
        return succeed(Stored(kept.position, is_whole, kept.is_verified))

    def append(self, node: NodeIdentity, recording: str, chunk: Chunk) -> Deferred[None]:
        if self.fails is not None:
            return fail(self.fails)
        kept = self.recordings[recording]
        if chunk.number != len(kept.chunks):
            return fail(Denied("a chunk came twice"))
        kept.chunks.append(chunk)
        return succeed(None)

    def finish(self, node: NodeIdentity, recording: str, position: Position) -> Deferred[None]:
        self.recordings[recording].is_verified = True
        return succeed(None)

    def abandon(self, node: NodeIdentity, recording: str, reason: str) -> Deferred[Position]:
        kept = self.recordings[recording]
        kept.is_verified, kept.interrupted = True, reason
        return succeed(kept.position)

    def still_held(self, node: NodeIdentity, recordings: frozenset[str]) -> Deferred[None]:
        self.listed.append(recordings)
        return succeed(None)
