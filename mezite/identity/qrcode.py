"""
A link as a QR code, for a terminal and for a page.
"""

from __future__ import annotations

from typing import Final

import segno

# ISO/IEC 18004 asks for four; two are what every scanner is content with.
_BORDER: Final = 2
# Black on white whatever the terminal's colours are, since few scanners read the reverse.
_COLOURS: Final = "\x1b[38;5;16m\x1b[48;5;231m"
_END: Final = "\x1b[0m"
# Two modules in a character: the upper dark or light, the lower dark or light.
_BLOCKS: Final = {
    (False, False): " ",
    (True, False): "\N{UPPER HALF BLOCK}",
    (False, True): "\N{LOWER HALF BLOCK}",
    (True, True): "\N{FULL BLOCK}",
}


def terminal_text(link: str) -> str:
    """Lines to be printed; about 25 of 50 columns for the link of an enrolment."""
    rows = [
        [bool(module) for module in row]
        for row in segno.make(link, micro=False, error="m").matrix_iter(border=_BORDER)
    ]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    lines = (
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )
    return "\n".join(f"{_COLOURS}{line}{_END}" for line in lines)


def svg(link: str) -> str:
    """An ``<svg>`` element for a page, without any script, style or reference."""
    return segno.make(link, micro=False, error="m").svg_inline(
        scale=5, border=_BORDER, dark="#000", light="#fff", title="QR code"
    )
