"""Tests that a terminal is given back, whatever ends the program that made it raw."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

PATIENCE = 20

# It runs as msh does: a coroutine on the reactor, in the state that a session has.
PROGRAM = """
import os, sys
import click
from twisted.internet.task import deferLater
from mezite.cli import main
from mezite.client.terminal import RawTerminal
from mezite.error import Unavailable

async def work(reactor):
    with RawTerminal(0) as raw:
        os.write(1, b"ready")
        how = sys.argv[1]
        if how == "end":
            return 7
        if how == "error":
            raise Unavailable("the hub has gone")
        if how == "bug":
            raise ZeroDivisionError
        if how == "exit":
            sys.exit(3)
        if how == "suspend":
            raw.suspend()
            os.write(1, b"again")
        if how == "echo":
            os.write(1, os.read(0, 100))
            return 0
        await deferLater(reactor, 30, lambda: None)

@click.command(name="msh")
@click.argument("how")
def command(how):
    return main.run(work)

sys.exit(main.run_program(command))
"""


class RawTerminalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.master, self.terminal = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.terminal)
        self.before = self.state()

    def state(self) -> list[Any]:
        return termios.tcgetattr(self.terminal)

    def is_raw(self) -> bool:
        return not self.state()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def start(self, how: str, **rest: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, how],
            stdin=self.terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **(rest or {"start_new_session": True}),
        )

        def clean_up() -> None:
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(clean_up)
        assert process.stdout is not None
        self.assertEqual(os.read(process.stdout.fileno(), 5), b"ready")
        return process

    def ends(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(self.state(), self.before)
        return process.returncode, errors.decode()

    def test_end(self) -> None:
        """After the end of a session the terminal is as it was."""
        self.assertEqual(self.ends(self.start("end")), (7, ""))

    def test_error(self) -> None:
        """So it is after an error, which is told after that."""
        self.assertEqual(self.ends(self.start("error")), (7, "msh: the hub has gone\n"))

    def test_bug(self) -> None:
        """So it is after a bug, which is one sentence too."""
        code, errors = self.ends(self.start("bug"))
        self.assertEqual(code, 1)
        self.assertEqual(errors.count("\n"), 1)

    def test_exit(self) -> None:
        """So it is when the interpreter is told to exit."""
        code, _ = self.ends(self.start("exit"))
        self.assertEqual(code, 3)

    def test_signals(self) -> None:
        """So it is after each signal that ends a program."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process = self.start("wait")
            self.assertTrue(self.is_raw())
            process.send_signal(number)
            code, errors = self.ends(process)
            self.assertEqual((code, errors.strip()), (128 + number, ""))

    def test_interrupt_key(self) -> None:
        """Ctrl-C and the other keys that send signals are bytes like any other."""
        process = self.start("echo")
        os.write(self.master, b"\x03\x1c\x1a\x04\r")
        output, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(output, b"\x03\x1c\x1a\x04\r")

    def test_suspended(self) -> None:
        """A program that suspends itself gives the terminal back, and takes it again."""
        # Nobody could continue the only group of a session, so that is never stopped.
        process = self.start("suspend", process_group=0)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        self.assertEqual(self.state(), self.before)
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        self.assertEqual(os.read(process.stdout.fileno(), 5), b"again")
        self.assertTrue(self.is_raw())
        process.send_signal(signal.SIGTERM)
        self.ends(process)

    def test_stopped_and_continued(self) -> None:
        """A terminal that others changed while we were stopped is made raw again."""
        process = self.start("wait")
        process.send_signal(signal.SIGSTOP)
        termios.tcsetattr(self.terminal, termios.TCSANOW, self.before)
        self.assertFalse(self.is_raw())
        process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + PATIENCE
        while not self.is_raw() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertTrue(self.is_raw())
        process.send_signal(signal.SIGTERM)
        self.ends(process)
