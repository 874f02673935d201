"""
The TCP connection beneath TLS: sealed bytes in and out, and when it is full.

A :class:`SocketCarrier` takes reading and writing over from Twisted's TCP
transport, and leaves to it the events, the bytes that the socket does not take,
and the end. It reads into one buffer for all connections, and writes at once
what the socket takes: the transport alone would join and copy it first, and
write in the reactor's next turn, between two changes of what epoll watches.
A :class:`TransportCarrier` uses any other transport as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from typing import Protocol as TypingProtocol

from attrs import define, field
from twisted.internet import tcp
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from zope.interface import implementer

from mezite.wire.pace import MOST, KernelQueue, Pace
from mezite.wire.records import Piece

# Bytes per read of the socket. More is not faster: it leaves the processor's cache.
READ_SIZE: Final = 252 * 1024
# Bytes per write of the socket: all that one read became, and what sealing adds to it.
_SEND_SIZE: Final = 512 * 1024

# Bytes per read of a connection whose last ones opened to little. A read full of KeyUpdates takes
# 0.5 s of a processor for each MB, and nobody else is served meanwhile: 16 ms of this.
CAUTIOUS_READ_SIZE: Final = 32 * 1024

_arrived: Final = bytearray(READ_SIZE)
_arrived_view: Final = memoryview(_arrived)


def _nobody(*_: object) -> None:
    """In the place of who was told of a connection that is gone."""


class Carrier(TypingProtocol):
    """What a TLS connection needs of what carries it."""

    # Whether little should be read at once, because what was read opened to little.
    is_cautious: bool

    @property
    def turn(self) -> int:
        """How many bytes are worth sending at once, by how fast the line takes them."""

    def send(self, parts: Iterable[Piece], /) -> None:
        """Send these; each is copied, or gone, before the next is asked for."""

    def release(self) -> None:
        """Forget the one who is told when it is full."""

    def lost(self) -> None:
        """The connection is gone."""


def carrier_of(
    transport: Any,
    *,
    receive: Callable[[Piece], None],
    full: Callable[[], None],
    relieved: Callable[[], None],
    seconds: Callable[[], float],
) -> Carrier:
    """
    The fastest way to use this transport, of which ``receive`` is the protocol's dataReceived.

    ``full`` and ``relieved`` are called when bytes begin to wait, and when they wait no more.
    """
    if isinstance(transport, tcp.Connection):
        return SocketCarrier(transport, receive, full, relieved, seconds)
    return TransportCarrier(transport, full, relieved)


@implementer(IPushProducer)
@define(eq=False)
class TransportCarrier:
    """Any transport that is a consumer."""

    _transport: Any
    _full: Callable[[], None]
    _relieved: Callable[[], None]
    is_cautious: bool = field(init=False, default=True)

    def __attrs_post_init__(self) -> None:
        self._transport.registerProducer(self, True)

    @property
    def turn(self) -> int:
        return getattr(self._transport, "turn", MOST)

    def send(self, parts: Iterable[Piece]) -> None:
        # All of it before it is written: being told that it is full, a writer may write.
        self._transport.writeSequence([bytes(part) for part in parts])

    def release(self) -> None:
        self._transport.unregisterProducer()

    def lost(self) -> None:
        self._full = self._relieved = _nobody

    def pauseProducing(self) -> None:
        self._full()

    def resumeProducing(self) -> None:
        self._relieved()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost will say so."""


@implementer(IPullProducer)
@define(eq=False)
class SocketCarrier:
    """
    A TCP transport of Twisted's.

    To it, this is a pull producer, because those are told each time that the
    transport has nothing left to write.
    """

    _transport: Any
    _receive: Callable[[Piece], None]
    _full: Callable[[], None]
    _relieved: Callable[[], None]
    _seconds: Callable[[], float]
    is_cautious: bool = field(init=False, default=True)
    _pace: Pace = field(init=False)
    _recv_into: Callable[[bytearray, int], int] = field(init=False)
    # Bytes that the socket did not take wait in the transport, and more must wait behind them.
    _is_waiting: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        transport = self._transport
        handle = transport.getHandle()
        self._recv_into = handle.recv_into
        self._pace = Pace(KernelQueue(handle), self._seconds)
        transport.SEND_LIMIT = _SEND_SIZE
        transport.doRead = self._read
        transport.registerProducer(self, False)

    @property
    def turn(self) -> int:
        return self._pace.turn

    def send(self, parts: Iterable[Piece]) -> None:
        was_waiting = self._is_waiting
        for part in parts:
            if not self._is_waiting:
                sent = self._transport.writeSomeData(part)
                if sent == len(part):
                    self._pace.sent(sent)
                    continue
                self._is_waiting = True
                self._pace.full(len(part))
                # What is no number is why the connection is lost: the transport will find the
                # same when it tries, and say so to everybody.
                part = part[sent:] if isinstance(sent, int) else part
            self._transport.write(bytes(part))
        if self._is_waiting and not was_waiting:
            self._full()

    def release(self) -> None:
        self._transport.unregisterProducer()

    def lost(self) -> None:
        # Or all of them would hold each other, and what OpenSSL has for the connection, 40 KB,
        # until Python looks for such rings.
        del self._transport.doRead
        self._receive = self._full = self._relieved = _nobody

    def resumeProducing(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._pace.relieved()
            self._relieved()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost will say so."""

    def _read(self) -> Exception | None:
        try:
            count = self._recv_into(_arrived, CAUTIOUS_READ_SIZE if self.is_cautious else READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            lost: Exception = CONNECTION_LOST
            return lost
        if not count:
            done: Exception = CONNECTION_DONE
            return done
        self._receive(_arrived_view[:count])
        return None
