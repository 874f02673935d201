"""
Who produces for a transport, and waits while the transport is full.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer


@define(eq=False)
class Outflow:
    """The producer of one transport, if it has one, of either kind."""

    _clock: IReactorTime
    # Whether what carries the transport takes nothing more for now.
    is_full: bool = field(init=False, default=False)
    _producer: Any = field(init=False, default=None)

    @property
    def has_producer(self) -> bool:
        return self._producer is not None

    def register(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        self._producer = producer if streaming else _PullLoop(producer, self._clock)
        if self.is_full:
            self._producer.pauseProducing()
        elif not streaming:
            self._producer.resumeProducing()

    def unregister(self) -> None:
        producer, self._producer = self._producer, None
        if isinstance(producer, _PullLoop):
            producer.pauseProducing()

    def stop(self) -> None:
        """Nothing can be written any more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def full(self) -> None:
        self.is_full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def relieved(self) -> None:
        self.is_full = False
        if self._producer is not None:
            self._producer.resumeProducing()


@implementer(IPushProducer)
@define(eq=False)
class _PullLoop:
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
