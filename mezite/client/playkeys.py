"""
The keys of a person who watches a recording, and the line that tells where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from mezite.recording.player import SECOND, Player, State

_SEEK_SECONDS: Final = 5
_FASTER: Final = 1.5
# An arrow, in either mode of a terminal's keys, or any other sequence; or one key.
_KEY: Final = re.compile(rb"\x1b[\[O][0-9;]*[@-~]|[\xc0-\xff][\x80-\xbf]*|.", re.DOTALL)

Act = Callable[[Player, float], object]


def _to_tenth(tenth: int) -> Act:
    return lambda player, now: player.seek(player.duration * tenth // 10, now)


KEYS: Final[Mapping[bytes, Act]] = {
    b" ": lambda player, now: player.toggle(now),
    b".": lambda player, now: player.step(now),
    b"+": lambda player, now: player.change_speed(_FASTER, now),
    b"=": lambda player, now: player.change_speed(_FASTER, now),
    b"-": lambda player, now: player.change_speed(1 / _FASTER, now),
    b"\x1b[C": lambda player, now: player.seek_by(_SEEK_SECONDS, now),
    b"\x1bOC": lambda player, now: player.seek_by(_SEEK_SECONDS, now),
    b"\x1b[D": lambda player, now: player.seek_by(-_SEEK_SECONDS, now),
    b"\x1bOD": lambda player, now: player.seek_by(-_SEEK_SECONDS, now),
    b"g": lambda player, now: player.seek(0, now),
    b"G": lambda player, now: player.seek(player.duration, now),
    b"\x0c": lambda player, now: player.repaint(now),
    b"q": lambda player, now: player.quit(),
    **{str(tenth).encode(): _to_tenth(tenth) for tenth in range(10)},
}
INTERRUPT: Final = b"\x03"
SUSPEND: Final = b"\x1a"


def keys(data: bytes) -> list[bytes]:
    """What was typed, key by key; a terminal sends each whole."""
    return _KEY.findall(data)


def status(player: Player, now: float, size: tuple[int, int], recorded: tuple[int, int]) -> str:
    """Where the player is, in a line that fits ``size``, of columns and rows."""
    if player.is_seeking:
        state = "seeking"
    elif player.time(now) >= player.duration:
        state = "end"
    else:
        state = "paused" if player.state is State.PAUSED else "playing"
    parts = [f" {state} {clock(player.time(now))} / {clock(player.duration)}"]
    if player.speed != 1:
        parts.append(f"speed {player.speed:.3g}")
    if recorded[0] > size[0] or recorded[1] > size[1]:
        parts.append(f"recorded at {recorded[0]}x{recorded[1]}, here {size[0]}x{size[1]}")
    parts.append(
        "space plays   . steps   \N{LEFTWARDS ARROW} \N{RIGHTWARDS ARROW} 0-9 seek   q quits "
    )
    return "   ".join(parts)[: size[0]].ljust(size[0])


def clock(time: int) -> str:
    """Microseconds as people read a clock: ``1:02:03``."""
    minutes, seconds = divmod(time // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
