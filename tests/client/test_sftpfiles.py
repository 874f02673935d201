"""Tests of the files of a node, asked by SFTP."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.client import copysides, sftpfiles
from mezite.client.copysides import FileDenied, FileMissing, FileTrouble
from mezite.client.sftpchannel import ISftp, SftpEnded
from mezite.client.sftpconversation import AnswerRefused
from mezite.client.sftpfiles import LEAST_DATA, MOST_DATA, NotSupported, RemoteFiles
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, Entry, u64
from mezite.ssh.sftpwire import StatusCode
from tests.contracts.fileside import FileSideContract
from tests.doubles.sftp import DirectSftp


class RemoteFilesTests(FileSideContract, SynchronousTestCase):
    def make_side(self) -> Any:
        self.sftp = DirectSftp()
        self.addCleanup(self.sftp.files.close)
        return RemoteFiles(self.sftp, "db1")

    def refused(self, coroutine: Any) -> str:
        failure = self.failureResultOf(Deferred.fromCoroutine(coroutine), AnswerRefused)
        return str(failure.value)

    def test_double(self) -> None:
        """The double is what it stands for."""
        self.assertTrue(verifyObject(ISftp, self.sftp))

    def test_node_is_named(self) -> None:
        """Sentences say on which node."""
        self.assertEqual(
            self.troubled(self.side.look("/nix/da"), FileMissing),
            "db1:/nix/da: no such file or directory",
        )

    def test_statuses(self) -> None:
        """Each status has its kind and its words; a failure has the node's."""
        for code, kind, words in (
            (StatusCode.PERMISSION_DENIED, FileDenied, "permission denied"),
            (StatusCode.OP_UNSUPPORTED, NotSupported, "the node cannot do that"),
            (StatusCode.FAILURE, FileTrouble, "disk quota exceeded"),
            (4711, FileTrouble, "disk quota exceeded"),
        ):
            self.sftp.instead[wire.Mkdir] = lambda request, code=code: wire.Status(
                request.request_id, code, b"Disk quota\x1b exceeded"
            )
            sentence = self.troubled(self.side.make_directory("d", 0o700), kind)
            self.assertTrue(sentence.isprintable())
            self.assertTrue(sentence.replace("\ufffd", "").endswith(words), sentence)

    # A node that lies.

    def name(self, *names: bytes) -> None:
        """Let directories have these names in them."""
        batches = [tuple(Entry(name, name, Attributes()) for name in names)]

        def answer(request: wire.Readdir) -> wire.Reply:
            if batches:
                return wire.Name(request.request_id, batches.pop())
            return wire.Status(request.request_id, StatusCode.EOF, b"")

        self.sftp.instead[wire.Readdir] = answer

    def test_names_that_lead_away(self) -> None:
        """A name with a slash or a NUL in it, or none, is refused with a sentence."""
        for name in (b"../x", b"/etc/passwd", b"a/b", b"a\0b", b""):
            self.name(b"good", name)
            sentence = self.troubled(self.side.names(str(self.here)))
            self.assertIn("which no file can be named", sentence)
        self.name(b".", b"..", b"good", b"...")
        found = self.now(self.side.names(str(self.here)))
        self.assertEqual([each.name for each in found], ["...", "good"])

    def test_endless_directory(self) -> None:
        """A directory that does not end is given up, and its handle closed."""
        self.patch(sftpfiles, "MAX_ENTRIES", 100)
        entries = tuple(Entry(b"%d" % n, b"", Attributes()) for n in range(30))
        self.sftp.instead[wire.Readdir] = lambda request: wire.Name(request.request_id, entries)
        self.assertIn("more than 100", self.troubled(self.side.names(str(self.here))))
        self.assertIsInstance(self.sftp.asked[-1], wire.Close)
        self.assertGreater(copysides.MAX_ENTRIES, 100)

    def test_empty_batches(self) -> None:
        """A node that answers without a name, again and again, is taken to be done."""
        self.sftp.instead[wire.Readdir] = lambda request: wire.Name(request.request_id, ())
        self.assertEqual(self.now(self.side.names(str(self.here))), [])

    def test_wrong_number_of_names(self) -> None:
        """Where one name is asked for, one comes."""
        for count in (0, 2):
            names = (Entry(b"a", b"", Attributes()),) * count
            self.sftp.instead[wire.Realpath] = lambda request, names=names: wire.Name(0, names)
            self.assertIn(f"{count} names", self.refused(self.side.real_path("x")))

    def test_lost(self) -> None:
        """The end of the session is not a file's trouble."""
        for kind in (wire.Stat, wire.Readdir):
            self.sftp.instead[kind] = lambda request: SftpEnded("gone")
        for coroutine in (self.side.look("f"), self.side.names(str(self.here))):
            self.failureResultOf(Deferred.fromCoroutine(coroutine), SftpEnded)

    # Limits.

    def limits(self, body: bytes) -> Any:
        self.sftp.instead[wire.Extended] = lambda request: wire.ExtendedReply(0, body)
        return self.side.learn_limits()

    def test_limits(self) -> None:
        """Requests become as large as both sides can."""
        self.now(self.side.learn_limits())
        self.assertEqual((self.side.read_most, self.side.write_most), (MOST_DATA, MOST_DATA))

    def test_other_limits(self) -> None:
        """A node may say less, or nothing; more than a packet is not believed."""
        for read, write, expected in (
            (1000, 2000, (1000, 2000)),
            (0, 0, (LEAST_DATA, LEAST_DATA)),
            (2**64 - 1, 2**63, (MOST_DATA, MOST_DATA)),
        ):
            self.now(self.limits(u64(2**18) + u64(read) + u64(write) + u64(0)))
            self.assertEqual((self.side.read_most, self.side.write_most), expected)

    def test_no_limits(self) -> None:
        """A node without limits is asked for what any node gives."""
        self.sftp.extensions = {}
        self.now(self.side.learn_limits())
        self.assertEqual(self.side.read_most, LEAST_DATA)
        self.assertEqual(self.sftp.asked, [])

    def test_broken_limits(self) -> None:
        """Limits that end too early end the session."""
        self.sftp.extensions = {b"limits@openssh.com": b"1"}
        self.assertIn("limits", self.refused(self.limits(b"123")))

    # What a person's commands need.

    def test_links(self) -> None:
        """Links of both kinds are made, and a symbolic one is read."""
        (self.here / "f").write_bytes(b"1")
        self.now(self.side.symbolic_link("f", self.at("soft")))
        self.now(self.side.hard_link(self.at("f"), self.at("hard")))
        self.assertEqual(self.now(self.side.read_link(self.at("soft"))), "f")
        self.assertEqual((self.here / "hard").stat().st_nlink, 2)

    def test_rename(self) -> None:
        """A file takes the place of another, in one step where the node can."""
        for extensions in (self.sftp.extensions, {}):
            self.sftp.extensions = extensions
            (self.here / "a").write_bytes(b"1")
            self.now(self.side.rename(self.at("a"), self.at(f"b{len(extensions)}")))
        self.assertEqual(sorted(os.listdir(self.here)), ["b0", "b9"])

    def test_removed(self) -> None:
        """Files and empty directories go."""
        (self.here / "f").touch()
        (self.here / "d").mkdir()
        self.now(self.side.remove(self.at("f")))
        self.now(self.side.remove_directory(self.at("d")))
        self.assertEqual(os.listdir(self.here), [])

    def test_file_system(self) -> None:
        """How full a file system is comes from the node."""
        found = self.now(self.side.file_system(str(self.here)))
        self.assertEqual(found.blocks, os.statvfs(self.here).f_blocks)
        self.sftp.instead[wire.Extended] = lambda request: wire.ExtendedReply(0, b"short")
        self.refused(self.side.file_system("x"))

    def test_without_extensions(self) -> None:
        """What a node cannot do is said in a sentence that names the file."""
        self.sftp.extensions = {}
        for coroutine in (
            self.side.hard_link("a", "x"),
            self.side.file_system("x"),
            self.side.change_link("x", Attributes()),
            self.side.expanded("~other/x"),
        ):
            self.assertRegex(self.troubled(coroutine, NotSupported), r"^db1:(~other/)?x: ")

    def test_home(self) -> None:
        """A tilde is expanded by the node, or left out since a session begins at home."""
        self.assertEqual(self.now(self.side.expanded("~")), os.path.expanduser("~"))
        self.assertEqual(self.now(self.side.expanded("a~")), "a~")
        self.sftp.extensions = {}
        self.assertEqual(self.now(self.side.expanded("~/x")), "x")
        self.assertEqual(self.now(self.side.expanded("~")), ".")
