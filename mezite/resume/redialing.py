"""
When a client that was cut dials again, and when it does not any more.

No clock and no network; the standard library only, since ``msh proxy ssh`` uses it.
"""

from __future__ import annotations

from typing import Final

# An agent keeps a session that was cut for so long.
LONGEST_SECONDS: Final = 300.0
# So many first connections that end before any answer are the answer of an agent that knows
# nothing of this, and resets the stream. One alone may have been cut, as any may be; taken
# for that, it would cost a session its resumption for as long as it lives.
UNANSWERED: Final = 2
# One try: connecting, TLS, and the node's answer, for which it asks the hub.
TRY_SECONDS: Final = 10.0
# Between two tries: a random time up to this, which doubles from the first to the second. A
# hub that was restarted meets all of its clients' tries before it meets their agents.
FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 4.0
# After 40 s without success it is up to a tenth of the time since the cut, and this: who was away
# for long is back a little later, and a thousand who wait for one network cost the hub 200
# handshakes a second and not 500.
LATE_WAIT: Final = 10.0
_LATE_PART: Final = 10
# Only what carried the connection for so long makes the next try immediate again: what breaks
# at once is not to be dialed in a tight loop.
STABLE_SECONDS: Final = 5.0
TOO_LATE: Final = f"the connection was lost, and did not come back within {LONGEST_SECONDS:g} s"


class Redialing:
    """
    The tries of one connection; all moments are seconds of one monotonic clock.

    :param now: when something carried the connection first.
    """

    __slots__ = ("_carried_at", "_cut_at", "_tries")

    def __init__(self, now: float) -> None:
        self._carried_at = now
        self._cut_at = now
        self._tries = 0

    def cut(self, now: float) -> None:
        """Nothing carries it any more."""
        if now - self._carried_at >= STABLE_SECONDS:
            self._tries = 0
        self._cut_at = now

    def carried(self, now: float) -> None:
        """Something carries it again."""
        self._carried_at = now

    def next_wait(self, now: float) -> float:
        """The most seconds to wait before the next try, of which the first needs none."""
        tries, self._tries = self._tries, self._tries + 1
        if not tries:
            return 0.0
        longest = min(LATE_WAIT, max(LONGEST_WAIT, (now - self._cut_at) / _LATE_PART))
        # Large powers overflow.
        grown: float = FIRST_WAIT * 2 ** (min(tries, 10) - 1)
        return min(longest, grown)

    def is_too_late(self, now: float) -> bool:
        """Whether nobody can be waiting at the other end any more."""
        return now - self._cut_at >= LONGEST_SECONDS
