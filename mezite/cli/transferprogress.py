"""
How far copies have come, on a terminal.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from attrs import define
from zope.interface import implementer

from mezite.client.copysides import readable
from mezite.client.copytree import IMeter, IProgress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@implementer(IMeter, IProgress)
class NoProgress:
    """Nobody looks."""

    def begin(self, name: str) -> IMeter:
        return self

    def grow(self, count: int) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Write a line, where this is shown."""
        import sys

        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@implementer(IProgress)
class TerminalProgress:
    """A line for each file or tree that was asked for: its share, its rate, what is left."""

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._rich: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(file=file, highlight=False, emoji=False),
            expand=True,
            # Each drawing takes as long as a megabyte on its way.
            refresh_per_second=5,
        )

    def __enter__(self) -> TerminalProgress:
        self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._rich.stop()

    def begin(self, name: str) -> IMeter:
        return _Meter(self._rich, self._rich.add_task(readable(name), total=0))

    def say(self, text: str) -> None:
        from rich.text import Text

        self._rich.console.print(Text(text), soft_wrap=True)


@implementer(IMeter)
@define(eq=False)
class _Meter:
    rich: Progress
    task: TaskID
    total: int = 0
    done: int = 0

    def grow(self, count: int) -> None:
        self.total += count
        self.rich.update(self.task, total=self.total)

    def advance(self, count: int) -> None:
        self.done += count
        self.rich.update(self.task, completed=self.done)

    def end(self) -> None:
        # A file that was there already, or an empty one, has come all the way too.
        self.rich.update(self.task, total=max(self.total, self.done))
        self.rich.stop_task(self.task)


def progress_on(file: TextIO, *, quiet: bool) -> Any:
    """What shows progress here: nothing, unless this is a terminal."""
    if quiet or not file.isatty():
        return NoProgress()
    return TerminalProgress(file)
