"""Tests of copying files and trees between two sides."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.client.copylocal import LocalFiles
from mezite.client.copyplaces import copy_all
from mezite.client.copysides import FileTrouble
from mezite.client.copytree import MAX_DEPTH, Copier, CopyOptions, IMeter, IProgress, Place
from mezite.client.sftpchannel import SftpEnded
from mezite.client.sftpfiles import RemoteFiles
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, Entry
from mezite.ssh.sftpwire import StatusCode
from tests.doubles.sftp import DirectSftp, at_once

TREE = CopyOptions(recursive=True)


@implementer(IProgress, IMeter)
class Counting:
    """How much was to be copied, and how much was."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.total = self.done = self.ends = 0

    def begin(self, name: str) -> IMeter:
        self.names.append(name)
        return self

    def grow(self, count: int) -> None:
        self.total += count

    def advance(self, count: int) -> None:
        self.done += count

    def end(self) -> None:
        self.ends += 1


class CopyTests(SynchronousTestCase):
    """Copies between this machine and itself, over SFTP."""

    def setUp(self) -> None:
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir(parents=True)
        self.sftp = DirectSftp()
        self.addCleanup(self.sftp.files.close)
        self.local = LocalFiles(at_once)
        self.remote = RemoteFiles(self.sftp, "db1")
        self.other = RemoteFiles(DirectSftp(), "web1")
        self.progress = Counting()
        self.complaints: list[str] = []

    def at(self, name: str) -> str:
        return f"{self.here}/{name}"

    def file(self, name: str, content: bytes = b"content", mode: int = 0o644) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def copier(self, options: CopyOptions) -> Copier:
        self.complaints.clear()
        return Copier(options, self.progress, self.complaints.append)

    def copy(
        self,
        source: str,
        target: str,
        options: CopyOptions = CopyOptions(),  # noqa: B008 - frozen
        *,
        way: tuple[Any, Any] | None = None,
    ) -> int:
        """How many failed."""
        from_side, to_side = way or (self.remote, self.local)
        copier = self.copier(options)
        places = Place(from_side, self.at(source)), Place(to_side, self.at(target))
        self.successResultOf(Deferred.fromCoroutine(copier.copy(*places)))
        return copier.failures

    def ways(self) -> list[tuple[Any, Any]]:
        return [
            (self.remote, self.local),
            (self.local, self.remote),
            (self.local, self.local),
            (self.remote, self.other),
            (self.remote, self.remote),
        ]

    def test_doubles(self) -> None:
        """The double is what it stands for."""
        self.assertTrue(verifyObject(IProgress, self.progress))
        self.assertTrue(verifyObject(IMeter, self.progress))

    def test_files(self) -> None:
        """Files of any size are copied every way, over a longer one that was there."""
        for size in (0, 1, 100_000, 3_000_001):
            content = os.urandom(size)
            self.file("f", content)
            for way in self.ways():
                self.file("g", b"x" * 4_000_000)
                self.assertEqual(self.copy("f", "g", way=way), 0, self.complaints)
                self.assertEqual((self.here / "g").read_bytes(), content)
        self.assertEqual(self.progress.total, self.progress.done)
        self.assertEqual(self.progress.ends, len(self.progress.names))

    def test_mode(self) -> None:
        """A new file has its mode and writing, less the umask; -p keeps all of it."""
        self.file("f", mode=0o4555)
        os.utime(self.at("f"), (10, 20))
        self.copy("f", "new")
        self.assertEqual(stat.S_IMODE((self.here / "new").stat().st_mode), 0o755)
        for way in self.ways():
            self.copy("f", "kept", CopyOptions(preserve=True), way=way)
            found = (self.here / "kept").stat()
            self.assertEqual((stat.S_IMODE(found.st_mode), found.st_mtime), (0o555, 20))
            (self.here / "kept").unlink()

    def test_tree(self) -> None:
        """Trees are copied with empty directories, strange names and followed links."""
        for name in ("t/a", "t/d/b", "t/d/e/c", "t/ -x\n'é"):
            self.file(name, name.encode())
        (self.here / "t/empty").mkdir()
        (self.here / "t/link").symlink_to("a")
        (self.here / "t/linked").symlink_to("d")
        (self.here / "t/d").chmod(0o500)
        for number, way in enumerate(self.ways()):
            target = f"copy{number}"
            self.assertEqual(self.copy("t", target, TREE, way=way), 0, self.complaints)
            root = self.here / target
            self.assertEqual((root / "linked/e/c").read_bytes(), b"t/d/e/c")
            self.assertEqual((root / " -x\n'é").read_bytes(), " -x\n'é".join(["t/", ""]).encode())
            self.assertFalse((root / "link").is_symlink())
            self.assertTrue((root / "empty").is_dir())
            self.assertEqual(stat.S_IMODE((root / "d").stat().st_mode), 0o500)

    def test_tree_keeps_times(self) -> None:
        """With -p directories have their times after what was written into them."""
        self.file("t/d/f")
        for name in ("t/d", "t"):
            os.utime(self.here / name, (30, 40))
        for way in self.ways():
            self.copy("t", "u", CopyOptions(recursive=True, preserve=True), way=way)
            self.assertEqual((self.here / "u").stat().st_mtime, 40)
            self.assertEqual((self.here / "u/d").stat().st_mtime, 40)

    def test_onto_what_is_there(self) -> None:
        """A tree joins a directory that is there, and refuses a file that is."""
        self.file("t/a")
        self.file("u/b")
        self.assertEqual(self.copy("t", "u", TREE), 0)
        self.assertEqual(sorted(os.listdir(self.here / "u")), ["a", "b"])
        self.file("w")
        self.assertEqual(self.copy("t", "w", TREE), 1)
        self.assertEqual(self.complaints, [f"{self.at('w')}: not a directory"])

    def test_directory_without_r(self) -> None:
        """A directory is copied only if that was asked for."""
        self.file("t/a")
        self.assertEqual(self.copy("t", "u"), 1)
        self.assertEqual(
            self.complaints, [f"db1:{self.at('t')}: is a directory, which only -r copies"]
        )

    def test_goes_on(self) -> None:
        """What cannot be copied is told and counted, and the rest copied."""
        self.file("t/a")
        os.mkfifo(self.here / "t/pipe")
        (self.here / "t/broken").symlink_to("nowhere")
        self.file("t/z")
        self.assertEqual(self.copy("t", "u", TREE), 2)
        self.assertEqual(sorted(os.listdir(self.here / "u")), ["a", "z"])
        self.assertEqual(
            sorted(self.complaints),
            [
                f"db1:{self.at('t/broken')}: no such file or directory",
                f"db1:{self.at('t/pipe')}: not a regular file",
            ],
        )

    def test_circles(self) -> None:
        """A link to a directory above is told, and not followed for ever."""
        self.file("t/d/f")
        (self.here / "t/d/up").symlink_to("..")
        for way in self.ways():
            self.assertEqual(self.copy("t", "u", TREE, way=way), 1)
            self.assertIn("leads back to a directory that it is in", self.complaints[0])
            self.assertTrue((self.here / "u/d/f").exists())

    def test_too_deep(self) -> None:
        """What goes on and on downwards comes to an end."""
        self.file("/".join(["t"] + ["d"] * (MAX_DEPTH + 3)) + "/f")
        self.assertEqual(self.copy("t", "u", TREE), 1)
        self.assertIn(f"more than {MAX_DEPTH} directories deep", self.complaints[0])

    def test_itself(self) -> None:
        """A file is not copied onto itself, which would empty it, nor a tree into itself."""
        self.file("t/a")
        for side in (self.local, self.remote):
            way = (side, side)
            self.assertEqual(self.copy("t/a", "t/../t/a", way=way), 1)
            self.assertIn("are the same file", self.complaints[0])
            self.assertEqual(self.copy("t", "t", TREE, way=way), 1)
            self.assertEqual(self.copy("t", "t/new", TREE, way=way), 0, self.complaints)
            self.assertEqual((self.here / "t/a").read_bytes(), b"content")
            self.assertEqual(os.listdir(self.here / "t/new"), ["a"])
            os.unlink(self.here / "t/new/a")
            os.rmdir(self.here / "t/new")

    def test_resumed(self) -> None:
        """A copy goes on behind what is there, starts anew, or refuses what is longer."""
        content = os.urandom(1_000_000)
        self.file("f", content)
        options = CopyOptions(resume=True)
        for way in self.ways():
            for there in (0, 400_000, 1_000_000):
                self.file("g", content[:there])
                self.assertEqual(self.copy("f", "g", options, way=way), 0)
                self.assertEqual((self.here / "g").read_bytes(), content)
            (self.here / "g").unlink()
            self.assertEqual(self.copy("f", "g", options, way=way), 0)
            self.file("g", content + b"x")
            self.assertEqual(self.copy("f", "g", options, way=way), 1)
            self.assertIn("longer than what it should be the beginning of", self.complaints[0])

    def test_write_fails(self) -> None:
        """A file that cannot be written to its end is told, and all handles closed."""
        self.file("f", b"x" * 3_000_000)
        self.sftp.instead[wire.Write] = lambda request: (
            wire.Status(request.request_id, StatusCode.FAILURE, b"No space left on device")
            if request.offset > 1_000_000
            else self.sftp.files.answer(request)
        )
        self.assertEqual(self.copy("f", "g", way=(self.local, self.remote)), 1)
        self.assertEqual(self.complaints, [f"db1:{self.at('g')}: no space left on device"])
        opened = sum(isinstance(each, wire.Open) for each in self.sftp.asked)
        closed = sum(isinstance(each, wire.Close) for each in self.sftp.asked)
        self.assertEqual(opened, closed)

    def test_session_lost(self) -> None:
        """The end of the session ends the copy, instead of one complaint for each file."""
        for number in range(30):
            self.file(f"t/{number}")
        self.sftp.instead[wire.Read] = lambda request: SftpEnded("gone")
        copier = self.copier(TREE)
        places = Place(self.remote, self.at("t")), Place(self.local, self.at("u"))
        self.failureResultOf(Deferred.fromCoroutine(copier.copy(*places)), SftpEnded)
        self.assertEqual(self.complaints, [])

    def test_cancelled(self) -> None:
        """A copy that is cancelled ends at once, with its handles closed."""
        self.file("t/f", b"x" * 100)
        never: list[Deferred[Any]] = []

        class Slow(DirectSftp):
            def ask(self, request: wire.Request) -> Deferred[wire.Reply]:
                if isinstance(request, wire.Read):
                    never.append(Deferred())
                    return never[-1]
                return super().ask(request)

        slow = Slow()
        copier = self.copier(TREE)
        places = Place(RemoteFiles(slow, "db1"), self.at("t")), Place(self.local, self.at("u"))
        running = Deferred.fromCoroutine(copier.copy(*places))
        self.assertTrue(never)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertIsInstance(slow.asked[-1], wire.Close)
        self.assertEqual(self.complaints, [])

    # A node that lies.

    def test_hostile_names(self) -> None:
        """Names that lead out of the target are refused, and nothing is written there."""
        self.file("t/a")
        entry = Entry(b"../../evil", b"", Attributes(5, None, 0o100644, None))
        answers = [(entry,)]
        self.sftp.instead[wire.Readdir] = lambda request: (
            wire.Name(0, answers.pop()) if answers else wire.Status(0, StatusCode.EOF, b"")
        )
        self.assertEqual(self.copy("t", "u/v", TREE), 1)
        self.assertIn("which no file can be named", self.complaints[0])
        self.assertEqual(sorted(os.listdir(self.here)), ["t"])

    def test_hostile_size(self) -> None:
        """A size beyond all measure costs nothing but its questions."""
        self.file("f", b"12345")
        self.sftp.instead[wire.Stat] = lambda request: wire.Attrs(
            0, Attributes(2**64 - 1, None, 0o100644, None)
        )
        self.assertEqual(self.copy("f", "g"), 0)
        self.assertEqual((self.here / "g").read_bytes(), b"12345")
        self.assertLess(len(self.sftp.asked), 100)

    def test_data_behind_the_end(self) -> None:
        """A node that contradicts itself is told as a file that changed."""
        self.file("f", b"x" * 100_000)
        self.sftp.instead[wire.Read] = lambda request: (
            self.sftp.files.answer(request)
            if request.offset
            else wire.Status(0, StatusCode.EOF, b"")
        )
        self.assertEqual(self.copy("f", "g"), 1)
        self.assertEqual(
            self.complaints, [f"db1:{self.at('f')}: the file changed while it was read"]
        )

    # What is copied where.

    def copy_all(
        self,
        sources: list[str],
        target: str,
        options: CopyOptions = TREE,
        *,
        way: tuple[Any, Any] | None = None,
    ) -> int:
        from_side, to_side = way or (self.remote, self.local)
        copier = self.copier(options)
        places = [Place(from_side, self.at(each)) for each in sources]
        running = Deferred.fromCoroutine(copy_all(copier, places, Place(to_side, self.at(target))))
        outcome: list[Any] = []
        running.addBoth(outcome.append)
        if outcome[0] is not None:
            self.assertIsInstance(outcome[0].value, FileTrouble)
            self.complaints.append(str(outcome[0].value))
            return -1
        return copier.failures

    def test_into_or_onto(self) -> None:
        """Into a directory that is there; else to the very name."""
        self.file("f")
        self.file("t/a")
        (self.here / "d").mkdir()
        for source, target, made in (
            ("f", "d", "d/f"),
            ("f", "new", "new"),
            ("t", "d", "d/t/a"),
            ("t/", "d", "d/t/a"),
            ("t", "tree", "tree/a"),
            ("t/.", "d", "d/a"),
            ("t/../f", "d", "d/f"),
        ):
            for way in self.ways():
                self.assertEqual(self.copy_all([source], target, way=way), 0, self.complaints)
                self.assertTrue((self.here / made).is_file(), made)
                (self.here / made).unlink()
                if target == "tree":
                    (self.here / target).rmdir()

    def test_several(self) -> None:
        """Several files want a directory, and a missing one spoils no other."""
        self.file("a")
        self.file("b")
        self.assertEqual(self.copy_all(["a", "b"], "no"), -1)
        self.assertEqual(self.complaints, [f"{self.at('no')}: not a directory"])
        (self.here / "d").mkdir()
        self.assertEqual(self.copy_all(["a", "missing", "b"], "d"), 1)
        self.assertEqual(sorted(os.listdir(self.here / "d")), ["a", "b"])

    def test_patterns(self) -> None:
        """The node's files are named by patterns and braces, and this machine's are not."""
        for name in ("x1", "x2", "y1", ".x3", "w[1]"):
            self.file(f"s/{name}")
        (self.here / "d").mkdir()
        self.assertEqual(self.copy_all(["s/x*", "s/{y1,w\\[1]}"], "d"), 0, self.complaints)
        self.assertEqual(sorted(os.listdir(self.here / "d")), ["w[1]", "x1", "x2", "y1"])
        self.assertEqual(self.copy_all(["s/x*"], "one"), -1)
        self.assertEqual(self.copy_all(["s/n*"], "d"), 1)
        self.assertIn("s/n*: no such file", self.complaints[0])
        self.assertEqual(self.copy_all(["s/w[1]"], "d", way=(self.local, self.remote)), 0)

    def test_home(self) -> None:
        """A tilde is the node's home."""
        self.patch(os, "environ", {**os.environ, "HOME": str(self.here)})
        self.file("f")
        (self.here / "d").mkdir()
        copier = self.copier(CopyOptions())
        places = [Place(self.remote, pattern) for pattern in ("~/f", "~/[f]")]
        target = Place(self.local, self.at("d"))
        self.successResultOf(Deferred.fromCoroutine(copy_all(copier, places, target)))
        self.assertEqual((copier.failures, os.listdir(self.here / "d")), (0, ["f"]))
