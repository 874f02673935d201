"""
The prompt of ``msh sftp``: lines with history and completion, one command at a time.

The reactor runs in a thread of its own and the prompt in the main one, because
that is where readline leaves a terminal as it was, and where Ctrl-C arrives: at
the prompt it drops the line, in a command it ends that command.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.cli.sftpcommands import OpenSession, SftpRequest, go_to, open_session, say, tell
from mezite.client.copysides import FileTrouble, is_directory, readable
from mezite.client.globbing import unescaped
from mezite.client.sftpline import NAMES, REMOTE_FIRST, parse, quoted, words
from mezite.client.sftpsession import CommandFailed, SftpSession
from mezite.error import BadInput, MeziteError

T = TypeVar("T")
PROMPT: Final = "sftp> "
_STOP_SECONDS: Final = 2.0
# More are not read by anyone.
_MOST_SHOWN: Final = 200
# When the main thread is woken after Ctrl-C, in seconds: soon enough for a person,
# and once more for a machine that is busy.
_WAKE_SECONDS: Final = (0.05, 0.5, 2.0)
# The wake-up's own signal, which nobody else uses here and which does nothing.
_WAKING: Final = signal.SIGURG


class ReactorThread:
    """
    The reactor, beside the thread that a person talks to.

    Ctrl-C raises :exc:`KeyboardInterrupt` in :meth:`interruptible` calls, and
    elsewhere waits for the next of them. It is raised again until it has come out of
    one: a Ctrl-C that arrives in the moment before a call sleeps does not wake it,
    and readline drops what is raised while it asks for completions.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._is_interrupted = False
        self._is_raised = False
        self._thread = threading.Thread(target=self._run, name="reactor", daemon=True)

    def _run(self) -> None:
        # Ctrl-C must wake the main thread from its waiting for a line. Whichever
        # thread the kernel gives it to, Python notes it, and the prompt sleeps on.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        self.reactor.run(installSignalHandlers=False)

    def start(self) -> None:
        globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
        noted = _Noted(self._wake_soon)
        self.reactor.addReader(noted)
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(_WAKING, self._wake)
        signal.set_wakeup_fd(noted.there, warn_on_full_buffer=False)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(_STOP_SECONDS)

    def interruptible(self, call: Callable[[], T]) -> T:
        """
        What this call returns, unless Ctrl-C ends it.

        :param call: is not written in Python, see :meth:`_wake`.
        """
        try:
            if self._is_interrupted:
                raise KeyboardInterrupt
            return call()
        except (KeyboardInterrupt, SystemError) as error:
            # input() of Python 3.11 looks for signals once more when one has raised
            # already, and says SystemError if there is another.
            if isinstance(error, SystemError) and not self._is_raised:
                raise
            self._is_interrupted = self._is_raised = False
            raise KeyboardInterrupt from None

    def interrupt_again(self) -> None:
        """What Ctrl-C ended is over; let it reach also what called that."""
        self._is_interrupted = True
        self.reactor.callFromThread(self._wake_soon)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        self._wake(number, frame)

    def _wake(self, number: int, frame: FrameType | None) -> None:
        # In another frame it would be raised in the middle of anything, such as what
        # readline calls while it completes, and there it does harm.
        if self._is_interrupted and frame and frame.f_code is _INTERRUPTIBLE:
            self._is_raised = True
            raise KeyboardInterrupt

    def _wake_soon(self) -> None:
        identity = threading.main_thread().ident
        for seconds in _WAKE_SECONDS:
            self.reactor.callLater(seconds, signal.pthread_kill, identity, _WAKING)

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Run this on the reactor: its result, or its error.

        Ctrl-C cancels it, and is raised once it has ended.
        """
        outcome: list[Any] = []
        running: list[Deferred[T]] = []
        has_ended = threading.Lock()
        has_ended.acquire()

        def end(result: Any) -> None:
            outcome.append(result)
            has_ended.release()

        def begin() -> None:
            running.append(Deferred.fromCoroutine(work()))
            running[0].addBoth(end)

        self.reactor.callFromThread(begin)
        try:
            self.interruptible(has_ended.acquire)
        except KeyboardInterrupt:
            self.reactor.callFromThread(lambda: running[0].cancel())
            if not outcome:
                has_ended.acquire()
            raise
        result = outcome[0]
        if isinstance(result, Failure):
            result.raiseException()
        found: T = result
        return found


_INTERRUPTIBLE: Final = ReactorThread.interruptible.__code__


@implementer(IReadDescriptor)
class _Noted:
    """
    Hears of the signals that Python has noted.

    :param heard: is called in the reactor's thread, after each Ctrl-C.
    """

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._here, self._there = socket.socketpair()
        for end in (self._here, self._there):
            end.setblocking(False)
        self.there = self._there.fileno()

    def fileno(self) -> int:
        return self._here.fileno()

    def logPrefix(self) -> str:
        return "signals"

    def doRead(self) -> None:
        if signal.SIGINT in self._here.recv(4096):
            self._heard()

    def connectionLost(self, reason: Failure) -> None:
        self._here.close()
        self._there.close()


def run_prompt(request: SftpRequest) -> int:
    """
    Talk to a person until they leave.

    :raises MeziteError: if the node cannot be reached, or is lost.
    """
    from twisted.internet import reactor as installed

    runner = ReactorThread(installed)
    runner.start()
    try:
        opened = runner.wait(lambda: open_session(runner.reactor, request))
        try:
            try:
                if not runner.wait(lambda: go_to(opened.session, request)):
                    return 0
            except (FileTrouble, CommandFailed) as error:
                tell(error)
                return 1
            if not request.quiet:
                say(f"Connected to {request.place.node}.")
            return _talk(runner, opened)
        finally:
            runner.reactor.callFromThread(opened.nodes.close)
    finally:
        runner.stop()


def _talk(runner: ReactorThread, opened: OpenSession) -> int:
    session = opened.session
    completion = Completion(session, runner.wait, runner.interrupt_again)
    completion.install()
    while not session.has_left:
        try:
            line = runner.interruptible(partial(input, PROMPT))
        except EOFError:
            say("")
            break
        except KeyboardInterrupt:
            say("")
            continue
        try:
            command = parse(line)
            if command is not None:
                runner.wait(partial(session.run, command))
        except KeyboardInterrupt:
            say("")
        except MeziteError as error:
            tell(error)
        lost = opened.nodes.lost_because()
        if lost is not None:
            raise lost
    return 0


class Completion:
    """
    What a half-typed line may become: commands, and names here or on the node.

    :param wait: runs something on the reactor from this thread.
    :param interrupt_again: lets a Ctrl-C that came while names were looked up reach the
        prompt, too.
    """

    def __init__(
        self,
        session: SftpSession,
        wait: Callable[..., Any],
        interrupt_again: Callable[[], None],
    ) -> None:
        self._session = session
        self._wait = wait
        self._interrupt_again = interrupt_again
        self._found: list[str] = []
        self._shown: list[str] = []

    def install(self) -> None:
        try:
            import readline
        except ImportError:
            return
        readline.set_completer(self.complete)
        # The whole line is completed, because only we know where a quoted word begins.
        readline.set_completer_delims("")
        readline.set_completion_display_matches_hook(self._show)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def complete(self, line: str, state: int) -> str | None:
        """One line after another that this one may become, as readline asks for them."""
        if state == 0:
            try:
                self._found = self.lines(line)
            except MeziteError:
                self._found = []
            except KeyboardInterrupt:
                self._found = []
                self._interrupt_again()
        return self._found[state] if state < len(self._found) else None

    def lines(self, line: str) -> list[str]:
        """All that this line may become."""
        start = _last_word(line)
        before, typed = line[:start], line[start:]
        if not before.strip():
            self._shown = [name for name in NAMES if name.startswith(typed)]
            return [f"{before}{name} " for name in self._shown]
        pattern = _typed_word(typed)
        directory, slash, name = unescaped(pattern).rpartition("/")
        names = self._names(self._is_remote(before), directory + slash)
        self._shown = [each for each in names if each.startswith(name)]
        if not name:
            self._shown = [each for each in self._shown if not each.startswith(".")]
        head = before + quoted(directory + slash)
        return [
            head + quoted(each.rstrip("/")) + ("/" if each.endswith("/") else " ")
            for each in self._shown
        ]

    def _is_remote(self, before: str) -> bool:
        first, *rest = before.split()
        arguments = [word for word in rest if not word.startswith("-")]
        if first in ("put", "mput", "reput"):
            return bool(arguments)
        if first in ("get", "mget", "reget"):
            return not arguments
        return first in REMOTE_FIRST

    def _names(self, is_remote: bool, directory: str) -> list[str]:
        session = self._session
        here = os.path.expanduser(directory)

        async def listed() -> list[str]:
            if is_remote:
                side: Any = session.remote
                path = await session.path(quoted(directory) or ".")
            else:
                side, path = session.local, here
            found = []
            for each in await side.names(path):
                end = "/" if is_directory(each.attributes) else ""
                found.append(each.name + end)
            return found

        names: list[str] = self._wait(listed)
        return names

    def _show(self, substitution: str, matches: Sequence[str], longest: int) -> None:
        import readline

        shown = [readable(each) for each in self._shown[:_MOST_SHOWN]]
        if len(self._shown) > _MOST_SHOWN:
            shown.append("…")
        sys.stdout.write("\n" + "  ".join(shown) + "\n" + PROMPT + readline.get_line_buffer())
        sys.stdout.flush()


def _typed_word(typed: str) -> str:
    """The pattern of a word whose quote may still be open."""
    for end in ("", "'", '"'):
        try:
            return "".join(words(typed + end)[:1])
        except BadInput:
            continue
    return ""


def _last_word(line: str) -> int:
    """Where the word begins that is being typed."""
    start, quote, at = 0, "", 0
    while at < len(line):
        if line[at] == "\\":
            at += 2
            continue
        if quote:
            quote = "" if line[at] == quote else quote
        elif line[at] in "'\"":
            quote = line[at]
        elif line[at] in " \t":
            start = at + 1
        at += 1
    return start
