"""
How much each end of a stream may still send.

A receiving window re-opens when its reader has consumed half of it, and grows
while the reader keeps up, so that a slow reader holds a small one. It knows no
clock: a stream that moved half a window and left little of it unread is in
bulk, whatever the round trip.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from mezite.mux.error import LocalMuxError, RemoteMuxError
from mezite.mux.limits import INITIAL_WINDOW

# The length field of a WindowUpdate has 32 bits, and so has a sane window.
_MAX_WINDOW: Final = 2**32 - 1


@define(eq=False)
class ReceiveWindow:
    """
    What the peer may send to us.

    ``left`` + bytes on their way within a begun frame + ``unconsumed`` +
    ``credit`` is always ``size``.
    """

    maximum: int
    size: int = INITIAL_WINDOW
    left: int = INITIAL_WINDOW
    unconsumed: int = field(default=0, init=False)
    credit: int = field(default=0, init=False)

    def spend(self, count: int) -> None:
        """A frame of so many bytes begins."""
        if count > self.left:
            raise RemoteMuxError(f"{count} bytes were sent into a window of {self.left}")
        self.left -= count

    def consume(self, count: int) -> bool:
        """So many bytes were taken by the reader; is an update due?"""
        if count > self.unconsumed:
            raise LocalMuxError("more was consumed than had arrived")
        self.unconsumed -= count
        self.credit += count
        return self.credit * 2 >= self.size

    def reopen(self, growth: int) -> int:
        """
        Turn all credit, and at most so much growth, into what an update announces.
        """
        if self.unconsumed * 4 <= self.size:
            growth = min(growth, self.size, self.maximum - self.size)
        else:
            growth = 0
        self.size += growth
        delta = self.credit + growth
        self.credit = 0
        self.left += delta
        return delta

    @property
    def growth(self) -> int:
        """What the window has above the one that every stream begins with."""
        return self.size - INITIAL_WINDOW


@define(eq=False)
class SendWindow:
    """What we may send to the peer."""

    left: int = INITIAL_WINDOW

    def open(self, delta: int) -> None:
        """The peer's update arrived."""
        if self.left + delta > _MAX_WINDOW:
            raise RemoteMuxError("a window was opened beyond 32 bits")
        self.left += delta
