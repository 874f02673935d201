"""
A hub's recordings, in memory.
"""

from __future__ import annotations

from attrs import define, field

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
