"""Tests of the process that opens a login's unix sockets, and of what asks it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mezite.agent import loginsockets
from mezite.agent.accounts import look_up
from mezite.agent.error import SocketRefused
from mezite.agent.loginsockets import WAITING, ILoginSockets, LoginSockets
from mezite.agent.usersockets import Kind, UserSockets, decode, encode, main
from mezite.names import LoginName
from tests.end_to_end.test_node_sshd import LOGIN


class ChildTests(SynchronousTestCase):
    """The process alone."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="mz").encode()
        self.addCleanup(shutil.rmtree, self.directory)

    def test_packets(self) -> None:
        """What is encoded is decoded, and what is too short is not."""
        self.assertEqual(decode(encode(7, Kind.LISTEN, b"/x")), (7, Kind.LISTEN, b"/x"))
        self.assertRaises(ValueError, decode, b"\0\0\0\1")

    def test_removes_its_own(self) -> None:
        """It removes the files that it made, and no others that took their place."""
        sockets = UserSockets()
        kept, removed = self.directory + b"/kept", self.directory + b"/removed"
        for path in (kept, removed):
            made, _ = sockets.answer(Kind.LISTEN, path)
            assert made is not None
            made.close()
        os.rename(kept, self.directory + b"/moved")
        with open(kept, "wb"):
            pass
        private, address = sockets.answer(Kind.AGENT, b"")
        assert private is not None
        private.close()
        sockets.answer(Kind.REMOVE, b"/etc/passwd")
        sockets.remove_all()
        self.assertEqual(sorted(os.listdir(self.directory)), [b"kept", b"moved"])
        self.assertFalse(os.path.exists(os.path.dirname(address)))

    def test_nonsense(self) -> None:
        """It ends at what it does not understand, and without being asked to be somebody."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.send(b"x")
            done = subprocess.run(
                [sys.executable, "-I", "-m", "mezite.agent.usersockets"],
                stdin=theirs,
                timeout=30,
                check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(main(["--root"]), 2)
        self.assertEqual(main(["--become", "no-such-person"]), 2)

    def test_imports(self) -> None:
        """Nothing that is slow to import is imported."""
        script = (
            "import mezite.agent.usersockets, sys;"
            "print(sorted({m.partition('.')[0] for m in sys.modules}"
            " & {'twisted', 'zope', 'attr', 'attrs', 'cryptography', 'asyncio', 'OpenSSL'}))"
        )
        printed = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True)
        self.assertEqual(printed.stdout.strip(), b"[]")


class LoginSocketsTests(TestCase):
    """The process, and the agent that asks it."""

    timeout = 60

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        account = look_up(LoginName.parse(LOGIN), os.getuid(), 0.0)
        self.sockets = LoginSockets(reactor, account, own_uid=os.getuid())
        self.directory = tempfile.mkdtemp(prefix="mz").encode()
        self.addCleanup(shutil.rmtree, self.directory)
        self.addCleanup(self.end)

    def end(self) -> Deferred[None]:
        self.sockets.close()
        return ensureDeferred(self._ended())

    async def _ended(self) -> None:
        while self.sockets._child is not None:
            await deferLater(self.reactor, 0.01)

    def test_interface(self) -> None:
        """It provides what it stands for."""
        verifyObject(ILoginSockets, self.sockets)

    async def refused(self, asked: Deferred[Any]) -> str:
        try:
            await asked
        except SocketRefused as error:
            return str(error)
        raise AssertionError("it was not refused")

    async def test_paths(self) -> None:
        """Paths that are none are refused, and no process is begun for them."""
        for path, words in (
            (b"relative", "absolute"),
            (b"", "absolute"),
            (b"\0abstract", "absolute"),
            (b"/a\0b", "absolute"),
            (b"/" + b"x" * 107, "107 bytes"),
        ):
            self.assertIn(words, await self.refused(self.sockets.connect(path, Protocol())))
        self.assertIsNone(self.sockets._child)

    async def test_too_many(self) -> None:
        """So many requests wait at once, and no more."""
        path = self.directory + b"/nothing"
        asked = [self.sockets.connect(path, Protocol()) for _ in range(WAITING)]
        self.assertIn("too much", await self.refused(self.sockets.connect(path, Protocol())))
        for each in asked:
            self.assertIn("no such file", await self.refused(each))

    async def test_killed(self) -> None:
        """A process that is killed refuses what waits; the next request begins another."""
        self.assertIn("no such", await self.refused(self.sockets.connect(b"/no", Protocol())))
        assert self.sockets._child is not None
        self.sockets._child.signal_group(signal.SIGSTOP)
        waiting = self.sockets.connect(b"/no", Protocol())
        self.sockets._child.signal_group(signal.SIGKILL)
        self.assertIn("cannot open", await self.refused(waiting))
        self.assertIn("no such", await self.refused(self.sockets.connect(b"/no", Protocol())))

    async def test_hangs(self) -> None:
        """A file system that does not answer is not waited for; the answer is thrown away."""
        self.patch(loginsockets, "ANSWER_SECONDS", 0.2)
        await self.refused(self.sockets.connect(b"/no", Protocol()))
        assert self.sockets._child is not None
        self.sockets._child.signal_group(signal.SIGSTOP)
        path = self.directory + b"/late"
        asked = self.sockets.listen(path, lambda: None)
        self.assertIn("does not answer", await self.refused(asked))
        self.sockets._child.signal_group(signal.SIGCONT)
        while not os.path.exists(path):
            await deferLater(self.reactor, 0.01)
        self.sockets.close()
        await self._ended()
        self.assertFalse(os.path.exists(path))

    async def test_nonsense(self) -> None:
        """What is no socket, or none of the kind that was asked for, is not used."""
        await self.refused(self.sockets.connect(b"/no", Protocol()))
        for make, text in (
            (lambda: os.open(os.devnull, os.O_RDONLY), b""),
            (lambda: socket.socket(socket.AF_INET).detach(), b""),
            (lambda: socket.socket(socket.AF_UNIX).detach(), b""),
        ):
            asked = self.sockets.listen(self.directory + b"/s", lambda: None)
            real, played = (
                self.sockets._control,
                socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET),
            )
            self.reactor.removeReader(self.sockets)
            played[0].setblocking(False)
            self.sockets._control = played[0]
            descriptor = make()
            socket.send_fds(played[1], [encode(self.sockets._number, 1, text)], [descriptor])
            os.close(descriptor)
            self.sockets.doRead()
            self.assertIn("cannot open", await self.refused(asked))
            for each in (real, *played):
                assert each is not None
                each.close()
            self.sockets._control = None

    async def test_closed(self) -> None:
        """Nothing can be asked for after the end."""
        self.sockets.close()
        self.assertIn("ended", await self.refused(self.sockets.connect(b"/x", Protocol())))
