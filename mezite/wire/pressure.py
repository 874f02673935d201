"""
Producers between a full socket and those who write to it.

They are the small parts of :mod:`mezite.wire.transport` and
:mod:`mezite.wire.splice` that Twisted's consumers register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer


@implementer(IPushProducer)
@define(eq=False)
class Pressure:
    """What the TCP transport knows as its producer: it says when the socket is full."""

    _full: Callable[[], None]
    _relieved: Callable[[], None]

    def pauseProducing(self) -> None:
        self._full()

    def resumeProducing(self) -> None:
        self._relieved()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost will say so."""


@implementer(IPushProducer)
@define(eq=False)
class PullLoop:
    """A pull producer asked again each turn for as long as there is room."""

    _producer: Any
    _clock: IReactorTime
    _next: IDelayedCall | None = field(init=False, default=None)

    def resumeProducing(self) -> None:
        if self._next is None:
            self._next = self._clock.callLater(0, self._pull)

    def pauseProducing(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def stopProducing(self) -> None:
        self.pauseProducing()
        self._producer.stopProducing()

    def _pull(self) -> None:
        self._next = self._clock.callLater(0, self._pull)
        self._producer.resumeProducing()
