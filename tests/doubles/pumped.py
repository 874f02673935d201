"""
The surroundings of ``msh proxy ssh`` once it is connected: pipes, a line without TLS to
a node, and a clock that moves when nothing happens.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field

from mezite.resume import frames
from mezite.resume.frames import GreetingReader, Welcome
from mezite.resume.link import Event, Link

TOKEN = bytes(range(32))


class PlainTls:
    """What a pump needs of TLS, without any secret."""

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    def read(self, size: int, into: Any = None) -> Any:
        data = self._incoming.read(size if into is None else min(size, len(into)))
        if not data:
            raise ssl.SSLWantReadError
        if into is None:
            return data
        into[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return self._outgoing.write(data)

    def unwrap(self) -> None:
        """There is no goodbye to say."""


class PlainConnection:
    """As :class:`mezite.client.pump.Connection`; ``far`` is the other end of the line."""

    patience = None

    def __init__(self) -> None:
        self.socket, self.far = socket.socketpair()
        self.far.setblocking(False)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls: Any = PlainTls(self.incoming, self.outgoing)

    def has_unsent(self) -> bool:
        return False

    def tend(self) -> None:
        """Nothing is ever due."""


@define(eq=False)
class PumpedNode:
    """The agent's end: a link, what it has heard, and what carries it."""

    link: Link = field(init=False, factory=Link)
    heard: bytearray = field(init=False, factory=bytearray)
    events: list[Event] = field(init=False, factory=list)
    pings: int = field(init=False, default=0)
    is_silent: bool = field(init=False, default=False)
    line: PlainConnection | None = field(init=False, default=None)
    _to_line: bytearray = field(init=False, factory=bytearray)

    def greeted(self, hello: bytes) -> tuple[PlainConnection, Welcome]:
        """A new line, on which the node goes on."""
        complete = GreetingReader().receive(hello)
        assert complete is not None
        self.cut()
        line = self.line = PlainConnection()
        line.socket.setblocking(False)
        welcome = Welcome(TOKEN, self.link.received)
        self.link.carried(getattr(complete[0], "received", 0))
        return line, welcome

    def cut(self) -> None:
        """The line is cut; what was on it is lost."""
        line, self.line = self.line, None
        self.link.cut()
        self._to_line.clear()
        if line is not None:
            line.far.close()

    def move(self) -> None:
        """Take what came, and say what is to be said, as far as the line has room."""
        if self.line is None or self.is_silent:
            return
        try:
            while data := self.line.far.recv(1 << 16):
                self.pings += data.count(frames.ping())
                for event in self.link.receive(data):
                    if isinstance(event, memoryview):
                        self.heard += event
                    else:
                        self.events.append(event)
        except (BlockingIOError, ConnectionResetError):
            pass
        for piece in self.link.take_output():
            self._to_line += piece
        try:
            while self._to_line:
                del self._to_line[: self.line.far.send(self._to_line)]
        except (BlockingIOError, BrokenPipeError):
            pass

    def say(self, data: bytes) -> None:
        """Anything at all."""
        self._to_line += data


@define(eq=False)
class PumpWorld:
    """
    Everything around a pump. ``script`` goes one step on each time that the pump waits.

    It stands for the modules ``select`` and ``time`` in those of a pump.
    """

    node: PumpedNode = field(init=False, factory=PumpedNode)
    now: float = field(init=False, default=1000.0)
    script: Iterator[None] = field(init=False, factory=lambda: iter(()))
    polls: int = field(init=False, default=0)
    files: list[int] = field(init=False, factory=list)
    source: int = field(init=False)
    sink: int = field(init=False)
    typing: int = field(init=False)
    reading: int = field(init=False)
    # What came out of the sink.
    shown: bytearray = field(init=False, factory=bytearray)
    is_reading: bool = field(init=False, default=True)

    POLLIN = select.POLLIN
    POLLOUT = select.POLLOUT
    POLLERR = select.POLLERR
    POLLHUP = select.POLLHUP
    POLLNVAL = select.POLLNVAL

    def __attrs_post_init__(self) -> None:
        self.source, self.typing = os.pipe()
        self.reading, self.sink = os.pipe()
        self.files += [self.source, self.typing, self.reading, self.sink]
        os.set_blocking(self.reading, False)

    def close(self) -> None:
        for file in self.files:
            os.close(file)
        self.files.clear()
        self.node.cut()

    def close_file(self, file: int) -> None:
        self.files.remove(file)
        os.close(file)

    def type(self, data: bytes) -> None:
        os.write(self.typing, data)

    def read(self) -> None:
        """Take what the pump has written."""
        try:
            while self.is_reading and (data := os.read(self.reading, 1 << 20)):
                self.shown += data
        except (BlockingIOError, OSError):
            pass

    def monotonic(self) -> float:
        return self.now

    def poll(self) -> _Poll:
        return _Poll(select.poll(), self)

    def waited(self, look: Callable[[int], Any], milliseconds: int | None) -> Any:
        """The pump waits."""
        self.polls += 1
        assert self.polls < 100_000, "it goes round and round"
        self.node.move()
        next(self.script, None)
        self.node.move()
        self.read()
        found = look(0)
        if not found:
            assert milliseconds is not None
            self.now += milliseconds / 1000
        return found


class _Poll:
    """One poll object of the pump's, which never waits for real."""

    def __init__(self, own: select.poll, world: PumpWorld) -> None:
        self._own = own
        self._world = world
        self.register = own.register
        self.unregister = own.unregister

    def poll(self, milliseconds: int | None = None) -> Any:
        return self._world.waited(self._own.poll, milliseconds)
