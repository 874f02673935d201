"""Tests of the commands of sftp, upon this machine's files on both sides."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli.transferprogress import NoProgress
from mezite.client.copylocal import LocalFiles
from mezite.client.copytree import Copier, CopyOptions
from mezite.client.sftpfiles import RemoteFiles
from mezite.client.sftpline import NAMES, parse
from mezite.client.sftpsession import _ACTS, CommandFailed, SftpSession
from mezite.error import MeziteError
from tests.doubles.sftp import DirectSftp, at_once


class SftpSessionTests(SynchronousTestCase):
    """``there`` is the node's directory and ``here`` this machine's."""

    def setUp(self) -> None:
        root = Path(self.mktemp()).absolute()
        self.there, self.here = root / "there", root / "here"
        for directory in (self.there, self.here):
            directory.mkdir(parents=True)
        self.sftp = DirectSftp()
        self.addCleanup(self.sftp.files.close)
        self.said: list[str] = []
        self.complaints: list[str] = []
        self.shells: list[tuple[str | None, str]] = []
        self.shell_status = 0
        self.width: int | None = None
        self.session = SftpSession(
            RemoteFiles(self.sftp, "db1"),
            LocalFiles(at_once, str(self.here)),
            say=self.said.append,
            complain=self.complaints.append,
            new_copier=self.new_copier,
            run_shell=self.run_shell,
            wall_clock=time.time,
            width=lambda: self.width,
        )
        self.successResultOf(Deferred.fromCoroutine(self.session.begin()))
        self.session.here = str(self.there)

    @contextmanager
    def new_copier(self, options: CopyOptions, shows_progress: bool) -> Iterator[Copier]:
        self.showed = shows_progress
        yield Copier(options, NoProgress(), self.complaints.append)

    async def run_shell(self, line: str | None, directory: str) -> int:
        self.shells.append((line, directory))
        return self.shell_status

    def do(self, *lines: str) -> str:
        """What these lines print."""
        self.said.clear()
        for line in lines:
            command = parse(line)
            assert command is not None
            outcome: Any = []
            Deferred.fromCoroutine(self.session.run(command)).addBoth(outcome.append)
            if isinstance(outcome[0], Failure):
                outcome[0].raiseException()
        return "\n".join(self.said)

    def refused(self, line: str) -> str:
        with self.assertRaises(MeziteError) as caught:
            self.do(line)
        return str(caught.exception)

    def test_every_command(self) -> None:
        """Whatever can be typed can be done."""
        for name in NAMES:
            command = None
            for arguments in ("", " 1", " 1 2"):
                try:
                    command = parse(name + arguments)
                    break
                except MeziteError:
                    continue
            assert command is not None
            self.assertIn(command.name, _ACTS)

    def test_directories(self) -> None:
        """One moves about on the node and here."""
        (self.there / "a b").mkdir()
        (self.here / "c").mkdir()
        self.assertEqual(
            self.do("cd 'a b'", "pwd", "cd ..", "pwd", "lcd c", "lpwd"),
            f"Remote working directory: {self.there}/a b\n"
            f"Remote working directory: {self.there}\n"
            f"Local working directory: {self.here}/c",
        )
        self.do("cd")
        self.assertEqual(self.session.here, os.path.realpath("."))
        (self.there / "f").touch()
        self.assertIn("not a directory", self.refused(f"cd {self.there}/f"))
        self.assertIn("no such file", self.refused("lcd nowhere"))

    def test_ls(self) -> None:
        """Directories are listed, patterns expanded, and hidden names left out."""
        for name in ("b", "a", ".h", "x*y"):
            (self.there / name).write_bytes(b"123")
        self.assertEqual(self.do("ls"), "a\nb\nx*y")
        self.assertEqual(self.do("ls -a"), ".\n..\n.h\na\nb\nx*y")
        self.assertEqual(self.do("ls [ab]"), "a\nb")
        self.assertEqual(self.do("ls 'x*y'"), "x*y")
        self.assertRegex(self.do("ls -l a"), r"^-rw-r--r-- .* 3 .* a$")
        self.assertRegex(self.do("ls -l"), r"^-rw-r--r-- .*\n.*\n.*$")
        self.width = 80
        self.assertEqual(self.do("ls"), "a    b    x*y")
        self.assertIn("no such file", self.refused("ls nothing"))

    def test_get_and_put(self) -> None:
        """Files go both ways, to names and into directories, alone and by pattern."""
        for name in ("a1", "a2", "b"):
            (self.there / name).write_text(name)
        (self.here / "d").mkdir()
        self.do("get a1", "get a2 new", "mget a? d")
        self.assertEqual((self.here / "new").read_text(), "a2")
        self.assertEqual(sorted(os.listdir(self.here / "d")), ["a1", "a2"])
        self.do("mkdir up", "put new", "put new other", "mput d/* up")
        self.assertEqual(sorted(os.listdir(self.there / "up")), ["a1", "a2"])
        self.assertEqual((self.there / "other").read_text(), "a2")
        self.assertIn(f"Uploading new to db1:{self.there}/up/new", self.do("put new up"))
        self.assertIn("not a directory", self.refused("get a* other"))
        self.assertRaises(CommandFailed, self.do, "get missing")
        self.assertIn("missing: no such file", self.complaints[0])

    def test_trees(self) -> None:
        """Trees go with -r only, and keep times with -p."""
        (self.there / "t/d").mkdir(parents=True)
        (self.there / "t/d/f").write_text("x")
        os.utime(self.there / "t/d/f", (10, 20))
        self.assertRaises(CommandFailed, self.do, "get t")
        self.do("get -rp t", "put -rp t back")
        for root in (self.here / "t", self.there / "back"):
            self.assertEqual((root / "d/f").stat().st_mtime, 20)

    def test_resumed(self) -> None:
        """What was cut off goes on."""
        (self.there / "f").write_bytes(b"0123456789")
        for line in ("reget f", "get -a f"):
            (self.here / "f").write_bytes(b"ABC")
            self.do(line)
            self.assertEqual((self.here / "f").read_bytes(), b"ABC3456789")
        (self.there / "f").write_bytes(b"X")
        self.do("reput f")
        self.assertEqual((self.there / "f").read_bytes(), b"XBC3456789")

    def test_changes(self) -> None:
        """Files are renamed, linked, changed and removed."""
        (self.there / "a").write_text("1")
        self.do("rename a 'b c'", "ln 'b c' hard", "ln -s 'b c' soft", "symlink x dangling")
        self.assertEqual(sorted(os.listdir(self.there)), ["b c", "dangling", "hard", "soft"])
        self.assertEqual(os.readlink(self.there / "soft"), "b c")
        self.do("chmod 604 soft", f"chown {os.getuid()} soft", f"chgrp -h {os.getgid()} dangling")
        self.assertEqual(stat.S_IMODE((self.there / "b c").stat().st_mode), 0o604)
        self.do("rm hard", "rm dangling", "rm *", "mkdir d", "rmdir d", "lmkdir l")
        self.assertEqual(os.listdir(self.there), [])
        self.assertTrue((self.here / "l").is_dir())

    def test_numbers(self) -> None:
        """Modes and owners are numbers, and no others."""
        (self.there / "a").touch()
        for line in ("chmod 888 a", "chmod +x a", "chmod 70000 a", "chown ada a", "chgrp -1 a"):
            self.assertIsInstance(self.refused(line), str)
        self.assertEqual(self.refused("chmod 9 a"), "'9' is not a mode")

    def test_several_failures(self) -> None:
        """A pattern's files are all tried, and what failed is told."""
        (self.there / "d1").mkdir()
        (self.there / "f").touch()
        (self.there / "d2").mkdir()
        self.assertRaises(CommandFailed, self.do, "rm *")
        self.assertEqual(len(self.complaints), 2)
        self.assertEqual(sorted(os.listdir(self.there)), ["d1", "d2"])

    def test_shell(self) -> None:
        """Commands run here, in the directory where one is."""
        self.do("!echo 'a  b'", "!", "lls -l 'a  b'")
        here = str(self.here)
        self.assertEqual(self.shells, [("echo 'a  b'", here), (None, here), ("ls -l 'a  b'", here)])
        self.shell_status = 3
        self.assertEqual(self.refused("!false"), "the command ended with status 3")

    def test_rest(self) -> None:
        """What remains."""
        self.assertIn("%Capacity", self.do("df"))
        self.assertEqual(self.do("version"), "SFTP protocol version 3")
        self.assertIn("rmdir PATH", self.do("help"))
        (self.there / "f").touch()
        self.assertIn("disabled", self.do("progress", "get f"))
        self.assertFalse(self.showed)
        self.do("bye")
        self.assertTrue(self.session.has_left)
