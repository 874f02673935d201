"""
What a terminal shows after so much of a recording.

A :class:`Screen` is pyte's, with what programs use today and pyte lacks: the
alternate screen, repeated characters, scrolling, line drawing. Letters are put by
the :class:`~mezite.recording.canvas.Canvas` that it is. It understands only what a
:class:`~mezite.recording.controls.ControlFilter` lets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pyte
import pyte.charsets
import pyte.modes
from attrs import frozen

from mezite.recording.canvas import Canvas
from mezite.recording.controls import Control, Kind

# No terminal of a person is larger; a header may say 65535 by 65535.
LARGEST_COLUMNS: Final = 1000
LARGEST_ROWS: Final = 500
_ALTERNATE: Final = frozenset({47, 1047, 1049})
_MARGIN_MODES: Final = frozenset({5, 6, 7, 25})

# Each control of a CSI: what pyte calls it, and how many numbers that takes.
_CALLS: Final[Mapping[str, tuple[str, int]]] = {
    "@": ("insert_characters", 1),
    "A": ("cursor_up", 1),
    "B": ("cursor_down", 1),
    "C": ("cursor_forward", 1),
    "D": ("cursor_back", 1),
    "E": ("cursor_down1", 1),
    "F": ("cursor_up1", 1),
    "G": ("cursor_to_column", 1),
    "H": ("cursor_position", 2),
    "I": ("tabs", 1),
    "J": ("erase_in_display", 1),
    "K": ("erase_in_line", 1),
    "L": ("insert_lines", 1),
    "M": ("delete_lines", 1),
    "P": ("delete_characters", 1),
    "S": ("scroll_up", 1),
    "T": ("scroll_down", 1),
    "X": ("erase_characters", 1),
    "Z": ("back_tabs", 1),
    "`": ("cursor_to_column", 1),
    "a": ("cursor_forward", 1),
    "b": ("repeat", 1),
    "d": ("cursor_to_line", 1),
    "e": ("cursor_down", 1),
    "f": ("cursor_position", 2),
    "g": ("clear_tab_stop", 1),
    "h": ("set_mode", 8),
    "l": ("reset_mode", 8),
    "m": ("colour", 32),
    "r": ("scroll_between", 2),
    "s": ("save_cursor", 0),
    "u": ("restore_cursor", 0),
    "!p": ("soft_reset", 0),
}
_ESCAPES: Final[Mapping[str, str]] = {
    "7": "save_cursor",
    "8": "restore_cursor",
    "D": "index",
    "E": "next_line",
    "H": "set_tab_stop",
    "M": "reverse_index",
    "c": "reset",
    "#8": "alignment_display",
}
_C0: Final[Mapping[str, str]] = {
    "\x08": "backspace",
    "\t": "tab",
    "\n": "linefeed",
    "\x0b": "linefeed",
    "\x0c": "linefeed",
    "\r": "carriage_return",
    "\x0e": "shift_out",
    "\x0f": "shift_in",
}


@frozen(eq=False)
class _Kept:
    """The main screen, while the alternate one is shown."""

    buffer: Any
    savepoints: list[Any]


class Screen(Canvas):
    """
    A terminal of so many columns and rows.

    ``on_lost`` is told each line that scrolls out, as its text, and whether it
    went to where a person scrolls back; ``on_erase`` is called before lines are
    erased.
    """

    def __init__(
        self,
        columns: int,
        rows: int,
        on_lost: Callable[[str, bool], None] | None = None,
        on_erase: Callable[[], None] | None = None,
    ) -> None:
        # There is nothing to be lost yet.
        self._on_lost: Callable[[str, bool], None] | None = None
        self._on_erase: Callable[[], None] | None = None
        self._main: _Kept | None = None
        super().__init__(_side(columns, LARGEST_COLUMNS), _side(rows, LARGEST_ROWS))
        self._on_lost = on_lost
        self._on_erase = on_erase

    @property
    def is_alternate(self) -> bool:
        return self._main is not None

    def feed(self, parts: Iterable[str | Control]) -> None:
        """Do what these say."""
        for part in parts:
            if isinstance(part, str):
                self.draw(part)
            else:
                self._obey(part)

    def _obey(self, control: Control) -> None:
        name = control.name
        match control.kind:
            case Kind.C0:
                if name in _C0:
                    getattr(self, _C0[name])()
            case Kind.ESCAPE:
                if name in _ESCAPES:
                    getattr(self, _ESCAPES[name])()
                elif name[0] in "()":
                    self.define_charset(name[1], name[0])
            case Kind.CSI if name in ("?h", "?l"):
                self._private(control.numbers(), is_set=name == "?h")
            case Kind.CSI if name in _CALLS:
                method, count = _CALLS[name]
                getattr(self, method)(*control.numbers()[:count])

    # What pyte does otherwise, or not at all.

    def repeat(self, count: int = 1) -> None:
        self.draw(self._last * min(count or 1, self.columns * self.lines))

    def index(self) -> None:
        top, bottom = self.margins or (0, self.lines - 1)
        if self.cursor.y != bottom:
            self.cursor_down()
            return
        self._lose(top)
        # As pyte does it, but for rows that have nothing.
        buffer = self.buffer
        self.dirty.update(range(top, bottom + 1))
        for row in range(top, bottom):
            if row + 1 in buffer:
                buffer[row] = buffer.pop(row + 1)
            else:
                buffer.pop(row, None)
        buffer.pop(bottom, None)

    def _lose(self, row: int) -> None:
        if self._on_lost is not None:
            self._on_lost(self.text(row), row == 0 and not self.is_alternate)

    def scroll_up(self, count: int = 1) -> None:
        top, bottom = self.margins or (0, self.lines - 1)
        column, row = self.cursor.x, self.cursor.y
        self.cursor.y = bottom
        for _ in range(min(count or 1, bottom - top + 1)):
            self.index()
        self.cursor.x, self.cursor.y = column, row

    def scroll_down(self, count: int = 1) -> None:
        top, bottom = self.margins or (0, self.lines - 1)
        column, row = self.cursor.x, self.cursor.y
        self.cursor.y = top
        for _ in range(min(count or 1, bottom - top + 1)):
            self.reverse_index()
        self.cursor.x, self.cursor.y = column, row

    def scroll_between(self, top: int = 0, bottom: int = 0) -> None:
        self.set_margins(top or None, bottom or None)
        self.cursor_position()

    def tabs(self, count: int = 1) -> None:
        for _ in range(min(count or 1, self.columns)):
            self.tab()

    def back_tabs(self, count: int = 1) -> None:
        before = sorted(stop for stop in self.tabstops if stop < self.cursor.x)
        self.cursor.x = ([0] * (count or 1) + before)[-(count or 1)]

    def next_line(self) -> None:
        self.index()
        self.carriage_return()

    def colour(self, *numbers: int) -> None:
        self.select_graphic_rendition(*numbers)

    def soft_reset(self) -> None:
        self.set_margins()
        self.mode -= {pyte.modes.IRM, pyte.modes.DECOM}
        self.mode.add(pyte.modes.DECAWM)
        self.cursor.hidden = False
        self.select_graphic_rendition(0)
        self.charset = 0
        self.g0_charset = self.g1_charset = pyte.charsets.LAT1_MAP

    def reset(self) -> None:
        if self._on_erase is not None:
            self._on_erase()
        self._main = None
        super().reset()
        # pyte draws lines from SO on; terminals do only once they are told what G1 is.
        self.g1_charset = pyte.charsets.LAT1_MAP

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        if self._on_erase is not None:
            self._on_erase()
        if how in (0, 1, 2):
            super().erase_in_display(how)

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        if how in (0, 1, 2):
            super().erase_in_line(how)

    def _private(self, modes: Iterable[int], *, is_set: bool) -> None:
        for mode in modes:
            if mode in _ALTERNATE:
                self._switch(is_set, with_cursor=mode == 1049)
            elif mode == 1048:
                (self.save_cursor if is_set else self.restore_cursor)()
            elif mode in _MARGIN_MODES:
                (self.set_mode if is_set else self.reset_mode)(mode, private=True)

    def _switch(self, to_alternate: bool, *, with_cursor: bool) -> None:
        if to_alternate == self.is_alternate:
            return
        if self._on_erase is not None:
            self._on_erase()
        if to_alternate:
            if with_cursor:
                self.save_cursor()
            self._main = _Kept(self.buffer, self.savepoints)
            self.buffer = self.empty()
            self.savepoints = []
        else:
            assert self._main is not None
            self.buffer, self.savepoints = self._main.buffer, self._main.savepoints
            self._main = None
            if with_cursor:
                self.restore_cursor()
        self.dirty.update(range(self.lines))

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Another size; what no longer fits goes up, as far as the cursor needs the room."""
        lines = _side(lines or self.lines, LARGEST_ROWS)
        columns = _side(columns or self.columns, LARGEST_COLUMNS)
        if (lines, columns) == (self.lines, self.columns):
            return
        if self._on_erase is not None:
            self._on_erase()
        for _ in range(self.cursor.y - lines + 1):
            self._lose(0)
            for row in range(self.lines - 1):
                self.buffer[row] = self.buffer[row + 1]
            self.buffer.pop(self.lines - 1, None)
            self.cursor.y -= 1
        buffers = [self.buffer] if self._main is None else [self.buffer, self._main.buffer]
        for buffer in buffers:
            for row in [row for row in buffer if row >= lines]:
                del buffer[row]
            for line in buffer.values():
                for column in [column for column in line if column >= columns]:
                    del line[column]
        self.lines, self.columns = lines, columns
        self.set_margins()
        self.cursor.x = min(self.cursor.x, columns)
        self.cursor.y = min(self.cursor.y, lines - 1)
        self.dirty.update(range(lines))

    # What is to be seen.

    @property
    def has_origin(self) -> bool:
        return pyte.modes.DECOM in self.mode

    def charsets(self) -> str:
        """What chooses the sets of characters that are chosen here."""
        drawing = pyte.charsets.VT100_MAP
        first = "0" if self.g0_charset is drawing else "B"
        second = "0" if self.g1_charset is drawing else "B"
        return f"\x1b({first}\x1b){second}" + ("\x0e" if self.charset else "\x0f")

    def copy(self) -> Screen:
        """Another one that shows the same; it tells nobody."""
        made = Screen(self.columns, self.lines)
        for name in ("mode", "tabstops", "dirty"):
            setattr(made, name, set(getattr(self, name)))
        for name in ("margins", "charset", "g0_charset", "g1_charset", "_last"):
            setattr(made, name, getattr(self, name))
        made.savepoints = list(self.savepoints)
        made.buffer = made.filled(self.buffer)
        if self._main is not None:
            kept = made.filled(self._main.buffer)
            made._main = _Kept(kept, list(self._main.savepoints))
        made.cursor = _cursor(self.cursor)
        return made

    def save_cursor(self) -> None:
        # Programs that save and never restore are common: one place is kept, as terminals do.
        self.savepoints = []
        super().save_cursor()

    def restore_cursor(self) -> None:
        # It is restored as often as a program likes.
        kept = [each._replace(cursor=_cursor(each.cursor)) for each in self.savepoints]
        super().restore_cursor()
        self.savepoints = kept


def _side(given: int, largest: int) -> int:
    return max(1, min(given, largest))


def _cursor(cursor: Any) -> Any:
    made = type(cursor)(cursor.x, cursor.y, cursor.attrs)
    made.hidden = cursor.hidden
    return made
