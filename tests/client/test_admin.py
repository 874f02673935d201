"""Tests of the administrator's way to the hub on this machine."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, getConnectError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.admin import SOCKET_NAME, dial_socket
from mezite.client.error import HubUnreachable
from mezite.error import BadInput, Denied, TimedOut
from mezite.hub import adminsocket
from tests.rpc.wire import AbortableTransport

DIRECTORY = Path("/srv/mezite")


class DialSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.dialing: Deferred[Any] = Deferred.fromCoroutine(dial_socket(self.reactor, DIRECTORY))

    def fail_with(self, error: ConnectError) -> None:
        _path, factory, *_ = self.reactor.unixClients[0]
        factory.clientConnectionFailed(None, Failure(error))

    def test_socket_of_the_hub(self) -> None:
        """It is the socket that the hub opens."""
        self.assertEqual(SOCKET_NAME, adminsocket.SOCKET_NAME)
        self.assertEqual(self.reactor.unixClients[0][0], "/srv/mezite/mezctl.sock")

    def test_connected(self) -> None:
        """Once connected, calls can be made."""
        protocol = self.reactor.unixClients[0][1].buildProtocol(None)
        protocol.makeConnection(AbortableTransport())
        client = self.successResultOf(self.dialing)
        self.assertTrue(client.channel.is_open)

    def test_no_hub(self) -> None:
        """No socket, or one that nobody answers, names the directory and the option."""
        for error in (
            getConnectError((errno.ENOENT, "")),
            getConnectError((errno.ENOTDIR, "")),
            getConnectError((errno.ECONNREFUSED, "")),
        ):
            self.setUp()
            self.fail_with(error)
            failure = self.failureResultOf(self.dialing, HubUnreachable)
            self.assertIn("/srv/mezite", str(failure.value))
            self.assertIn("--data-dir", str(failure.value))

    def test_not_allowed(self) -> None:
        """An account that may not connect hears which one may."""
        self.fail_with(getConnectError((errno.EACCES, "")))
        failure = self.failureResultOf(self.dialing, Denied)
        self.assertIn("root", str(failure.value))

    def test_other_failures(self) -> None:
        """Anything else is passed on as a sentence."""
        self.fail_with(getConnectError((errno.EMFILE, "")))
        failure = self.failureResultOf(self.dialing, HubUnreachable)
        self.assertIn("Too many open files", str(failure.value))
        self.setUp()
        self.fail_with(ConnectError(string="the moon is full"))
        self.failureResultOf(self.dialing, HubUnreachable)

    def test_no_answer(self) -> None:
        """A hub that accepts nothing is not waited for."""
        self.reactor.advance(5)
        self.failureResultOf(self.dialing, TimedOut)

    def test_long_path(self) -> None:
        """A path that no socket can have is said to be too long."""
        dialing = Deferred.fromCoroutine(dial_socket(self.reactor, Path("/" + "x" * 120)))
        self.failureResultOf(dialing, BadInput)

    def test_refused_is_an_error_of_connecting(self) -> None:
        """Twisted has a class of its own for a refusal."""
        self.assertIsInstance(getConnectError((errno.ECONNREFUSED, "")), ConnectionRefusedError)
