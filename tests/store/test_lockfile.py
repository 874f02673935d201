"""Tests of the lock on a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.store.error import DataUnusable
from mezite.store.lockfile import hold


class HoldTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()

    def test_one_at_a_time(self) -> None:
        """A second hub is refused, and told who is first."""
        first = hold(self.directory)
        with self.assertRaises(DataUnusable) as caught:
            hold(self.directory)
        self.assertEqual(
            str(caught.exception),
            f"another hub (process {os.getpid()}) is using {self.directory}; stop it, or give"
            " this one another --data-dir",
        )
        first.release()
        first.release()
        hold(self.directory).release()

    def test_gone_with_the_process(self) -> None:
        """A process that dies leaves no lock, only a file."""
        program = (
            "import os, pathlib, sys; from mezite.store.lockfile import hold;"
            "lock = hold(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", program, self.directory], check=False)
        self.assertEqual(done.returncode, -9)
        self.assertTrue((self.directory / "mezhub.lock").exists())
        hold(self.directory).release()

    def test_link(self) -> None:
        """A link in the place of the lock is not followed to be emptied."""
        self.directory.mkdir(mode=0o700)
        elsewhere = self.directory / "elsewhere"
        elsewhere.write_bytes(b"precious")
        (self.directory / "mezhub.lock").symlink_to(elsewhere)
        self.assertRaises(DataUnusable, hold, self.directory)
        self.assertEqual(elsewhere.read_bytes(), b"precious")
