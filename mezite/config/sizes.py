"""
Sizes as people write them: ``512MiB``, ``10GiB``, ``0``.
"""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB|TiB)?")
_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_LARGEST: Final = 1 << 60


def parse_size(text: str) -> int:
    """
    Read ``512MiB``, ``10GiB`` or ``0``, as bytes.

    :raises ValueError:
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("a size is expected, such as 512MiB, 10GiB or 0")
    size = int(match[1]) * _UNITS[match[2] or "B"]
    if size > _LARGEST:
        raise ValueError("it is larger than any disk")
    return size
