"""
A pattern looked for in the lines of a recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from attrs import frozen

from mezite.recording.events import Event, Header
from mezite.recording.lines import SeenLine, SeenLines

CONTEXT_LINES: Final = 100

# Where in a line the pattern was found: begin and end, for each place; none if nowhere.
Match = Callable[[str], list[tuple[int, int]]]


@frozen
class Found:
    """
    A line that is shown: one with matches, or one beside such.

    ``is_apart`` tells that lines were left out before it.
    """

    line: SeenLine
    places: tuple[tuple[int, int], ...]
    is_apart: bool


class LineSearch:
    """
    One recording being searched.

    :param context: so many lines before and after each match are found, too.
    """

    def __init__(self, header: Header, match: Match, context: int = 0) -> None:
        self._lines = SeenLines(header)
        self._match = match
        self._context = min(context, CONTEXT_LINES)
        self._before: deque[SeenLine] = deque(maxlen=self._context)
        self._after = 0
        self._has_gap = False
        self._has_found = False

    def receive(self, event: Event) -> list[Found]:
        return list(self._search(self._lines.receive(event)))

    def finish(self) -> list[Found]:
        return list(self._search(self._lines.finish()))

    def _search(self, lines: Iterable[SeenLine]) -> Iterator[Found]:
        for line in lines:
            places = self._match(line.text)
            if places:
                is_apart = self._has_gap and self._has_found and self._context > 0
                self._has_gap, self._has_found = False, True
                for before in self._before:
                    yield Found(before, (), is_apart)
                    is_apart = False
                self._before.clear()
                self._after = self._context
                yield Found(line, tuple(places), is_apart)
            elif self._after:
                self._after -= 1
                yield Found(line, (), False)
            else:
                if len(self._before) == self._context:
                    self._has_gap = True
                self._before.append(line)
