"""
How long an agent waits before it tries the hub again.

Full jitter: every wait is drawn between nothing and a ceiling that grows, so
that ten thousand agents that lost one hub do not come back in one second.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.5
FACTOR: Final = 1.5
LONGEST: Final = 30.0
# A machine that refuses connections is there, and its hub is not: it is being
# restarted. Being refused costs it one packet, and agents are back within
# seconds of the port's opening. One that answers late or badly is overloaded,
# and then the ceiling grows on.
LONGEST_REFUSED: Final = 3.0
# However long the dial itself took, so that waits still differ.
SHORTEST: Final = 1.0


def ceiling(failures: int, *, was_refused: bool = False, spent: float = 0.0) -> float:
    """
    The most seconds to wait after so many failures in a row, the first being 0.

    ``spent`` is how long ago the dial that failed began. A network may return
    right behind its beginning, and what is bounded is the time until the next one's.
    """
    # 1.5 ** 20 is far beyond the longest; large powers overflow.
    grown: float = FIRST * FACTOR ** min(failures, 20)
    longest = LONGEST_REFUSED if was_refused else max(SHORTEST, LONGEST - spent)
    return min(longest, grown)
