"""
A recording in a file, which can be read from any moment on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import IO, Final

from mezite.recording.error import BadRecording
from mezite.recording.events import Event, Header
from mezite.recording.format import LINE_LIMIT, Decoder

_READ: Final = 64 * 1024
# A place to begin from in every so many bytes: 16 MB of places would be for 40 GB.
_MARK_BYTES: Final = 256 * 1024
_HEADER_LINE: Final = LINE_LIMIT + 1


class Tape:
    """
    The events of one recording, an asciicast in a file that can be sought in.

    It is read once, to learn how long it is; what stops in the middle of an
    event ends with the event before.

    :raises BadRecording:
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        self._first = file.readline(_HEADER_LINE)
        found = Decoder().receive(self._first)
        if len(found) != 1 or not isinstance(found[0], Header):
            raise BadRecording("this is no recording")
        self.header = found[0]
        # Times and offsets of places at which an event begins.
        self._times: list[int] = []
        self._offsets: list[int] = []
        self.duration = 0
        for event in self._read(len(self._first), marks=True):
            self.duration = event.time

    def after(self, time: int) -> Iterator[Event]:
        """
        All that came later than this, in microseconds; from -1 it is everything.

        Several can be read at the same time.
        """
        place = bisect_left(self._times, time) - 1
        offset = self._offsets[place] if place >= 0 else len(self._first)
        for event in self._read(offset):
            if event.time > time:
                yield event

    def _read(self, offset: int, *, marks: bool = False) -> Iterator[Event]:
        decoder = Decoder()
        decoder.receive(self._first)
        marked = 0
        while True:
            self._file.seek(offset)
            lines = self._file.readlines(_READ)
            if not lines or not lines[-1].endswith(b"\n"):
                lines = lines[:-1]
            if not lines:
                return
            for line in lines:
                for event in decoder.receive(line):
                    assert not isinstance(event, Header)
                    yield event
                    # Behind an event, so that nothing is taken from the bytes that announce it.
                    if marks and offset + len(line) - marked >= _MARK_BYTES:
                        marked = offset + len(line)
                        self._times.append(event.time)
                        self._offsets.append(marked)
                offset += len(line)
