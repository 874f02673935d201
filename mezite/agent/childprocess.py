"""
One child process: begun as somebody, and its end awaited.

Forking, switching user and group and beginning a session happen in the C code
of :mod:`subprocess`, in the order that loses no right too late. Twisted's
``spawnProcess`` is not used because it drops supplementary groups of root,
finds groups by uid instead of by name, begins no session of its own for pipes,
and enters the home as root.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any, Final

from attrs import frozen
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from mezite.agent.accounts import Account

# From SIGHUP on; who has something to put away does it in less.
HANG_UP_SECONDS: Final = 30.0
# A home on a file server that is gone holds up what enters it, and the thread that waits.
BEGIN_SECONDS: Final = 20.0
_beginnings: Final = BoundedSemaphore(256)


@frozen
class Launch:
    """What to run: the program's file, its arguments from argv[0] on, and as whom."""

    executable: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    become: Account | None = None
    # The program is given ``--report`` and a descriptor, and says on it what it does.
    reports: bool = False


@frozen
class Ended:
    """How a process ended; ``signal`` is None unless one killed it."""

    code: int
    signal: int | None = None
    dumped_core: bool = False


class ChildProcess(FileDescriptor):
    """
    A child, in a session and process group of its own, until it is reaped.

    It owns a pidfd, which becomes readable when the child ends.
    """

    def __init__(self, reactor: Any, child: subprocess.Popen[bytes]) -> None:
        super().__init__(reactor)
        self._child = child
        self._pidfd = os.pidfd_open(child.pid)
        self._on_end: Callable[[Ended], None] = lambda ended: None
        self._is_reaped = False
        self._grace: IDelayedCall | None = None
        self.connected = 1

    @classmethod
    def start(
        cls, reactor: Any, launch: Launch, stdin: int, stdout: int, stderr: int, *, terminal: bool
    ) -> ChildProcess:
        """
        For a program that begins in a directory of the machine's own; see :meth:`begin`.

        :param terminal: whether ``stdin`` is a terminal to be taken over.
        :raises OSError: if it could not be begun.
        """
        return cls._watching(reactor, _spawned(launch, (stdin, stdout, stderr), terminal))

    @classmethod
    def _watching(cls, reactor: Any, child: subprocess.Popen[bytes]) -> ChildProcess:
        try:
            return cls(reactor, child)
        except OSError:
            # It cannot be watched, so that nobody would hear of its end.
            child.kill()
            child.wait()
            raise

    @classmethod
    def begin(
        cls, reactor: Any, launch: Launch, descriptors: Sequence[int], *, terminal: bool
    ) -> Deferred[ChildProcess]:
        """
        Start in a thread, since to enter a directory may take for ever.

        Takes over the descriptors, the standard three and those that the child
        gets under their own numbers, and closes them. Fails with OSError,
        also if the child has not begun within :data:`BEGIN_SECONDS`.
        """
        begun: Deferred[ChildProcess] = Deferred()

        def expire() -> None:
            begun.errback(TimeoutError(f"{launch.directory} does not answer"))

        def succeed(child: ChildProcess) -> None:
            if begun.called:
                # Nobody waits for it any more.
                child.when_ended(lambda ended: None)
                child.signal_group(signal.SIGKILL)
            else:
                deadline.cancel()
                begun.callback(child)

        def fail(error: OSError) -> None:
            if not begun.called:
                deadline.cancel()
                begun.errback(error)

        def run() -> None:
            try:
                child = cls._watching(reactor, _spawned(launch, descriptors, terminal))
            except OSError as error:
                reactor.callFromThread(fail, error)
            except ValueError as error:
                reactor.callFromThread(fail, OSError(str(error)))
            else:
                reactor.callFromThread(succeed, child)
            finally:
                _beginnings.release()
                for descriptor in descriptors:
                    os.close(descriptor)

        if not _beginnings.acquire(blocking=False):
            for descriptor in descriptors:
                os.close(descriptor)
            raise OSError("too many processes are to begin")
        deadline = reactor.callLater(BEGIN_SECONDS, expire)
        Thread(target=run, daemon=True).start()
        return begun

    @property
    def pid(self) -> int:
        return self._child.pid

    def when_ended(self, on_end: Callable[[Ended], None]) -> None:
        """Call this, once, when the child has ended; never from within this call."""
        self._on_end = on_end
        self.startReading()

    def signal_group(self, number: int) -> None:
        """Send a signal to the child and what it has begun, if the child still lives."""
        if not self._is_reaped:
            try:
                os.killpg(self._child.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def hang_up(self) -> None:
        """
        Nobody is there any more: SIGHUP to the child and what it has begun.

        A child that was told to outlive that (nohup) lives on; one that hears
        it and does not end is killed after :data:`HANG_UP_SECONDS`.
        """
        if self._grace is None and not self._is_reaped:
            self.signal_group(signal.SIGHUP)
            # What is stopped cannot hear it.
            self.signal_group(signal.SIGCONT)
            reactor: Any = self.reactor
            self._grace = reactor.callLater(HANG_UP_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        if not self._is_reaped and not _ignores_hanging_up(self._child.pid):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def fileno(self) -> int:
        return self._pidfd

    def doRead(self) -> None:
        pid, status = os.waitpid(self._child.pid, os.WNOHANG)
        if pid == 0:
            return
        self._is_reaped = True
        self._child.returncode = 0  # reaped here; Popen need not try
        self.stopReading()
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        os.close(self._pidfd)
        self._pidfd = -1
        if os.WIFSIGNALED(status):
            ended = Ended(0, os.WTERMSIG(status), os.WCOREDUMP(status))
        else:
            ended = Ended(os.WEXITSTATUS(status))
        self._on_end(ended)

    def connectionLost(self, reason: Failure | None) -> None:
        """The reactor stops; the child is somebody else's now."""
        super().connectionLost(reason)


def _spawned(launch: Launch, descriptors: Sequence[int], terminal: bool) -> subprocess.Popen[bytes]:
    account = launch.become
    stdin, stdout, stderr, *others = descriptors
    try:
        return subprocess.Popen(  # noqa: S603, to run what a person asks for is the job
            list(launch.arguments),
            executable=launch.executable,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(launch.environment),
            close_fds=True,
            pass_fds=others,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else account.groups,
            umask=0o022,
            # Runs as the user already, before the program: it uses os, fcntl and
            # signal only, which take no lock that another thread may hold.
            preexec_fn=_Preparation(launch.directory, terminal),
        )
    except subprocess.SubprocessError as error:
        # The child failed between fork and exec; subprocess does not say how.
        raise OSError(str(error)) from error


def _ignores_hanging_up(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    return bool(int(ignored, 16) & 1 << signal.SIGHUP - 1)


@frozen
class _Preparation:
    """What the child does to itself, as its user, before it becomes the program."""

    directory: str
    terminal: bool

    def __call__(self) -> None:
        if self.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in range(1, signal.NSIG):
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        try:
            os.chdir(self.directory)
        except OSError:
            os.chdir("/")
