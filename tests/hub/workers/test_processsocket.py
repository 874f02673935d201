"""Tests of sockets between processes, on real pairs that a test serves by hand."""

from __future__ import annotations

import os
import socket
from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.workers.processsocket import ProcessSocket, speak
from tests.doubles.processreactor import ProcessReactor

# As little as the kernel gives.
_SMALL = 4096


@define(eq=False)
class Talker(Protocol):
    """Stands where a mux stands: counts what it hears, and waits when it is told to."""

    transport: ProcessSocket = field(init=False)
    heard: bytearray = field(init=False, factory=bytearray)
    told: list[str] = field(init=False, factory=list)
    reason: Failure | None = field(init=False, default=None)

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.transport.writeSequence([b"head", memoryview(b" and body"), b""])

    def dataReceived(self, data: bytes | memoryview) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None
        self.reason = reason

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class ProcessSocketTests(SynchronousTestCase):
    """Both ends in one process."""

    def setUp(self) -> None:
        self.reactor = ProcessReactor()
        ends = socket.socketpair(socket.AF_UNIX)
        self.open = len(os.listdir("/proc/self/fd"))
        self.here, self.there = Talker(), Talker()
        for end, talker in zip(ends, (self.here, self.there), strict=True):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL)
            mux: Any = talker
            speak(self.reactor, end.detach(), mux)
        self.addCleanup(self.end)

    def end(self) -> None:
        for talker in (self.here, self.there):
            if talker.reason is None:
                talker.transport.abortConnection()
        self.reactor.serve()

    def test_first_words(self) -> None:
        """What is said at once is heard in whole; the descriptors that were given are used up."""
        self.reactor.serve()
        self.assertEqual(self.here.heard, b"head and body")
        self.assertEqual(self.there.heard, b"head and body")
        self.assertEqual(self.here.told, [])
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.open)

    def test_order(self) -> None:
        """Far more than the socket takes arrives in order, however it is cut."""
        said = os.urandom(300_000)
        for start in range(0, len(said), 700):
            piece = memoryview(said)[start : start + 700]
            self.here.transport.writeSequence([piece[:1], piece[1:300], bytes(piece[300:])])
        self.there.transport.writeSequence([said[:1]] * 3000)
        self.reactor.serve()
        self.assertEqual(self.there.heard[13:], said)
        self.assertEqual(self.here.heard[13:], said[:1] * 3000)

    def test_pressure(self) -> None:
        """A writer waits from when the socket is full to when all is taken, and is told once."""
        for _ in range(10):
            self.here.transport.write(bytes(50_000))
        self.assertEqual(self.here.told, ["pause"])
        self.reactor.serve()
        self.assertEqual(self.here.told, ["pause", "resume"])
        self.assertEqual(len(self.there.heard), 500_013)

    def test_last_words(self) -> None:
        """What was written before the end arrives before it, and both ends hear of the end."""
        self.reactor.serve()
        self.here.transport.write(bytes(100_000))
        self.here.transport.unregisterProducer()
        self.here.transport.write(b"goodbye")
        self.here.transport.loseConnection()
        self.reactor.serve()
        self.assertEqual(self.there.heard[100_013:], b"goodbye")
        for talker in (self.here, self.there):
            assert talker.reason is not None
            talker.reason.trap(ConnectionDone)

    def test_abort(self) -> None:
        """A socket that is dropped ends at the other end too, whatever waited."""
        self.here.transport.write(bytes(100_000))
        self.here.transport.abortConnection()
        self.reactor.serve()
        assert self.here.reason is not None
        assert self.there.reason is not None
        self.there.reason.trap(ConnectionDone, ConnectionLost)
        self.there.transport.write(b"too late")
        self.assertLess(len(self.there.heard), 100_000)

    def test_other_end_gone(self) -> None:
        """Who writes to a process that has ended hears of it."""
        self.there.transport.transport.getHandle().shutdown(socket.SHUT_RDWR)
        self.here.transport.write(bytes(100_000))
        self.reactor.serve()
        self.assertIsNotNone(self.here.reason)
