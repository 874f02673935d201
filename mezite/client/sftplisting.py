"""
What ``ls`` and ``df`` of ``msh sftp`` print.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable, Sequence

from attrs import frozen

from mezite.client.copysides import readable
from mezite.client.sftpfiles import FileSystem
from mezite.ssh.sftpfields import Attributes

_HALF_A_YEAR = 183 * 86400


@frozen
class Row:
    """One file; the long name is the node's own ``ls -l`` of it, where it gave one."""

    name: str
    attributes: Attributes
    long_name: str = ""


def arranged(rows: Iterable[Row], flags: frozenset[str]) -> list[Row]:
    """Those that are shown, in the order in which they are."""
    shown = [row for row in rows if "a" in flags or not row.name.startswith(".")]
    if "f" in flags:
        return shown
    shown.sort(key=lambda row: row.name)
    if "t" in flags:
        shown.sort(key=lambda row: -(row.attributes.times or (0, 0))[1])
    elif "S" in flags:
        shown.sort(key=lambda row: -(row.attributes.size or 0))
    return shown[::-1] if "r" in flags else shown


def listing(rows: Sequence[Row], flags: frozenset[str], *, width: int | None, now: float) -> str:
    """Long lines, or names in columns; ``width`` is the terminal's, if there is one."""
    if flags & frozenset("ln"):
        return "\n".join(_long(row, flags, now) for row in rows)
    names = [readable(row.name) for row in rows]
    if "1" in flags or width is None:
        return "\n".join(names)
    return _columns(names, width)


def _long(row: Row, flags: frozenset[str], now: float) -> str:
    if row.long_name and not flags & frozenset("hn"):
        return readable(row.long_name)
    size, owner, permissions, times = row.attributes
    uid, gid = ("?", "?") if owner is None else map(str, owner)
    mode = "?" * 10 if permissions is None else stat.filemode(permissions)
    shown = "?" if size is None else human(size) if "h" in flags else str(size)
    when = " " * 12 if times is None else _moment(times[1], now)
    return f"{mode}    ? {uid:<8} {gid:<8} {shown:>12} {when} {readable(row.name)}"


def _moment(moment: int, now: float) -> str:
    is_recent = -3600 < now - moment < _HALF_A_YEAR
    return time.strftime("%b %e %H:%M" if is_recent else "%b %e  %Y", time.localtime(moment))


def _columns(names: Sequence[str], width: int) -> str:
    if not names:
        return ""
    widest = max(map(len, names)) + 2
    columns = max(1, width // widest)
    rows = -(-len(names) // columns)
    lines = []
    for row in range(rows):
        line = "".join(f"{name:<{widest}}" for name in names[row::rows])
        lines.append(line.rstrip())
    return "\n".join(lines)


def human(size: int) -> str:
    """A size in the largest unit that leaves something of it: ``1.5M``."""
    amount = float(size)
    for unit in "BKMGTP":
        if amount < 1000:
            return f"{amount:.0f}{unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.0f}E"


def disk_free(found: FileSystem, flags: frozenset[str]) -> str:
    """A table of one line, as ``df`` prints it."""
    if "i" in flags:
        total, free = found.files, found.free_files
        numbers = [total, total - free, free, free]
        heads = ["Inodes", "Used", "Avail", "(root)"]
        cells = [str(number) for number in numbers]
    else:
        free = found.available
        total = found.blocks - found.free + found.available
        numbers = [found.blocks, found.blocks - found.free, found.available, found.free]
        heads = ["Size", "Used", "Avail", "(root)"]
        cells = [
            human(number * found.unit) if "h" in flags else str(number * found.unit // 1024)
            for number in numbers
        ]
    share = f"{100 - 100 * free // total if total else 0}%"
    rows = [[*heads, "%Capacity"], [*cells, share]]
    return "\n".join("".join(f"{cell:>13}" for cell in row) for row in rows)
