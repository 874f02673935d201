"""Tests of where an agent tells what it is doing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mezite import __version__
from mezite.agent.condition import Condition
from mezite.agent.state import StateDirectory
from mezite.agent.statussocket import (
    READERS,
    SOCKET_NAME,
    StatusFactory,
    StatusSocket,
    status_of,
)
from tests.doubles.agenthub import NODE, AgentHub


class StatusTests(SynchronousTestCase):
    def test_not_joined(self) -> None:
        """Before it has joined, an agent tells where it tries, and has no name."""
        condition = Condition(lambda: 100.0)
        condition.joining("hub:443")
        condition.waiting(4, "nothing listens")
        told = status_of(condition, None, 0)
        self.assertEqual(
            (told["state"], told["hub"], told["error"], told["error_since"], told["next_dial_in"]),
            ("joining", "hub:443", "nothing listens", 100.0, 4.0),
        )
        self.assertEqual((told["node"], told["version"]), (None, __version__))

    def test_connected(self) -> None:
        """Later it tells who it is, and when its certificates end."""
        state = StateDirectory(Path(self.mktemp()))
        self.addCleanup(os.close, state.prepare())
        membership = AgentHub().membership(state.keys())
        condition = Condition(lambda: 100.0)
        condition.connecting("hub:443")
        condition.connected()
        told = json.loads(json.dumps(status_of(condition, membership, 2)))
        self.assertEqual((told["node"], told["sessions"]), (NODE.text, 2))
        self.assertEqual(told["agent_id"], membership.identity.agent_id.text)
        self.assertEqual(told["certificates_end"], membership.expires)
        self.assertIsNone(told["error"])


class ReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = StatusFactory(lambda: {"state": "connected"}, self.clock)

    def connect(self) -> tuple[Any, Any]:
        protocol, transport = self.factory.buildProtocol(None), StringTransport()
        if protocol is not None:
            protocol.makeConnection(transport)
        return protocol, transport

    def test_answer(self) -> None:
        """One object and the end, whatever is said."""
        protocol, transport = self.connect()
        protocol.dataReceived(b"GET / HTTP/1.1\r\n" * 1000)
        self.assertEqual(transport.value(), b'{"state": "connected"}\n')
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow(self) -> None:
        """Who does not read is let go."""
        _, transport = self.connect()
        self.clock.advance(5)
        self.assertTrue(transport.disconnected or transport.disconnecting)

    def test_many(self) -> None:
        """There are so many at once, and no more."""
        open_ = [self.connect()[0] for _ in range(READERS)]
        self.assertIsNone(self.connect()[0])
        open_[0].connectionLost()
        self.assertIsNotNone(self.connect()[0])


class SocketTests(SynchronousTestCase):
    def start(self, directory: Path) -> tuple[MemoryReactorClock, StatusSocket]:
        reactor = MemoryReactorClock()
        service = StatusSocket(directory, dict, reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return reactor, service

    def test_place(self) -> None:
        """The socket takes the place of one that a killed agent left, for its owner alone."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / SOCKET_NAME).touch()
        reactor, _ = self.start(directory)
        ((path, _, _, mode, _),) = reactor.unixServers
        self.assertEqual((path, mode), (str(directory / SOCKET_NAME), 0o600))
        self.assertFalse((directory / SOCKET_NAME).exists())

    def test_no_sockets_there(self) -> None:
        """On a file system that has no sockets the agent serves all the same, and says why."""
        reactor = MemoryReactorClock()
        reactor.listenUNIX = _cannot_listen  # type: ignore[method-assign]
        directory = Path(self.mktemp())
        directory.mkdir()
        service = StatusSocket(directory, dict, reactor)
        with capturedLogs() as logs:
            service.startService()
        self.successResultOf(service.stopService())
        (said,) = map(formatEvent, logs)
        self.assertTrue(said.endswith("cannot be opened: Operation not supported"), said)

    def test_no_place(self) -> None:
        """An agent without the socket serves all the same."""
        for directory in (Path("/" + "x" * 200), Path(self.mktemp())):
            (directory / SOCKET_NAME).mkdir(parents=True) if len(str(directory)) < 200 else None
            reactor, _ = self.start(directory)
            self.assertEqual(reactor.unixServers, [])


def _cannot_listen(path: str, *arguments: object, **options: object) -> None:
    """As the reactor says it that a file system has no sockets."""
    raise CannotListenError(None, path, OSError(95, "Operation not supported"))
