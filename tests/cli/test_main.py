"""Tests of how programs end."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable

import click
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import main
from mezite.cli.options import Invocation, debug_option
from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    LocalError,
    MeziteError,
    NotAuthenticated,
    NotFound,
    RemoteError,
    TimedOut,
    Unavailable,
)


class ExitCodeTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """Each kind of error has its code, and the nearest kind decides."""
        for error, code in (
            (BadInput(), 2),
            (NotAuthenticated(), 3),
            (Denied(), 4),
            (NotFound(), 5),
            (AlreadyExists(), 6),
            (Unavailable(), 7),
            (TimedOut(), 7),
            (RemoteError(), 1),
            (LocalError(), 1),
            (MeziteError(), 1),
            (ZeroDivisionError(), 1),
            (KeyboardInterrupt(), 130),
            (BrokenPipeError(), 141),
        ):
            self.assertEqual(main.exit_code_of(error), code, error)


class RunProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.errors = io.StringIO()
        self.patch(sys, "stderr", self.errors)
        self.patch(sys, "stdout", io.StringIO())

    def run_with(self, body: Callable[[], object], *arguments: str) -> int:
        self.patch(sys, "argv", ["prog", *arguments])

        @click.command(name="prog")
        @debug_option
        def command() -> object:
            return body()

        return main.run_program(command)

    def fails_with(self, error: BaseException, *arguments: str) -> int:
        def fail() -> None:
            raise error

        return self.run_with(fail, *arguments)

    def test_success(self) -> None:
        """A command that returns nothing succeeded, one that returns a number ends with it."""
        self.assertEqual(self.run_with(lambda: None), 0)
        self.assertEqual(self.run_with(lambda: 7), 7)
        self.assertEqual(self.errors.getvalue(), "")

    def test_expected_failure(self) -> None:
        """An error of ours is one sentence after the program's name."""
        self.assertEqual(self.fails_with(NotFound("there is no node db9")), 5)
        self.assertEqual(self.errors.getvalue(), "prog: there is no node db9\n")

    def test_unexpected_failure(self) -> None:
        """A bug is one sentence that tells how to see more."""
        self.assertEqual(self.fails_with(ZeroDivisionError("division by zero")), 1)
        self.assertEqual(
            self.errors.getvalue(),
            "prog: unexpected failure: division by zero (--debug shows where)\n",
        )

    def test_debug(self) -> None:
        """With --debug the traceback is there as well."""
        self.assertEqual(self.fails_with(ZeroDivisionError("division by zero"), "--debug"), 1)
        self.assertIn("Traceback", self.errors.getvalue())

    def test_interrupt(self) -> None:
        """Ctrl-C has the code that shells expect, and needs no words."""
        self.assertEqual(self.fails_with(KeyboardInterrupt()), 130)
        self.assertEqual(self.errors.getvalue().strip(), "")

    def test_broken_pipe(self) -> None:
        """Output that nobody reads any more has its code and needs no words, whoever notices."""
        self.assertEqual(self.fails_with(BrokenPipeError(errno.EPIPE, "Broken pipe")), 141)
        self.assertEqual(self.errors.getvalue(), "")

    def test_usage(self) -> None:
        """A wrong option is one sentence, with where to read more."""
        self.assertEqual(self.run_with(lambda: None, "--nonsense"), 2)
        self.assertIn("--nonsense", self.errors.getvalue())
        self.assertIn("prog --help", self.errors.getvalue())
        self.assertEqual(self.errors.getvalue().count("\n"), 1)

    def test_failure_code(self) -> None:
        """A command that runs others' commands keeps its own failures apart."""

        def fail() -> None:
            click.get_current_context().ensure_object(Invocation).failure_code = 255
            raise NotFound("there is no node db9")

        self.assertEqual(self.run_with(fail), 255)
