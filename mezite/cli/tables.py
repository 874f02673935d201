"""
Rows for people and for programs: a table, or a JSON array of objects.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

from attrs import field, frozen

# Wide enough that a table in a pipe is never folded; rich allocates by content.
_UNFOLDED_WIDTH: Final = 10_000


@frozen
class Column:
    """
    One key of the rows, and how people read it.

    JSON always has the value of the row as it is, under ``key``.
    """

    key: str
    title: str = field()
    text: Callable[[object], str] = field(default=lambda value: cell(value))

    @title.default
    def _title_from_key(self) -> str:
        return self.key.replace("_", " ")


def print_rows(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str | Column],
    output_format: str = "text",
    *,
    file: TextIO | None = None,
) -> None:
    """
    Print one line, or one object, for each row.

    Every row has every column's key. Values are what JSON has; a mapping of
    labels is read as ``key=value``, ``None`` as a dash.
    """
    out = sys.stdout if file is None else file
    shown = [column if isinstance(column, Column) else Column(column) for column in columns]
    if output_format == "json":
        objects = [{column.key: row[column.key] for column in shown} for row in rows]
        json.dump(objects, out, indent=2, ensure_ascii=False)
        out.write("\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(column.title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.text(row[column.key])) for column in shown))
    if out.isatty():
        Console(file=out, highlight=False, emoji=False).print(table)
        return
    drawn = io.StringIO()
    Console(file=drawn, width=_UNFOLDED_WIDTH, highlight=False, emoji=False).print(table)
    # rich fills every line up to the width of the table.
    out.writelines(line.rstrip(" ") + "\n" for line in drawn.getvalue().splitlines())


def cell(value: object) -> str:
    """A value as people read it, without characters that move a cursor."""
    if value is None or value == "" or value == {} or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return cell(" ".join(f"{key}={value[key]}" for key in sorted(value)))
    if isinstance(value, list | tuple):
        return cell(" ".join(str(each) for each in value))
    text = str(value)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def timestamp(moment: float | None) -> str | None:
    """POSIX seconds as RFC 3339 in UTC: how times stand in JSON."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``11h 59m``."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def ago(now: float) -> Callable[[object], str]:
    """How a column of :func:`timestamp` texts is read: as time gone by."""

    def text(value: object) -> str:
        if not isinstance(value, str):
            return "never" if value is None else cell(value)
        return f"{duration(now - datetime.fromisoformat(value).timestamp())} ago"

    return text


def until(now: float) -> Callable[[object], str]:
    """How a column of :func:`timestamp` texts is read: as time that is left."""

    def text(value: object) -> str:
        if not isinstance(value, str):
            return cell(value)
        left = datetime.fromisoformat(value).timestamp() - now
        return f"in {duration(left)}" if left > 0 else f"{duration(-left)} ago"

    return text


def is_coloured(file: TextIO) -> bool:
    """Whether colours are seen, and wanted (https://no-color.org)."""
    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
