"""
The letters on a screen: how they are put there, and how they are read.

A :class:`Canvas` is pyte's screen, made for hundreds of megabytes: plain text is
drawn a line at a time, of cells that were made before.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import pyte
import pyte.charsets
import pyte.modes
from pyte.screens import Char, StaticDefaultDict
from wcwidth import wcwidth

# Emoji of families, and letters with accents, take up to ten; a hostile text any number.
_CELL_LENGTH: Final = 16
# With the 95 letters that have a short way, below 1 MB of cells that were made before.
_COLOURS: Final = 64


class Canvas(pyte.Screen):
    """So many columns and rows of characters."""

    def __init__(self, columns: int, rows: int) -> None:
        self._last = " "
        # Cells that were made before, by their colours and then by their letters.
        self._palette: dict[Char, dict[str, Char]] = {}
        self._cells: dict[str, Char] = {}
        self._cells_of: Char | None = None
        super().__init__(columns, rows)

    @property
    def wraps(self) -> bool:
        return pyte.modes.DECAWM in self.mode

    @property
    def inserts(self) -> bool:
        return pyte.modes.IRM in self.mode

    def draw(self, data: str) -> None:
        charset = self.g1_charset if self.charset else self.g0_charset
        if charset is not pyte.charsets.LAT1_MAP:
            data = data.translate(charset)
        if data.isascii() and not self.inserts:
            self._draw_plain(data)
        else:
            for letter in data:
                self._draw_one(letter, wcwidth(letter))
        self._last = data[-1:] or self._last
        self.dirty.add(self.cursor.y)

    def _draw_plain(self, data: str) -> None:
        cursor, cells = self.cursor, self._cells_now()
        while data:
            room = self._room(1)
            piece, data = data[:room], data[room:]
            line, at = self.buffer[cursor.y], cursor.x
            for letter in piece:
                cell = cells.get(letter)
                if cell is None:
                    cell = cells[letter] = cursor.attrs._replace(data=letter)
                line[at] = cell
                at += 1
            cursor.x = at
            if data and not self.wraps:
                # All that does not fit stands in the last column, one over the other.
                data = data[-1:]

    def _cells_now(self) -> dict[str, Char]:
        attributes = self.cursor.attrs
        if self._cells_of is not attributes:
            self._cells_of = attributes
            if len(self._palette) >= _COLOURS and attributes not in self._palette:
                self._palette.clear()
            self._cells = self._palette.setdefault(attributes, {})
        return self._cells

    def _room(self, width: int) -> int:
        """Columns from the cursor on, at least so many; the line is wrapped where it has to be."""
        cursor = self.cursor
        if cursor.x + width > self.columns:
            if self.wraps:
                self.dirty.add(cursor.y)
                self.carriage_return()
                self.linefeed()
            else:
                cursor.x = max(0, self.columns - width)
        return self.columns - cursor.x

    def _draw_one(self, letter: str, width: int) -> None:
        cursor = self.cursor
        if width < 1:
            self._combine(letter)
            return
        self._room(width)
        if self.inserts:
            self.insert_characters(width)
        line = self.buffer[cursor.y]
        line[cursor.x] = cursor.attrs._replace(data=letter)
        if width == 2 and cursor.x + 1 < self.columns:
            line[cursor.x + 1] = cursor.attrs._replace(data="")
        cursor.x = min(cursor.x + width, self.columns)

    def _combine(self, letter: str) -> None:
        """Put it to the character before."""
        line, at = self.buffer[self.cursor.y], self.cursor.x - 1
        while at > 0 and not line[at].data:
            at -= 1
        if at >= 0 and len(line[at].data) < _CELL_LENGTH:
            line[at] = line[at]._replace(data=line[at].data + letter)

    # What is to be seen.

    def text(self, row: int) -> str:
        """The characters of one row, without the blanks at its end."""
        if row not in self.buffer:
            return ""
        line = self.buffer[row]
        width = self._width(line)
        text = "".join([line[column].data for column in range(width)])
        if not (text.isascii() and len(text) == width):
            text = "".join(cell.data for cell in self.cells(row))
        return text.rstrip()

    def cells(self, row: int) -> list[Char]:
        """One row as it can be painted: of a wide character that was cut nothing is left."""
        if row not in self.buffer:
            return []
        line = self.buffer[row]
        cells = [line[column] for column in range(self._width(line))]
        for column, cell in enumerate(cells):
            follows = cells[column + 1].data if column + 1 < len(cells) else " "
            is_wide = bool(cell.data) and wcwidth(cell.data[0]) == 2
            if (is_wide and follows) or (
                not cell.data and not _is_wide(cells[column - 1 : column])
            ):
                cells[column] = cell._replace(data=" ")
        return cells

    def _width(self, line: Any) -> int:
        return min(max(line, default=-1) + 1, self.columns)

    def texts(self) -> list[str]:
        """All rows."""
        return [self.text(row) for row in range(self.lines)]

    def empty(self) -> Any:
        """Rows without anything."""
        return defaultdict(lambda: StaticDefaultDict(self.default_char))

    def filled(self, buffer: Any) -> Any:
        """The same rows, to be changed here."""
        made = self.empty()
        for row, line in buffer.items():
            copied: StaticDefaultDict[int, Char] = StaticDefaultDict(line.default)
            copied.update(line)
            made[row] = copied
        return made


def _is_wide(before: list[Char]) -> bool:
    return bool(before and before[0].data) and wcwidth(before[0].data[0]) == 2
