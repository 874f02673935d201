"""
A TLS handshake, as long as it lasts: its deadline, and who hears how it ended.

A :class:`Handshake` is what a :class:`~mezite.wire.transport.TLSTransport` needs
until its two ends know each other, and keeps no longer. Its messages are
:mod:`mezite.wire.records`'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mezite.wire.error import HandshakeTimedOut
from mezite.wire.records import Piece

if TYPE_CHECKING:
    from mezite.wire.transport import TLSTransport

HANDSHAKE_TIMEOUT: Final = 10.0


@define(eq=False)
class Handshake:
    """
    One handshake, from the first byte to the last.

    Exactly one of ``secured`` and ``failed`` is called, once. ``secured``
    attaches who speaks inside; if it attaches nobody, the connection closes.
    """

    _secured: Callable[[TLSTransport], None]
    _failed: Callable[[Failure], None]
    _seconds: float = HANDSHAKE_TIMEOUT
    # Asked once, with the first bytes: whether it is to wait for the transport's proceed().
    _hold_up: Callable[[TLSTransport, Piece], bool] | None = None
    _deadline: IDelayedCall | None = field(init=False, default=None)

    def begin(self, clock: IReactorTime, give_up: Callable[[HandshakeTimedOut], None]) -> None:
        """Let it take so long and no longer."""
        self._deadline = clock.callLater(self._seconds, self._timed_out, give_up)

    def is_held_up(self, transport: TLSTransport, data: Piece) -> bool:
        """Whether these bytes, if they are the first, have to wait."""
        hold_up, self._hold_up = self._hold_up, None
        return hold_up is not None and hold_up(transport, data)

    def done(self, transport: TLSTransport) -> None:
        self._stop()
        self._secured(transport)

    def failed(self, reason: Failure) -> None:
        self._stop()
        self._failed(reason)

    def _timed_out(self, give_up: Callable[[HandshakeTimedOut], None]) -> None:
        self._deadline = None
        give_up(HandshakeTimedOut(self._seconds))

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
