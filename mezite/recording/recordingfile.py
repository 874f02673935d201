"""
One recording on its way to the disk: events in, chunks out.

Everything here blocks, and is called in threads, by one at a time. What
happens meanwhile waits in a :class:`~mezite.recording.recorder.Recorder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import define, evolve, field

from mezite.recording.chunks import CONTENT_GOAL, Packer
from mezite.recording.events import Event, Header, Input, Output
from mezite.recording.format import EVENT_BYTES, Encoder
from mezite.recording.spool import SpoolFile

# What a person sees as one: a screen comes in many reads of a terminal.
_MERGED: Final = 20_000
# A power cut loses no more than this of a recording; a killed process loses none of what
# was written, and a quarter of a second that was not (mezite.recording.recorder).
SYNC_SECONDS: Final = 5.0


@define(eq=False)
class RecordingFile:
    """
    :param monotonic: for how long ago the disk was last made to keep everything.
    """

    spooled: SpoolFile
    _encoder: Encoder
    _monotonic: Callable[[], float]
    _packer: Packer = field(init=False)
    _parts: list[bytes] = field(init=False, factory=list)
    _size: int = field(init=False, default=0)
    _synced: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._synced = self._monotonic()
        self._packer = Packer(self.spooled.position)

    @classmethod
    def begin(
        cls, spooled: SpoolFile, header: Header, monotonic: Callable[[], float]
    ) -> RecordingFile:
        """
        A recording with its first chunk, so that it is known that it can be written.

        :raises RecordingFailed:
        """
        encoder = Encoder(header)
        begun = cls(spooled, encoder, monotonic)
        begun._add([encoder.begin()], in_a_hurry=False)
        try:
            begun._cut(in_a_hurry=False)
        except BaseException:
            spooled.remove()
            raise
        return begun

    def write(self, events: Iterable[Event], *, in_a_hurry: bool = False) -> None:
        """
        Write these, down to the last.

        :raises RecordingFailed: what was written before stays.
        """
        for event in merged(events):
            self._add(self._encoder.parts(event), in_a_hurry=in_a_hurry)
        if self._parts:
            self._cut(in_a_hurry=in_a_hurry)
        if self._monotonic() - self._synced >= SYNC_SECONDS:
            self.spooled.sync()
            self._synced = self._monotonic()

    def finish(self, events: Iterable[Event]) -> None:
        """
        Write these, and that the recording is whole with them.

        :raises RecordingFailed:
        """
        for event in merged(events):
            self._add(self._encoder.parts(event), in_a_hurry=False)
        self._add([self._encoder.end()], in_a_hurry=False)
        self._cut(in_a_hurry=False, is_last=True)
        self.spooled.sync()

    def _add(self, lines: list[bytes], *, in_a_hurry: bool) -> None:
        self._parts += lines
        self._size += sum(map(len, lines))
        if self._size >= CONTENT_GOAL:
            self._cut(in_a_hurry=in_a_hurry)

    def _cut(self, *, in_a_hurry: bool, is_last: bool = False) -> None:
        content = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self.spooled.append(self._packer.pack(content, is_last=is_last, in_a_hurry=in_a_hurry))


def merged(events: Iterable[Event]) -> Iterator[Event]:
    """
    These events, with what one stream carried in a moment as one.

    None carries more than an event may, so that its lines fit into a chunk.
    """
    first: Input | Output | None = None
    parts: list[bytes] = []
    size = 0
    for event in events:
        if not isinstance(event, Input | Output):
            if first is not None:
                yield evolve(first, data=b"".join(parts))
                first = None
            yield event
            continue
        for part in _parts(event):
            if first is not None and _is_one(first, part) and size + len(part.data) <= EVENT_BYTES:
                parts.append(part.data)
                size += len(part.data)
                continue
            if first is not None:
                yield evolve(first, data=b"".join(parts))
            first, parts, size = part, [part.data], len(part.data)
    if first is not None:
        yield evolve(first, data=b"".join(parts))


def _parts(event: Input | Output) -> Iterator[Input | Output]:
    if len(event.data) <= EVENT_BYTES:
        yield event
        return
    for at in range(0, len(event.data), EVENT_BYTES):
        yield evolve(event, data=event.data[at : at + EVENT_BYTES])


def _is_one(first: Input | Output, event: Input | Output) -> bool:
    if event.time - first.time >= _MERGED:
        return False
    if isinstance(first, Output) and isinstance(event, Output):
        return first.stream is event.stream
    return isinstance(first, Input) and isinstance(event, Input)
