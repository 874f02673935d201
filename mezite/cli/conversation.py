"""
What a person at a terminal, or a file on standard input, answers at login.
"""

from __future__ import annotations

import getpass
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import click
from zope.interface import implementer

from mezite.client.login import IConversation
from mezite.error import BadInput
from mezite.names import HostPort, UserName

# argon2 takes any length; nobody types more than this.
_PASSWORD_LIMIT: Final = 1024


def _no_terminal(hub: HostPort) -> BadInput:
    return BadInput(
        f"{hub} is not known yet, and there is no terminal on which to ask about it:"
        " give --ca-pin sha256:… or --ca-file"
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """
    Let Ctrl-C end a question.

    Questions are asked in the reactor's thread, which has nothing else to do
    meanwhile; its own handler of SIGINT would only take note until they end.
    """
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@implementer(IConversation)
class TerminalConversation:
    """Asks on the terminal; passwords are not echoed."""

    def password(self, user: UserName) -> str:
        return self._ask(f"Password for {user}: ")

    def new_password(self) -> str:
        click.echo("This password was for one login only. Choose your own.", err=True)
        while True:
            new = self._ask("New password: ")
            if new and new == self._ask("The same again: "):
                return new
            click.echo("They differ, or are empty. Once more.", err=True)

    def confirm_authority(self, hub: HostPort, pin: str) -> bool:
        if not sys.stdin.isatty():
            raise _no_terminal(hub)
        click.echo(
            f"This is the first login at {hub}, and its certificate is not a public one.\n"
            f"The fingerprint of its authority is\n\n    {pin}\n\n"
            "The hub's administrator sees the right one with: mezctl status",
            err=True,
        )
        with _interruptible():
            return click.confirm("Are they the same?", default=False, err=True)

    def _ask(self, prompt: str) -> str:
        # getpass reads from /dev/tty, and from standard input, echoing, if there is none.
        if not sys.stdin.isatty():
            raise BadInput("there is no terminal to ask for a password: give --password-stdin")
        with _interruptible():
            try:
                return getpass.getpass(prompt)
            except EOFError:
                raise KeyboardInterrupt from None


@implementer(IConversation)
class LinesConversation:
    """Takes the password from the first line of a file, and a new one from the second."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    def password(self, user: UserName) -> str:
        return self._next("a password is expected on standard input")

    def new_password(self) -> str:
        return self._next(
            "this password was for one login only:"
            " give a new one on the second line of standard input"
        )

    def confirm_authority(self, hub: HostPort, pin: str) -> bool:
        raise _no_terminal(hub)

    def _next(self, problem: str) -> str:
        line = self._lines.readline(_PASSWORD_LIMIT).rstrip("\r\n")
        if not line:
            raise BadInput(problem)
        return line
