"""
A recording's events made visible: as text for a terminal, and as what is on a screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mezite.recording.controls import ControlFilter
from mezite.recording.events import Caption, Event, Header, Output, Resized
from mezite.recording.screen import Screen

_COLOURS: Final = ("black", "red", "green", "brown", "blue", "magenta", "cyan", "white")
_CODES: Final[Mapping[str, str]] = {
    **{name: str(code) for code, name in enumerate(_COLOURS)},
    "default": "9",
}
_LOOKS: Final = (
    ("bold", "1"),
    ("italics", "3"),
    ("underscore", "4"),
    ("blink", "5"),
    ("reverse", "7"),
    ("strikethrough", "9"),
)
# To where a terminal that has played anything is as it was; the screen is left as it is.
AFTERWARDS: Final = (
    "\x1b[!p\x1b[?1049l\x1b[?5l\x1b[?7h\x1b[?25h\x1b(B\x1b)B\x0f\x1b[r\x1b[m\x1b[0 q"
)


def terminal_text(event: Event, header: Header) -> str:
    """What this wrote on a person's terminal; not yet harmless."""
    match event:
        case Caption(text=text):
            return text
        case Output(shown=str() as shown):
            return shown
        case Output(data=data):
            text = data.decode("utf-8", "replace")
            return text if header.has_terminal else text.replace("\n", "\r\n")
    return ""


class Rendering:
    """
    The screen after the events until now.

    ``on_lost`` and ``on_erase`` are those of :class:`~mezite.recording.screen.Screen`.
    """

    def __init__(
        self,
        header: Header,
        on_lost: Callable[[str, bool], None] | None = None,
        on_erase: Callable[[], None] | None = None,
    ) -> None:
        self._header = header
        self.filter = ControlFilter()
        self.screen = Screen(header.columns, header.rows, on_lost, on_erase)

    def receive(self, event: Event) -> int:
        """One more event; how many characters that was, as a measure of work."""
        if isinstance(event, Resized):
            self.screen.resize(event.rows, event.columns)
            return 0
        text = terminal_text(event, self._header)
        self.screen.feed(self.filter.receive(text))
        return len(text)

    def copy(self) -> Rendering:
        """Another one at the same place."""
        made = Rendering(self._header)
        made.filter, made.screen = self.filter.copy(), self.screen.copy()
        return made


def repainted(screen: Screen) -> str:
    """What makes a terminal show this screen, and go on from there."""
    parts = [AFTERWARDS, "\x1b[?1049h" if screen.is_alternate else "", "\x1b[H\x1b[2J"]
    # Drawn line by line, so that nothing wraps.
    parts.append("\x1b[?7l")
    for row in range(screen.lines):
        cells = screen.cells(row)
        if not cells:
            continue
        looks = ""
        drawn = [f"\x1b[{row + 1}H\x1b[m"]
        for cell in cells:
            if cell.data and (now := _look(cell)) != looks:
                drawn.append(f"\x1b[{now}m")
                looks = now
            drawn.append(cell.data)
        parts += drawn
    parts.append(_state(screen))
    return "".join(parts)


def _state(screen: Screen) -> str:
    """Margins, modes, and the cursor."""
    parts = []
    if screen.margins is not None:
        parts.append(f"\x1b[{screen.margins.top + 1};{screen.margins.bottom + 1}r")
    top = screen.margins.top if screen.margins is not None and screen.has_origin else 0
    row, column = screen.cursor.y - top + 1, min(screen.cursor.x, screen.columns - 1)
    if screen.has_origin:
        parts.append("\x1b[?6h")
    parts.append(f"\x1b[{row};{column + 1}H")
    if screen.cursor.x >= screen.columns:
        # The next character wraps: what stands in the last column is written again.
        cells = screen.cells(screen.cursor.y)
        last = cells[column] if column < len(cells) else screen.default_char
        if not last.data:
            last = cells[column - 1]
            parts.append(f"\x1b[{row};{column}H")
        parts.append(f"\x1b[?7h\x1b[{_look(last)}m{last.data}")
        parts.append("" if screen.wraps else "\x1b[?7l")
    if screen.wraps:
        parts.append("\x1b[?7h")
    if screen.inserts:
        parts.append("\x1b[4h")
    parts.append(f"\x1b[{_look(screen.cursor.attrs)}m")
    parts.append(screen.charsets())
    parts.append("\x1b[?25l" if screen.cursor.hidden else "")
    return "".join(parts)


def _look(cell: Any) -> str:
    codes = ["0", *(code for name, code in _LOOKS if getattr(cell, name))]
    return ";".join([*codes, *_colour("3", cell.fg), *_colour("4", cell.bg)])


def _colour(ground: str, name: str) -> list[str]:
    if name == "default":
        return []
    if name in _CODES:
        return [ground + _CODES[name]]
    # pyte writes one of these with a slip of its own.
    bright = name.removeprefix("bright").removeprefix("bfight")
    if bright != name:
        return [("9" if ground == "3" else "10") + _CODES[bright]]
    try:
        red, green, blue = (int(name[at : at + 2], 16) for at in (0, 2, 4))
    except ValueError:
        return []
    return [ground + "8", "2", str(red), str(green), str(blue)]
