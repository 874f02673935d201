"""
A session seen as it goes on, by somebody who only looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.task import deferLater

from mezite.client.recordings import RecordingReader
from mezite.recording.controls import ControlFilter
from mezite.recording.error import BadRecording
from mezite.recording.events import Event, Header, Resized
from mezite.recording.format import Decoder
from mezite.recording.rendering import Rendering, repainted, terminal_text

# The node sends what it has twice a second; with this, nobody is more than a second behind.
POLL_SECONDS: Final = 0.3
# Where nothing has been written for a while.
_IDLE_POLLS: Final = 30
_IDLE_SECONDS: Final = 0.5


class Watching:
    """
    What one watcher is shown.

    :param write: is given text that is harmless.
    :param on_header: is told what the recording is of.
    :param from_start: show all that was written before, too.
    """

    def __init__(
        self,
        reader: RecordingReader,
        write: Callable[[str], None],
        on_header: Callable[[Header], None] = lambda header: None,
        *,
        from_start: bool = False,
    ) -> None:
        self._reader = reader
        self._write = write
        self._on_header = on_header
        self._decoder = Decoder()
        self._header: Header | None = None
        self._filter = ControlFilter()
        # Until we are where the session is now, unless all is to be shown.
        self._catching_up = not from_start
        self._rendering: Rendering | None = None

    async def watch(self, reactor: Any) -> None:
        """Until the session, or what is recorded of it, has ended."""
        idle = 0
        while True:
            chunks = await self._reader.more()
            if not chunks:
                self._caught_up()
                if self._reader.is_over:
                    return
                idle += 1
                wait = POLL_SECONDS if idle < _IDLE_POLLS else _IDLE_SECONDS
                await deferLater(reactor, wait, lambda: None)
                continue
            idle = 0
            for chunk in chunks:
                for each in self._decoder.receive(chunk.content()):
                    self._take(each)
                # Keys are heard between the chunks of a long past.
                await deferLater(reactor, 0, lambda: None)

    def _take(self, each: Header | Event) -> None:
        if isinstance(each, Header):
            self._header = each
            self._on_header(each)
            self._rendering = Rendering(each)
            return
        if self._header is None or self._rendering is None:
            raise BadRecording("this is no recording")
        if self._catching_up:
            self._rendering.receive(each)
        elif not isinstance(each, Resized):
            self._write(self._filter.clean(terminal_text(each, self._header)))

    def _caught_up(self) -> None:
        if not self._catching_up:
            return
        self._catching_up = False
        rendering = self._rendering
        if rendering is not None and self._header is not None:
            self._filter = rendering.filter.copy()
            if self._header.has_terminal:
                self._write(repainted(rendering.screen))
