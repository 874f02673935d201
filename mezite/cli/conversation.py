"""
What a person at a terminal, or a file on standard input, answers at login.
"""

from __future__ import annotations

import getpass
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

import click
from zope.interface import implementer

from mezite.client.login import IConversation
from mezite.error import BadInput
from mezite.names import HostPort, UserName

if TYPE_CHECKING:
    from mezite.rpc.proto import auth_pb2 as pb

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


def _show_offer(offer: pb.TotpEnrolment) -> None:
    from mezite.identity.qrcode import terminal_text

    click.echo("\nScan this with an authenticator app:\n", err=True)
    click.echo(terminal_text(offer.uri), err=True)
    click.echo(f"\nor type the secret into it: {offer.secret}\n", err=True)


def show_recovery_codes(codes: Sequence[str]) -> None:
    """The codes on standard output, and what they are beside it."""
    click.echo(
        "\nRecovery codes: each lets you in once, without the app. They are not shown"
        " again;\nkeep them where you keep spare keys.\n",
        err=True,
    )
    for code in codes:
        click.echo(code)


@implementer(IConversation)
class TerminalConversation:
    """Asks on the terminal; passwords are not echoed."""

    def password(self, user: UserName) -> str:
        return self._ask(f"Password for {user}: ")

    def new_password(self) -> str:
        click.echo("This password was for one login only. Choose your own.", err=True)
        return self.twice()

    def chosen_password(self, user: UserName) -> str:
        click.echo(f"Welcome, {user}. Choose a password.", err=True)
        return self.twice()

    def second_factor(self) -> str:
        return self._ask("Code of your authenticator app, or a recovery code: ")

    def enrol(self, offer: pb.TotpEnrolment, is_required: bool) -> str:
        if not is_required:
            with _interruptible():
                question = "Enrol an authenticator app, as a second factor?"
                if not click.confirm(question, default=False, err=True):
                    return ""
        _show_offer(offer)
        return self._ask("The code that it shows: ")

    def show_recovery_codes(self, codes: Sequence[str]) -> None:
        show_recovery_codes(codes)

    def twice(self) -> str:
        """A new password, typed twice."""
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
    """
    Takes answers from the lines of a file, in the order of the questions.

    The first is the password; a new one, or a code, stands on the next.
    """

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    def password(self, user: UserName) -> str:
        return self._next("a password is expected on standard input")

    def new_password(self) -> str:
        return self._next(
            "this password was for one login only:"
            " give a new one on the second line of standard input"
        )

    def chosen_password(self, user: UserName) -> str:
        return self._next("the new password is expected on standard input")

    def second_factor(self) -> str:
        return self._next(
            "a code of your second factor is needed: give --otp CODE,"
            " or the code on the next line of standard input"
        )

    def enrol(self, offer: pb.TotpEnrolment, is_required: bool) -> str:
        if not is_required:
            return ""
        click.echo(f"The secret for the app: {offer.uri}", err=True)
        return self._next("the code of the new app is expected on the next line of standard input")

    def show_recovery_codes(self, codes: Sequence[str]) -> None:
        show_recovery_codes(codes)

    def confirm_authority(self, hub: HostPort, pin: str) -> bool:
        raise _no_terminal(hub)

    def _next(self, problem: str) -> str:
        line = self._lines.readline(_PASSWORD_LIMIT).rstrip("\r\n")
        if not line:
            raise BadInput(problem)
        return line
