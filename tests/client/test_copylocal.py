"""Tests of the files of this machine, as a copy sees them."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.client.copylocal import LocalFiles
from mezite.client.copysides import FileDenied, FileThere
from tests.contracts.fileside import FileSideContract
from tests.doubles.sftp import at_once


class LocalFilesTests(FileSideContract, SynchronousTestCase):
    def make_side(self) -> Any:
        return LocalFiles(at_once)

    def test_directory_of_its_own(self) -> None:
        """Relative paths begin where the side is, and absolute ones where they say."""
        (self.here / "f").write_bytes(b"123")
        self.side.go_to(str(self.here))
        for path in ("f", self.at("f")):
            self.assertEqual(self.now(self.side.look(path)).size, 3)
        self.side.go_to("..")
        self.assertEqual(self.side.directory, str(self.here.parent))

    def test_kinds(self) -> None:
        """What the system says decides the kind of the trouble."""
        self.troubled(self.side.make_directory(str(self.here), 0o700), FileThere)

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "stat", refuse)
        sentence = self.troubled(self.side.look("f"), FileDenied)
        self.assertEqual(sentence, "f: permission denied")

    def test_writable_while_written(self) -> None:
        """A file that may not be written is made so that it can be, as scp does."""
        writing = self.now(self.side.open_writing(self.at("f"), 0o444, keep=False))
        self.successResultOf(writing.close())
        self.assertTrue((self.here / "f").stat().st_mode & 0o200)

    def test_device(self) -> None:
        """Devices take bytes although they have no places for them."""
        writing = self.now(self.side.open_writing("/dev/null", 0o600, keep=False))
        self.successResultOf(writing.write(10, b"gone"))
        self.successResultOf(writing.close())
