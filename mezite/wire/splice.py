"""
Two transports, each fed with what comes out of the other.

A splice owns both from the moment it is made until both are closed: it pauses
the one while the other is full, carries the end of either direction through,
and aborts one when the other broke, so that nobody takes half a stream for a
whole one.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol as TypingProtocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


class Spliceable(TypingProtocol):
    """What a transport must be able to do: all of a TCP transport, and to change its protocol."""

    def attach(self, protocol: IProtocol, /) -> None: ...
    def write(self, data: bytes, /) -> None: ...
    def loseWriteConnection(self) -> None: ...
    def loseConnection(self) -> None: ...
    def abortConnection(self) -> None: ...
    def registerProducer(self, producer: Any, streaming: bool, /) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


@frozen
class Spliced:
    """
    How a splice ended: the bytes that went each way, and what broke it, if something did.

    It is finished if one direction came to its end before anything broke: whoever has
    said so may be gone before the other's end arrives.
    """

    from_left: int
    from_right: int
    failure: Failure | None
    is_finished: bool = False


def splice(left: Spliceable, right: Spliceable) -> Deferred[Spliced]:
    """
    Join two open transports, whoever held them before.

    Either may have been paused, and is resumed here. The Deferred fires when
    both are closed, however that came about; cancelling it aborts both.
    """
    halves = _Half(left), _Half(right)
    joined = _Splice(*halves)
    for half in halves:
        half.splice = joined
    left.registerProducer(_Valve(right), True)
    right.registerProducer(_Valve(left), True)
    for half in halves:
        half.own.attach(half)
    for half in halves:
        if not half.is_lost:
            half.own.resumeProducing()
    return joined.done


@implementer(IPushProducer)
@define(eq=False)
class _Valve:
    """
    The other transport, as a producer.

    It does not pass ``stopProducing`` on: that would close the other in
    good order, and its peer would take a broken stream for a finished one.
    """

    _source: Spliceable

    def pauseProducing(self) -> None:
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        """The splice learns of it by connectionLost."""


@implementer(IHalfCloseableProtocol)
@define(eq=False)
class _Half(Protocol):
    """The protocol on one of the two transports."""

    own: Spliceable
    splice: _Splice = field(init=False)
    received: int = field(init=False, default=0)
    is_ended: bool = field(init=False, default=False)
    is_lost: bool = field(init=False, default=False)
    # The other transport's write, looked up once.
    _write: Any = field(init=False, default=None)

    def connectionMade(self) -> None:
        self._write = self.splice.other_than(self).own.write

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self._write(data)

    def readConnectionLost(self) -> None:
        self.splice.ended(self)

    def writeConnectionLost(self) -> None:
        """We asked for it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.splice.lost(self, reason)


@define(eq=False)
class _Splice:
    """What both halves know of each other."""

    left: _Half
    right: _Half
    done: Deferred[Spliced] = field(init=False)
    _failure: Failure | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.done = Deferred(lambda _: self._abort())

    def other_than(self, half: _Half) -> _Half:
        return self.right if half is self.left else self.left

    def ended(self, half: _Half) -> None:
        """No more bytes come from this half."""
        other = self.other_than(half)
        if half.is_ended or other.is_lost:
            return
        half.is_ended = True
        other.own.unregisterProducer()
        other.own.loseWriteConnection()
        if other.is_ended:
            half.own.loseConnection()
            other.own.loseConnection()

    def lost(self, half: _Half, reason: Failure) -> None:
        half.is_lost = True
        other = self.other_than(half)
        is_clean = reason.check(ConnectionDone) is not None
        if not is_clean and self._failure is None:
            self._failure = reason
        if other.is_lost:
            if not self.done.called:
                is_finished = self.left.is_ended or self.right.is_ended
                self.done.callback(
                    Spliced(self.left.received, self.right.received, self._failure, is_finished)
                )
        elif is_clean:
            # What came before the end is still on its way out; nothing can come back.
            other.own.unregisterProducer()
            other.own.loseConnection()
        else:
            other.own.unregisterProducer()
            other.own.abortConnection()

    def _abort(self) -> None:
        for half in (self.left, self.right):
            if not half.is_lost:
                half.own.abortConnection()
