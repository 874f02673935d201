"""
What carries a resumable connection for a while, as a protocol on it.

A :class:`Leg` tells its owner what comes, how it ends, and whether it has room; it decides
nothing, and what it tells after another has taken its place its owner passes over.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol as TypingProtocol

from attrs import define, field
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


class Carried(TypingProtocol):
    """The connection, to its legs."""

    def leg_received(self, leg: Leg, data: bytes, /) -> None: ...
    def leg_lost(self, leg: Leg, /) -> None: ...

    def leg_changed(self) -> None:
        """A leg is full, or has room again."""


@implementer(IPushProducer)
@define(eq=False)
class Leg(Protocol):
    """The protocol on what carries the connection for a while, and the producer of its bytes."""

    _owner: Carried
    own: Any
    is_full: bool = field(init=False, default=False)
    # It ended in order, which by itself says nothing.
    was_closed: bool = field(init=False, default=False)

    def connectionMade(self) -> None:
        self.own.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._owner.leg_received(self, data)

    def close(self) -> None:
        """What was written last still leaves."""
        self.own.unregisterProducer()
        self.own.resumeProducing()
        self.own.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.was_closed = reason.check(ConnectionDone) is not None
        self._owner.leg_lost(self)

    def pauseProducing(self) -> None:
        self.is_full = True
        self._owner.leg_changed()

    def resumeProducing(self) -> None:
        self.is_full = False
        self._owner.leg_changed()

    def stopProducing(self) -> None:
        """``connectionLost`` says so, too."""
