"""
A worker's log, on its way to the hub's: one JSON object a line, through a pipe.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText, formatEvent
from zope.interface import implementer

# What may wait for the hub to read it: the pipe has as much again. A worker never waits for it.
_WAITING: Final = 256 * 1024
_RETRY_SECONDS: Final = 0.1
# One event with a traceback; what is longer is cut.
_LINE: Final = 16 * 1024


@implementer(ILogObserver)
@define(eq=False)
class LinePipe:
    """The worker's end: an observer that writes to a pipe and never waits."""

    _fd: int
    _clock: IReactorTime
    _least: LogLevel
    _waiting: bytes = field(init=False, default=b"")
    _lost: int = field(init=False, default=0)
    _is_retrying: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        os.set_blocking(self._fd, False)

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        if level < self._least:
            return
        text = formatEvent(event)
        if event.get("log_failure") is not None:
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        line = json.dumps(
            {
                "level": level.name,
                "namespace": str(event.get("log_namespace", "-")),
                "text": text[: _LINE // 4],
            }
        )
        if len(self._waiting) > _WAITING:
            self._lost += 1
            return
        self._waiting += line.encode("ascii") + b"\n"
        self._write()

    def _write(self) -> None:
        try:
            self._waiting = self._waiting[os.write(self._fd, self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            # The hub is gone, and so is this process in a moment.
            self._waiting = b""
        if self._waiting and not self._is_retrying:
            self._is_retrying = True
            self._clock.callLater(_RETRY_SECONDS, self._retry)
        elif not self._waiting and self._lost:
            lost, self._lost = self._lost, 0
            Logger().warn("{lost} lines of the log were lost", lost=lost)

    def _retry(self) -> None:
        self._is_retrying = False
        self._write()


@define(eq=False)
class LineReader:
    """The hub's end: lines of one worker, said again in the hub's log."""

    _name: str
    _data: bytes = field(init=False, default=b"")

    def receive(self, data: bytes) -> None:
        """These bytes came through the pipe."""
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._data) > 4 * _LINE:
            self._say(self._data)
            self._data = b""

    def _say(self, line: bytes) -> None:
        level, namespace, text = LogLevel.warn, "mezite.hub.workers", ""
        try:
            entry: Any = json.loads(line)
            level = LogLevel.levelWithName(entry["level"])
            namespace, text = str(entry["namespace"]), str(entry["text"])
        except Exception:
            # Something that Python itself said, as it does before it ends.
            text = line.decode("utf-8", "replace")
        if text.strip():
            Logger(namespace=namespace).emit(
                level, "{worker}: {text}", worker=self._name, text=text
            )
