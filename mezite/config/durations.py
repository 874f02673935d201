"""
Lengths of time as people write them: ``90s``, ``30m``, ``12h``, ``1h30m``.
"""

from __future__ import annotations

import re
from typing import Final

from mezite.error import BadInput

_DURATION: Final = re.compile(r"(?:[0-9]+[smhdw])+")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> float:
    """
    Read ``90s``, ``30m``, ``12h``, ``7d`` or ``1h30m``, as seconds.

    :raises BadInput:
    """
    if not _DURATION.fullmatch(text) or len(text) > 32:
        raise BadInput(f"{text[:40]!r} is not a duration: write 90s, 30m, 12h or 7d")
    parts = re.findall(r"([0-9]+)([smhdw])", text)
    seconds = float(sum(int(number) * _UNIT_SECONDS[unit] for number, unit in parts))
    if seconds <= 0:
        raise BadInput("a duration is longer than nothing")
    return seconds


def parse_duration_between(text: str, shortest: str, longest: str) -> float:
    """
    A duration within these bounds.

    :raises BadInput:
    """
    seconds = parse_duration(text)
    if not parse_duration(shortest) <= seconds <= parse_duration(longest):
        raise BadInput(f"{text} is not between {shortest} and {longest}")
    return seconds
