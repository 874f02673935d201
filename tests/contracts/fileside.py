"""What the files of either side promise to a copy."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.client.copysides import (
    FileMissing,
    FileTrouble,
    IFileSide,
    IReading,
    IWriting,
    is_directory,
    is_link,
    is_regular,
)
from mezite.ssh.sftpfields import Attributes

STRANGE = "a b\n'\"-*é\udcff"


class FileSideContract:
    """Mixed into a ``SynchronousTestCase`` that makes ``side``."""

    side: Any

    def make_side(self) -> Any:
        raise NotImplementedError

    def setUp(self: Any) -> None:
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir(parents=True)
        self.side = self.make_side()

    def now(self: Any, coroutine: Any) -> Any:
        """The result of something that has happened already."""
        case: SynchronousTestCase = self
        return case.successResultOf(Deferred.fromCoroutine(coroutine))

    def troubled(self: Any, coroutine: Any, kind: type[FileTrouble] = FileTrouble) -> str:
        """The sentence with which it fails."""
        return str(self.failureResultOf(Deferred.fromCoroutine(coroutine), kind).value)

    def at(self: Any, name: str) -> str:
        return f"{self.here}/{name}"

    def test_interfaces(self: Any) -> None:
        """The side and its files are what they say."""
        self.assertTrue(verifyObject(IFileSide, self.side))
        writing = self.now(self.side.open_writing(self.at("f"), 0o600, keep=False))
        self.assertTrue(verifyObject(IWriting, writing))
        self.assertTrue(verifyObject(IReading, self.now(self.side.open_reading(self.at("f")))))

    def test_look(self: Any) -> None:
        """Files, directories and links are told apart, and links followed if wanted."""
        (self.here / "f").write_bytes(b"12345")
        (self.here / "l").symlink_to("f")
        self.assertTrue(is_directory(self.now(self.side.look(str(self.here)))))
        found = self.now(self.side.look(self.at("l")))
        self.assertTrue(is_regular(found))
        self.assertEqual(found.size, 5)
        self.assertTrue(is_link(self.now(self.side.look(self.at("l"), follow=False))))

    def test_missing(self: Any) -> None:
        """What is not there is named in the sentence, with the system's words."""
        for coroutine in (
            self.side.look(self.at("no")),
            self.side.open_reading(self.at("no")),
            self.side.names(self.at("no")),
            self.side.identity(self.at("no/no")),
        ):
            sentence = self.troubled(coroutine, FileMissing)
            self.assertIn(self.at("no"), sentence)
            self.assertTrue(sentence.endswith(": no such file or directory"), sentence)

    def test_names(self: Any) -> None:
        """Names come in order, whatever characters they have."""
        for name in ("b", "a", STRANGE, ".hidden"):
            Path(self.at(name)).touch()
        listed = self.now(self.side.names(str(self.here)))
        self.assertEqual([each.name for each in listed], sorted([".hidden", "a", STRANGE, "b"]))
        self.assertTrue(all(is_regular(each.attributes) for each in listed))

    def test_strange_name(self: Any) -> None:
        """Spaces, line feeds, a leading dash and bytes that are no text are a name's right."""
        writing = self.now(self.side.open_writing(self.at(STRANGE), 0o644, keep=False))
        self.successResultOf(writing.write(0, b"there"))
        self.successResultOf(writing.close())
        self.assertEqual(Path(self.at(STRANGE)).read_bytes(), b"there")
        shown = self.side.shown(STRANGE)
        self.assertTrue(shown.isprintable(), shown)

    def test_contents(self: Any) -> None:
        """Parts are written and read at their places, and the end is told."""
        writing = self.now(self.side.open_writing(self.at("f"), 0o640, keep=False))
        self.successResultOf(writing.write(4, b"5678"))
        self.successResultOf(writing.write(0, b"1234"))
        self.successResultOf(writing.change(Attributes(permissions=0o600, times=(5, 6))))
        self.successResultOf(writing.close())
        found = (self.here / "f").stat()
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_mtime), (0o600, 6))
        reading = self.now(self.side.open_reading(self.at("f")))
        self.assertEqual(self.successResultOf(reading.read(2, 4)), b"3456")
        self.assertEqual(self.successResultOf(reading.read(6, 100)), b"78")
        self.assertEqual(self.successResultOf(reading.read(8, 100)), b"")
        self.successResultOf(reading.close())

    def test_replaced_or_kept(self: Any) -> None:
        """A file that is opened to be written is emptied, unless it is to be kept."""
        for keep, size in ((True, 5), (False, 0)):
            (self.here / "f").write_bytes(b"12345")
            writing = self.now(self.side.open_writing(self.at("f"), 0o600, keep=keep))
            self.successResultOf(writing.close())
            self.assertEqual((self.here / "f").stat().st_size, size)

    def test_directories(self: Any) -> None:
        """A directory is made once, and can be changed."""
        self.now(self.side.make_directory(self.at("d"), 0o700))
        self.troubled(self.side.make_directory(self.at("d"), 0o700))
        self.now(self.side.change(self.at("d"), Attributes(permissions=0o750, times=(1, 2))))
        found = (self.here / "d").stat()
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_mtime), (0o750, 2))

    def test_identity(self: Any) -> None:
        """Two ways to one directory are one directory."""
        (self.here / "d").mkdir()
        (self.here / "l").symlink_to("d")
        one, other = (self.now(self.side.identity(self.at(name))) for name in ("d", "l"))
        self.assertEqual(one, other)
        self.assertNotEqual(one, self.now(self.side.identity(str(self.here))))

    def test_no_path(self: Any) -> None:
        """A NUL in a path is a sentence and not a crash."""
        self.troubled(self.side.look("a\0b"))

    def test_pipe(self: Any) -> None:
        """To open a pipe that nobody writes does not hang."""
        os.mkfifo(self.at("p"))
        self.successResultOf(self.now(self.side.open_reading(self.at("p"))).close())
