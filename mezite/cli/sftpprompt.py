"""
The prompt of ``msh sftp``: lines with history and completion, one command at a time.

The reactor runs in a thread of its own and the prompt in the main one, because
that is where readline leaves a terminal as it was, and where Ctrl-C arrives: at
the prompt it drops the line, in a command it ends that command.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

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


class ReactorThread:
    """The reactor, beside the thread that a person talks to."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._thread = threading.Thread(target=self._run, name="reactor", daemon=True)

    def _run(self) -> None:
        # Ctrl-C must wake the main thread from its waiting for a line. Whichever
        # thread the kernel gives it to, Python notes it, and the prompt sleeps on.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        self.reactor.run(installSignalHandlers=False)

    def start(self) -> None:
        globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
        self._thread.start()

    def stop(self) -> None:
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(_STOP_SECONDS)

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """
        Run this on the reactor: its result, or its error.

        Ctrl-C cancels it, and is raised once it has ended.
        """
        outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()
        running: list[Deferred[T]] = []

        def begin() -> None:
            running.append(Deferred.fromCoroutine(work()))
            running[0].addBoth(outcome.put)

        self.reactor.callFromThread(begin)
        try:
            result = outcome.get()
        except KeyboardInterrupt:
            self.reactor.callFromThread(lambda: running[0].cancel())
            outcome.get()
            raise
        if isinstance(result, Failure):
            result.raiseException()
        found: T = result
        return found


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
    completion = Completion(session, runner.wait)
    completion.install()
    while not session.has_left:
        try:
            line = input(PROMPT)
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
    """

    def __init__(self, session: SftpSession, wait: Callable[..., Any]) -> None:
        self._session = session
        self._wait = wait
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
            except (MeziteError, KeyboardInterrupt):
                self._found = []
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
