"""Tests of the administrator's door on the hub's own machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.adminsocket import SOCKET_NAME, listen, socket_caller
from mezite.hub.error import HubCannotStart


class _Transport:
    """As much of a unix transport as is asked for."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected

    def getHandle(self) -> socket.socket:
        return self._connected


class CallerTests(SynchronousTestCase):
    def call(self) -> Any:
        here, there = socket.socketpair(socket.AF_UNIX)
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        return socket_caller(cast(Any, _Transport(here)))

    def test_same_uid(self) -> None:
        """The hub's own account is an administrator, and no user."""
        caller = self.call()
        self.assertTrue(caller.is_local_admin)
        self.assertIsNone(caller.identity)
        self.assertEqual(caller.address, f"unix:pid={os.getpid()},uid={os.getuid()}")

    def test_another_uid(self) -> None:
        """An account that is neither the hub's nor root is nobody."""
        own = os.getuid()
        # The kernel says who connected; the hub runs as somebody else here.
        self.patch(os, "geteuid", lambda: own + 1)
        self.assertEqual(self.call().is_local_admin, own == 0)


class ListenTests(SynchronousTestCase):
    def test_leftover_is_replaced(self) -> None:
        """The file of a hub that was killed is no obstacle."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / SOCKET_NAME).touch()
        reactor = MemoryReactor()
        listen(reactor, directory, Factory())
        ((path, _, _, mode, _),) = reactor.unixServers
        self.assertEqual((path, mode), (str(directory / SOCKET_NAME), 0o600))
        self.assertFalse((directory / SOCKET_NAME).exists())

    def test_long_path(self) -> None:
        """A path that no unix socket can have is refused in a sentence."""
        error = self.assertRaises(
            HubCannotStart, listen, MemoryReactor(), Path("/" + "x" * 120), Factory()
        )
        self.assertIn("shorter data_dir", str(error))

    def test_directory_in_the_way(self) -> None:
        """What cannot be replaced is named."""
        directory = Path(self.mktemp())
        (directory / SOCKET_NAME).mkdir(parents=True)
        error = self.assertRaises(HubCannotStart, listen, MemoryReactor(), directory, Factory())
        self.assertIn(SOCKET_NAME, str(error))

    def test_no_sockets_there(self) -> None:
        """A file system without sockets is a sentence, and no traceback."""

        def cannot_listen(path: str, *arguments: object, **options: object) -> None:
            raise CannotListenError(None, path, OSError(95, "Operation not supported"))

        directory = Path(self.mktemp())
        directory.mkdir()
        reactor = MemoryReactor()
        reactor.listenUNIX = cannot_listen  # type: ignore[assignment]
        error = self.assertRaises(HubCannotStart, listen, reactor, directory, Factory())
        self.assertTrue(str(error).endswith(f"{SOCKET_NAME}: Operation not supported"), error)
