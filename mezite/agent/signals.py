"""
Signals, as SSH and as recordings call them.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Final

# RFC 4254, section 6.10.
SIGNALS: Final[Mapping[str, signal.Signals]] = {
    name: signal.Signals[f"SIG{name}"]
    for name in (
        "ABRT",
        "ALRM",
        "FPE",
        "HUP",
        "ILL",
        "INT",
        "KILL",
        "PIPE",
        "QUIT",
        "SEGV",
        "TERM",
        "USR1",
        "USR2",
    )
}
# The other way round, for what SSH has a name for.
WIRE_NAMES: Final[Mapping[int, str]] = {int(number): name for name, number in SIGNALS.items()}


def signal_name(number: int) -> str:
    """Without ``SIG``; the number, if it has no name."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
