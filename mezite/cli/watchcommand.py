"""
``msh sessions``: those that go on, and a look at one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from mezite.cli.options import format_option
from mezite.cli.recordingviews import at_hub, proxy_option
from mezite.names import HostPort

if TYPE_CHECKING:
    from mezite.client.watching import Watching
    from mezite.recording.events import Header
    from mezite.rpc.client import AuthClient


@click.group()
def sessions() -> None:
    """Sessions that are open now."""


@sessions.command(name="ls", epilog="\b\nExamples:\n  msh sessions ls")
@proxy_option
@format_option
def list_sessions(proxy: HostPort | None, output_format: str) -> None:
    """
    Show live sessions, from wherever they were begun: yours and those that a role of
    yours lets you review, or all for auditors.

    Those with a recording that goes on can be watched.
    """
    from mezite.cli.lockcommands import print_sessions

    def ask(question: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        return at_hub(proxy, lambda reactor, client: question(client))

    print_sessions(ask, output_format, with_recordings=True)


@sessions.command(
    name="watch",
    epilog="\b\nExamples:\n  msh sessions watch 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f"
    "\n  msh sessions watch 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.2 --from-start",
)
@click.argument("session", metavar="ID")
@click.option(
    "--from-start/--now",
    default=False,
    help="Begin with all that was written before, or with what is on the screen now (default).",
)
@proxy_option
def watch(session: str, from_start: bool, proxy: HostPort | None) -> None:
    """
    Watch a session as it goes on, at most a second behind.

    The id is that of the session, or of one of its recordings. Nothing that you
    type goes there: q and Ctrl-C end the watching. That you watch somebody else is
    an event of the audit.
    """

    async def work(reactor: Any, client: AuthClient) -> bool:
        from mezite.client.hubrecordings import find_live, reader_of
        from mezite.client.watching import Watching

        found = await find_live(client, session)
        reader = reader_of(client, found.id)
        watching = Watching(reader, _write, _tell_size, from_start=from_start)
        is_interrupted = await _watch(reactor, watching)
        if reader.is_over:
            click.echo(f"{found.id} has ended.", err=True)
        return is_interrupted

    if at_hub(proxy, work):
        raise KeyboardInterrupt


def _write(text: str) -> None:
    data = memoryview(text.encode("utf-8", "replace"))
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def _tell_size(header: Header) -> None:
    from mezite.client.terminal import window_size

    if not (sys.stdout.isatty() and header.has_terminal):
        return
    size = window_size(sys.stdout.fileno())
    if header.columns > size.columns or header.rows > size.rows:
        click.echo(
            f"msh: their terminal has {header.columns}x{header.rows},"
            f" this one {size.columns}x{size.rows}",
            err=True,
        )


async def _watch(reactor: Any, watching: Watching) -> bool:
    """Watch; whether it was Ctrl-C that ended it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        await watching.watch(reactor)
        return False
    from twisted.internet.defer import CancelledError, Deferred

    from mezite.client.playkeys import INTERRUPT, keys
    from mezite.client.stdio import InputFile
    from mezite.client.terminal import RawTerminal, window_size
    from mezite.recording.rendering import AFTERWARDS

    ended_by: list[bytes] = []
    running = Deferred.fromCoroutine(watching.watch(reactor))

    def typed(data: bytes) -> None:
        for key in keys(data):
            if key in (INTERRUPT, b"q") and not ended_by:
                ended_by.append(key)
                running.cancel()

    with ExitStack() as stack:
        stack.enter_context(RawTerminal(sys.stdin.fileno()))
        rows = window_size(sys.stdout.fileno()).rows
        stack.callback(lambda: _write(f"{AFTERWARDS}\x1b[{rows};1H\x1b[K\r\n"))
        keyboard = InputFile(reactor, sys.stdin.fileno(), typed, running.cancel)
        stack.callback(keyboard.give_back)
        keyboard.resumeProducing()
        _write("\r\n" * rows + "\x1b[H\x1b[2J")
        try:
            await running
        except CancelledError:
            if not ended_by:
                raise
    return ended_by == [INTERRUPT]
