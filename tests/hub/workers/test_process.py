"""Tests of what a worker's process makes of its descriptors, on a transport in memory."""

from __future__ import annotations

import os
from typing import Any

from attrs import define, field
from twisted.internet.address import UNIXAddress
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.workers.process import speak


class StrictTransport(StringTransport):
    """It takes bytes and nothing else, as Twisted's own do."""

    def writeSequence(self, data: Any) -> None:
        for piece in data:
            self.write(piece)


@define(eq=False)
class AdoptingReactor:
    """Adopts a descriptor by building the protocol, on a transport that notes what it is told."""

    transport: StrictTransport = field(factory=StrictTransport)

    def adoptStreamConnection(self, fd: int, family: int, factory: Any) -> StrictTransport:
        protocol = factory.buildProtocol(UNIXAddress(""))
        protocol.makeConnection(self.transport)
        return self.transport


class Writer(Protocol):
    """Writes as a mux does, as soon as it can."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.writeSequence([b"head", memoryview(b"and body")])


class SpeakTests(SynchronousTestCase):
    """A mux on a socket between two processes."""

    def test_views(self) -> None:
        """What a mux writes is taken, from its first word on; the descriptor is used up."""
        reactor, protocol = AdoptingReactor(), Writer()
        fd = os.dup(0)
        speak(reactor, fd, protocol)
        self.assertEqual(reactor.transport.value(), b"headand body")
        self.assertIs(reactor.transport.protocol, protocol)
        self.assertRaises(OSError, os.fstat, fd)
