"""
The lines of a recording, as a person saw them.

:class:`Transcript` is what the terminal was left with, and what can be scrolled
back to. :class:`SeenLines` is every line that was to be seen at any time, once:
also what scrolled by, was overwritten, or stood on the alternate screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from mezite.recording.controls import Control, ControlFilter
from mezite.recording.events import Caption, Event, Header, Output, Resized
from mezite.recording.rendering import Rendering, terminal_text

# A line of a command's output, of which there need not be an end.
_LINE_LENGTH: Final = 16 * 1024
# What has gone from the screen and comes back within this time had only been painted anew.
_AWAY: Final = 1_000_000
# Rows of a few large screens; when there are more, the oldest are really gone.
_AWAY_LINES: Final = 2048
# Programs paint in pieces: what was on the screen for less than this is no line yet.
_SETTLED: Final = 50_000


class Transcript:
    """What stood on the terminal, from the top of what can be scrolled back to."""

    def __init__(self, header: Header) -> None:
        self._gone: list[str] = []
        self._rendering = Rendering(header, on_lost=self._lost)

    def _lost(self, text: str, can_be_scrolled_to: bool) -> None:
        if can_be_scrolled_to:
            self._gone.append(text)

    def receive(self, event: Event) -> list[str]:
        """One more event; the lines that went up out of the screen."""
        self._rendering.receive(event)
        gone, self._gone = self._gone, []
        return gone

    def finish(self) -> list[str]:
        """What is on the screen in the end."""
        texts = self._rendering.screen.texts()
        while texts and not texts[-1]:
            texts.pop()
        return texts


@frozen
class SeenLine:
    """A line, and the time in microseconds at which it was first seen like this."""

    time: int
    text: str


class SeenLines:
    """All lines that were to be seen, each once it is gone or has reached its final form."""

    def __init__(self, header: Header) -> None:
        self._lines: _PlainLines | _ScreenLines
        self._lines = _ScreenLines(header) if header.has_terminal else _PlainLines(header)

    def receive(self, event: Event) -> list[SeenLine]:
        """One more event; the lines that are known to be over now."""
        return list(self._lines.receive(event))

    def finish(self) -> list[SeenLine]:
        """What was still to be seen in the end."""
        return list(self._lines.finish())


class _PlainLines:
    """The lines of what had no terminal: what was written, without colours."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._filter = ControlFilter()
        self._line = ""
        self._began = 0

    def receive(self, event: Event) -> Iterator[SeenLine]:
        if not isinstance(event, Output | Caption):
            return
        for part in self._filter.receive(terminal_text(event, self._header)):
            if isinstance(part, Control):
                # A bar of progress goes back to the left, and is another line then.
                if part.name in "\n\r\x0b\x0c":
                    yield from self.finish()
                elif part.name == "\t":
                    self._line += "\t"
                continue
            if not self._line:
                self._began = event.time
            for at in range(0, len(part), _LINE_LENGTH):
                self._line += part[at : at + _LINE_LENGTH]
                if len(self._line) >= _LINE_LENGTH:
                    yield from self.finish()

    def finish(self) -> Iterator[SeenLine]:
        line, self._line = self._line, ""
        if line.strip():
            yield SeenLine(self._began, line)


class _ScreenLines:
    """
    The lines of a terminal.

    Each row of the screen is looked at when it has settled. A line that only
    grows is one line; one that is elsewhere on the screen now has moved.
    """

    def __init__(self, header: Header) -> None:
        self._rendering = Rendering(header, self._lost, self._look)
        self._time = 0
        self._looked = 0
        # What each row showed when it was looked at.
        self._rows: list[SeenLine | None] = []
        # The same of the main screen, while the alternate one is shown.
        self._main_rows: list[SeenLine | None] | None = None
        # Lines that are gone, by their text, with when they went; in that order.
        self._away: dict[str, tuple[SeenLine, int]] = {}
        self._found: list[SeenLine] = []

    def receive(self, event: Event) -> list[SeenLine]:
        if not isinstance(event, Output | Caption | Resized):
            return []
        if event.time - self._looked >= _SETTLED:
            # What was painted until now has been seen.
            self._look()
            self._looked = event.time
        self._time = event.time
        self._rendering.receive(event)
        self._let_go(event.time - _AWAY)
        found, self._found = self._found, []
        return found

    def finish(self) -> list[SeenLine]:
        self._look()
        self._let_go(self._time + 1)
        rows = [*(self._main_rows or ()), *self._rows]
        left = [line for line in rows if line is not None]
        self._rows, self._main_rows = [], None
        found, self._found = self._found + left, []
        return found

    def _let_go(self, until: int) -> None:
        while self._away:
            text = next(iter(self._away))
            line, went = self._away[text]
            if went >= until and len(self._away) <= _AWAY_LINES:
                break
            del self._away[text]
            self._found.append(line)

    def _lost(self, text: str, can_be_scrolled_to: bool) -> None:
        """The topmost line of what scrolls goes, and all others move."""
        self._follow()
        screen = self._rendering.screen
        top, bottom = screen.margins or (0, screen.lines - 1)
        rows = self._rows
        known = rows[top] if top < len(rows) else None
        if top < len(rows):
            del rows[top]
            rows.insert(min(bottom, len(rows)), None)
        line = _final(known, text, self._time)
        if known is not None and known is not line and line is not None:
            self._went(known)
        if line is None:
            return
        if can_be_scrolled_to:
            # It can be seen as long as the terminal is there; the same line again is another.
            self._away.pop(line.text, None)
            self._found.append(line)
        else:
            self._went(line)

    def _went(self, line: SeenLine) -> None:
        if line.text not in self._away:
            self._away[line.text] = (line, self._time)

    def _follow(self) -> None:
        """Between the main screen and the alternate one; each was looked at before it went."""
        is_alternate = self._rendering.screen.is_alternate
        if is_alternate == (self._main_rows is not None):
            return
        if is_alternate:
            self._rows, self._main_rows = [], self._rows
            return
        for line in self._rows:
            if line is not None:
                self._went(line)
        self._rows, self._main_rows = self._main_rows or [], None

    def _look(self) -> None:
        """Compare what the screen shows with what it showed."""
        self._follow()
        screen = self._rendering.screen
        dirty = {row for row in screen.dirty if row < screen.lines}
        screen.dirty.clear()
        rows = self._rows
        surplus = rows[screen.lines :]
        del rows[screen.lines :]
        rows += [None] * (screen.lines - len(rows))
        gone = [line for line in surplus if line is not None]
        fresh: list[tuple[int, str]] = []
        for row in sorted(dirty):
            text, known = screen.text(row), rows[row]
            if known is not None and known.text == text:
                continue
            if known is not None and not _grew(known.text, text):
                gone.append(known)
            rows[row] = None
            if text:
                fresh.append((row, text))
        moved = {line.text: line for line in gone}
        for row, text in fresh:
            known = moved.pop(text, None)
            if known is None and text in self._away:
                known, _ = self._away.pop(text)
            rows[row] = known or SeenLine(self._time, text)
        for line in gone:
            if line.text in moved:
                self._went(line)


def _grew(before: str, after: str) -> bool:
    return len(after) > len(before) and after.startswith(before)


def _final(known: SeenLine | None, text: str, now: int) -> SeenLine | None:
    """The line that stands there now, after this was known of it."""
    if known is not None and known.text == text:
        return known
    return SeenLine(now, text) if text else None
