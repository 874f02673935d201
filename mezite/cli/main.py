"""
The entry points of msh and mezctl, and how every ending of theirs is told.

Owns the table from the kind of an error to an exit code, and the running of a
coroutine on the reactor. What the commands do is left to :mod:`mezite.cli.msh`
and :mod:`mezite.cli.mezctl`.

OpenSSH starts ``msh proxy ssh`` for every connection, so this module imports
nothing that takes time; what a command needs is imported when it is run.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine

from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    MeziteError,
    NotAuthenticated,
    NotFound,
    Unavailable,
)

# As typing has it, whose import alone would be felt in every msh proxy ssh.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Final, TypeVar

    import click
    from twisted.logger import ILogObserver
    from twisted.python.failure import Failure

    from mezite.cli.options import Invocation

    T = TypeVar("T")

# The first kind that fits decides, so a kind stands before what it is a kind of.
EXIT_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (BadInput, 2),
    (NotAuthenticated, 3),
    (Denied, 4),
    (NotFound, 5),
    (AlreadyExists, 6),
    (Unavailable, 7),
    (KeyboardInterrupt, 128 + signal.SIGINT),
    (BrokenPipeError, 128 + signal.SIGPIPE),
)
OTHER_FAILURE: Final = 1

# What a cancelled command may still spend on closing its connections.
CLEANUP_SECONDS: Final = 2.0


def msh() -> int:
    """The program ``msh``."""
    if sys.argv[1:3] == ["proxy", "ssh"] and "--help" not in sys.argv:
        from mezite.client import proxycommand

        return proxycommand.main(sys.argv[3:])
    from mezite.cli.msh import msh as commands

    return run_program(commands)


def mezctl() -> int:
    """The program ``mezctl``."""
    from mezite.cli.mezctl import mezctl as commands

    return run_program(commands)


def exit_code_of(error: BaseException) -> int:
    """The exit code that tells this kind of error."""
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            return code
    return OTHER_FAILURE


def run_program(commands: click.Command) -> int:
    """
    Run a click command, or group of commands, over ``sys.argv``.

    Whatever ends it becomes one sentence on standard error and an exit code;
    a traceback is shown only when ``--debug`` asked for it.
    """
    import click

    from mezite.cli.options import Invocation

    invocation = Invocation()
    name = commands.name or "mezite"
    try:
        result = commands.main(prog_name=name, standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        _say(name, _one_sentence(error), invocation)
        return invocation.failure_code or error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exit_code_of(KeyboardInterrupt())
    except SystemExit as error:
        # In this mode click itself exits for a broken pipe only, and with 1.
        if error.code != 1:
            raise
        return exit_code_of(BrokenPipeError())
    except BrokenPipeError as error:
        _abandon_output()
        return exit_code_of(error)
    except MeziteError as error:
        _say(name, str(error), invocation)
        return invocation.failure_code or exit_code_of(error)
    except Exception as error:
        hint = "" if invocation.debug else " (--debug shows where)"
        text = str(error) or type(error).__name__
        _say(name, f"unexpected failure: {text}{hint}", invocation)
        return invocation.failure_code or exit_code_of(error)
    return result if isinstance(result, int) else 0


def run(work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """
    Run ``work(reactor)`` on the reactor until it ends: its result, or its error.

    SIGINT, SIGTERM and SIGHUP cancel it, and it has :data:`CLEANUP_SECONDS` to
    end; then :class:`KeyboardInterrupt` or :class:`SystemExit` is raised.
    A process can do this once, since a Twisted reactor does not start again.
    """
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred

    reactor: Any = installed
    outcome: list[T | Failure] = []
    caught: list[int] = []
    running: Deferred[T] = Deferred()

    def stop() -> None:
        if reactor.running:
            reactor.stop()

    def ended(result: T | Failure) -> None:
        outcome.append(result)
        stop()

    def begin() -> None:
        nonlocal running
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's "&"
                signal.signal(number, on_signal)
        running = Deferred.fromCoroutine(work(reactor))
        running.addBoth(ended)

    def on_signal(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(interrupt, number)

    def interrupt(number: int) -> None:
        if caught:
            return
        caught.append(number)
        reactor.callLater(CLEANUP_SECONDS, stop)
        running.cancel()

    _begin_logging()
    reactor.callWhenRunning(begin)
    reactor.run()
    if caught:
        if caught[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + caught[0])
    return _value_of(outcome)


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _value_of(outcome: list[T | Failure]) -> T:
    from twisted.python.failure import Failure

    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
        raise AssertionError("unreachable")
    return result


def _begin_logging() -> None:
    """
    Show what the client itself logs, as sentences, as far as that was asked for.

    The library's log is kept out of a person's terminal, unless ``--debug``.
    """
    import click
    from twisted.logger import globalLogBeginner, textFileLogObserver

    context = click.get_current_context(silent=True)
    invocation = None if context is None else context.find_root().obj
    debug = bool(getattr(invocation, "debug", False))
    verbosity = int(getattr(invocation, "verbosity", 0))
    observers: list[ILogObserver] = [
        textFileLogObserver(sys.stderr) if debug else _sentences(verbosity)
    ]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)


def _sentences(verbosity: int) -> ILogObserver:
    from twisted.logger import ILogObserver, LogLevel, formatEvent
    from zope.interface import implementer

    shown = {LogLevel.critical, LogLevel.error, LogLevel.warn} if verbosity >= 0 else set()
    if verbosity > 0:
        shown.add(LogLevel.info)
    # A terminal may be raw, and needs to be told to begin at the left.
    end = "\r\n" if sys.stderr.isatty() else "\n"

    @implementer(ILogObserver)
    def observe(event: dict[str, Any]) -> None:
        namespace = str(event.get("log_namespace"))
        if event.get("log_level") in shown and namespace.startswith(_SHOWN_NAMESPACES):
            _write(f"msh: {formatEvent(event)}{end}")

    shown_on: ILogObserver = observe
    return shown_on


_SHOWN_NAMESPACES: Final = ("mezite.client.", "mezite.cli.")


def _say(name: str, sentence: str, invocation: Invocation) -> None:
    if invocation.debug:
        import traceback

        traceback.print_exc()
    _write(f"{name}: {sentence}\n")


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody is left to be told


def _one_sentence(error: click.ClickException) -> str:
    """What click has to say about how it was called, with where to read more."""
    import click

    sentence = error.format_message().rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        sentence += f" (see {error.ctx.command_path} --help)"
    return sentence


def _abandon_output() -> None:
    """Make the interpreter's last flush of a broken pipe a silent one."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
