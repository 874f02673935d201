"""
Unix sockets of the node, opened with the rights of a login and no others.

:class:`LoginSockets` owns the process that opens them for one connection
(:mod:`mezite.agent.usersockets`), which begins when it is first needed. So a
path of the person's is nothing that root follows, and a file system that hangs
keeps waiting nobody but that person.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from mezite.agent.accounts import Account
from mezite.agent.childprocess import ChildProcess, Ended, Launch
from mezite.agent.error import SocketRefused
from mezite.agent.localtransport import LocalListener, LocalTransport
from mezite.agent.usersockets import PACKET_SIZE, PATH_LENGTH, Kind, decode, encode
from mezite.ssh.fields import printable

# Each waits for a file system, mostly for a millisecond.
WAITING: Final = 64
ANSWER_SECONDS: Final = 10.0
# From the end of the connection until its process must have removed its files.
_GRACE_SECONDS: Final = 5.0


class ILoginSockets(Interface):
    """
    The unix sockets that one login may use, for one connection.

    What fails, fails with :class:`SocketRefused`. What listens has ``stop()``,
    which leaves connections that stand alone.
    """

    def connect(path: bytes, protocol: IProtocol) -> Deferred[None]:
        """Connect the protocol to a socket that listens there."""

    def listen(path: bytes, make: Callable[[], IProtocol | None]) -> Deferred[Any]:
        """Make a socket there that only the login may connect to; ``make`` may give None."""

    def listen_privately(
        make: Callable[[], IProtocol | None],
    ) -> Deferred[tuple[str, Any]]:
        """The same, in a new directory that is for the login only; its path is told."""

    def remove(path: bytes) -> None:
        """Remove the file of a socket that was made here."""

    def close() -> None:
        """Remove all that was made; nothing can be asked for any more."""


@implementer(ILoginSockets)
class LoginSockets(FileDescriptor):
    """
    :param own_uid: whom this process runs as; unless that is root, it opens
        nothing but its own.
    """

    _log = Logger()

    def __init__(self, reactor: Any, account: Account, *, own_uid: int) -> None:
        super().__init__(reactor)
        self._clock: IReactorTime = reactor
        self._account = account
        self._own_uid = own_uid
        self._control: socket.socket | None = None
        self._child: ChildProcess | None = None
        self._deadline: IDelayedCall | None = None
        self._number = 0
        self._waiting: dict[int, Deferred[tuple[bytes, socket.socket | None]]] = {}
        self._is_closed = False

    # What can be asked for.

    def connect(self, path: bytes, protocol: IProtocol) -> Deferred[None]:
        def carry(answer: tuple[bytes, socket.socket | None]) -> None:
            connected = _checked(answer[1], listens=False)
            protocol.makeConnection(LocalTransport(connected, protocol, self.reactor))

        return self._ask(Kind.CONNECT, path).addCallback(carry)

    def listen(self, path: bytes, make: Callable[[], IProtocol | None]) -> Deferred[Any]:
        return self._ask(Kind.LISTEN, path).addCallback(
            lambda answer: LocalListener(self.reactor, _checked(answer[1], listens=True), make)
        )

    def listen_privately(self, make: Callable[[], IProtocol | None]) -> Deferred[tuple[str, Any]]:
        # Root may connect anyway; and it is root's session if root's agent is asked for.
        only = frozenset({0, self._account.uid})
        return self._ask(Kind.AGENT, b"/").addCallback(
            lambda answer: (
                os.fsdecode(answer[0]),
                LocalListener(self.reactor, _checked(answer[1], listens=True), make, only=only),
            )
        )

    def remove(self, path: bytes) -> None:
        self._ask(Kind.REMOVE, path).addErrback(
            lambda failure: self._log.debug("a socket's file stays: {error}", error=failure.value)
        )

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._hang_up()
        if self._child is not None:
            self._deadline = self._clock.callLater(_GRACE_SECONDS, self._kill)

    def _kill(self) -> None:
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)

    # The process.

    def _ask(self, kind: Kind, path: bytes) -> Deferred[tuple[bytes, socket.socket | None]]:
        try:
            _check(path)
            self._send(kind, path)
        except SocketRefused as error:
            return fail(error)
        except OSError as error:
            self._log.warn("the process for a login's sockets: {error}", error=error)
            return fail(SocketRefused("the node cannot open sockets now"))
        number = self._number

        def forget(_: Any) -> None:
            self._waiting.pop(number, None)

        asked: Deferred[tuple[bytes, socket.socket | None]] = Deferred(forget)
        self._waiting[number] = asked
        return asked.addTimeout(
            ANSWER_SECONDS,
            self._clock,
            lambda failure, seconds: Failure(
                SocketRefused("the file system of that path does not answer")
            ),
        )

    def _send(self, kind: Kind, path: bytes) -> None:
        if self._is_closed:
            raise SocketRefused("the connection has ended")
        if len(self._waiting) >= WAITING:
            raise SocketRefused("too much is asked for at once")
        if self._control is None:
            self._control = self._start()
        self._number += 1
        self._control.send(encode(self._number, kind, path))

    def _start(self) -> socket.socket:
        """:raises OSError:"""
        arguments = [sys.executable, "-I", "-m", "mezite.agent.usersockets"]
        if self._own_uid == 0:
            arguments += ["--become", str(self._account.login)]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, open(os.devnull, "wb") as nowhere:
                # Not in the person's home: to enter that may take for ever.
                child = ChildProcess.start(
                    self.reactor,
                    Launch(sys.executable, arguments, {}, "/"),
                    theirs.fileno(),
                    nowhere.fileno(),
                    nowhere.fileno(),
                    terminal=False,
                )
        except OSError:
            ours.close()
            raise
        child.when_ended(lambda ended: self._child_ended(child, ended))
        self._child = child
        ours.setblocking(False)
        self._control = ours
        self.connected = 1
        self.startReading()
        return ours

    def _child_ended(self, child: ChildProcess, ended: Ended) -> None:
        if ended != Ended(0):
            self._log.warn(
                "the process for the sockets of {login} ended: {ended}",
                login=self._account.login,
                ended=ended,
            )
        if self._child is child:
            self._child = None
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()

    def fileno(self) -> int:
        return -1 if self._control is None else self._control.fileno()

    def doRead(self) -> None:
        while self._control is not None:
            try:
                packet, descriptors, _, _ = socket.recv_fds(
                    self._control, PACKET_SIZE, 1, socket.MSG_CMSG_CLOEXEC
                )
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    self._hang_up()
                return
            try:
                opened = _socket(descriptors[0]) if descriptors else None
                if packet:
                    self._answered(decode(packet), opened)
                else:
                    self._hang_up()
            except (OSError, ValueError) as error:
                # It is the person's process, whatever became of it.
                self._log.warn("what opens a login's sockets talks nonsense: {e}", e=error)
                self._hang_up()

    def _answered(self, answer: tuple[int, int, bytes], opened: socket.socket | None) -> None:
        number, is_done, text = answer
        asked = self._waiting.pop(number, None)
        if asked is None:
            # Given up meanwhile.
            if opened is not None:
                opened.close()
        elif is_done:
            asked.callback((text, opened))
        else:
            asked.errback(SocketRefused(printable(text)))

    def _hang_up(self) -> None:
        """The process removes its files, and ends."""
        control, self._control = self._control, None
        if control is not None:
            # While its descriptor still has its number.
            self.reactor.removeReader(self)
            self.connected = 0
            control.close()
        waiting, self._waiting = self._waiting, {}
        for asked in waiting.values():
            asked.errback(SocketRefused("the node cannot open sockets now"))

    def connectionLost(self, reason: Failure | None) -> None:
        self._hang_up()


def _check(path: bytes) -> None:
    if not path.startswith(b"/") or b"\0" in path:
        raise SocketRefused("a socket is named by an absolute path")
    if len(path) > PATH_LENGTH:
        raise SocketRefused(f"the path of a socket has {PATH_LENGTH} bytes at most")


def _socket(descriptor: int) -> socket.socket:
    """:raises OSError: if it is none; it is closed then."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise


def _checked(opened: socket.socket | None, *, listens: bool) -> socket.socket:
    """What came from a process of the person's is what was asked for."""
    if opened is None:
        raise SocketRefused("the node cannot open sockets now")
    if (
        opened.family != socket.AF_UNIX
        or opened.type != socket.SOCK_STREAM
        or bool(opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) is not listens
    ):
        opened.close()
        raise SocketRefused("the node cannot open sockets now")
    return opened
