"""Tests of what SFTP requests do to files."""

from __future__ import annotations

import os
import stat
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.sftpfiles import EXTENSIONS, READDIR_BATCH, Files
from mezite.ssh import sftpfields as fields
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, FieldReader
from mezite.ssh.sftpwire import OpenFlag, StatusCode

NOTHING_SAID = Attributes()
CREATE = OpenFlag.WRITE | OpenFlag.CREATE | OpenFlag.TRUNCATE


class FilesTests(SynchronousTestCase):
    """Requests upon a fresh directory."""

    def setUp(self) -> None:
        self.root = os.fsencode(os.path.abspath(self.mktemp()))
        os.mkdir(self.root)
        self.files = Files()
        self.addCleanup(self.files.close)

    def at(self, name: bytes) -> bytes:
        return os.path.join(self.root, name)

    def write(self, name: bytes, content: bytes) -> bytes:
        with open(self.at(name), "wb") as file:
            file.write(content)
        return self.at(name)

    def content(self, name: bytes) -> bytes:
        with open(self.at(name), "rb") as file:
            return file.read()

    def assert_status(self, request: Any, code: StatusCode) -> None:
        reply = self.files.answer(request)
        assert isinstance(reply, wire.Status), reply
        self.assertEqual((reply.request_id, reply.code), (request.request_id, code))

    def open(
        self, path: bytes, flags: int = OpenFlag.READ, attributes: Attributes = NOTHING_SAID
    ) -> bytes:
        reply = self.files.answer(wire.Open(1, path, flags, attributes))
        assert isinstance(reply, wire.Handle), reply
        return reply.handle

    def one_name(self, request: Any) -> bytes:
        reply = self.files.answer(request)
        assert isinstance(reply, wire.Name), reply
        ((name, _, _),) = reply.entries
        return name

    # --- contents

    def test_write_then_read(self) -> None:
        """Bytes are written and read at their offsets."""
        handle = self.open(self.at(b"f"), CREATE | OpenFlag.READ)
        self.assert_status(wire.Write(2, handle, 4, b"5678"), StatusCode.OK)
        self.assert_status(wire.Write(3, handle, 0, b"1234"), StatusCode.OK)
        self.assertEqual(self.files.answer(wire.Read(4, handle, 2, 4)), wire.Data(4, b"3456"))
        self.assertEqual(self.files.answer(wire.Read(5, handle, 6, 400)), wire.Data(5, b"78"))
        self.assert_status(wire.Read(6, handle, 8, 1), StatusCode.EOF)
        self.assert_status(wire.Close(7, handle), StatusCode.OK)
        self.assertEqual(self.content(b"f"), b"12345678")

    def test_read_is_bounded(self) -> None:
        """A read of four gigabytes gives no more than fits a packet."""
        handle = self.open(b"/dev/zero")
        reply = self.files.answer(wire.Read(1, handle, 0, 0xFFFFFFFF))
        assert isinstance(reply, wire.Data)
        self.assertEqual(len(reply.data), wire.MAX_DATA)
        self.assertLessEqual(len(wire.encode(reply)), wire.MAX_PACKET)

    def test_append(self) -> None:
        """A file opened for appending grows at its end, whatever the offset."""
        handle = self.open(self.write(b"f", b"one"), OpenFlag.WRITE | OpenFlag.APPEND)
        self.assert_status(wire.Write(1, handle, 0, b"two"), StatusCode.OK)
        self.assertEqual(self.content(b"f"), b"onetwo")

    def test_exclusive(self) -> None:
        """A file that must be new is not opened when it is there."""
        path = self.write(b"f", b"one")
        self.assert_status(
            wire.Open(1, path, CREATE | OpenFlag.EXCLUSIVE, Attributes()), StatusCode.FAILURE
        )
        self.assertEqual(self.content(b"f"), b"one")

    def test_mode_under_umask(self) -> None:
        """The mode asked for is made smaller by the umask."""
        self.addCleanup(os.umask, os.umask(0o027))
        self.open(self.at(b"f"), CREATE, Attributes(permissions=0o100766))
        self.assertEqual(stat.S_IMODE(os.stat(self.at(b"f")).st_mode), 0o740)

    def test_pipe_does_not_hang(self) -> None:
        """A pipe that nobody writes can be opened, and not read."""
        os.mkfifo(self.at(b"pipe"))
        handle = self.open(self.at(b"pipe"))
        self.assert_status(wire.Read(1, handle, 0, 10), StatusCode.FAILURE)

    def test_impossible_offset(self) -> None:
        """An offset beyond any file is a failure, and no more."""
        handle = self.open(self.write(b"f", b"one"))
        self.assert_status(wire.Read(1, handle, 2**64 - 1, 10), StatusCode.FAILURE)

    # --- handles

    def test_unknown_handle(self) -> None:
        """A handle that was never given, or was closed, is refused."""
        handle = self.open(self.write(b"f", b"one"))
        self.assert_status(wire.Close(1, handle), StatusCode.OK)
        for request in (
            wire.Close(2, handle),
            wire.Read(3, b"\xff" * 4, 0, 1),
            wire.Write(4, b"", 0, b"x"),
            wire.Readdir(5, handle),
        ):
            self.assert_status(request, StatusCode.FAILURE)

    def test_kinds_of_handles(self) -> None:
        """A file's handle lists nothing, and a directory's is not read."""
        file = self.open(self.write(b"f", b"one"))
        directory = self.files.answer(wire.Opendir(1, self.root))
        assert isinstance(directory, wire.Handle)
        self.assert_status(wire.Readdir(2, file), StatusCode.FAILURE)
        self.assert_status(wire.Read(3, directory.handle, 0, 10), StatusCode.FAILURE)

    def test_handles_are_bounded(self) -> None:
        """A client that never closes anything is refused, and no one else is hurt."""
        files = Files(descriptor_limit=20)
        self.addCleanup(files.close)
        path = self.write(b"f", b"one")
        replies = [files.answer(wire.Open(n, path, OpenFlag.READ, Attributes())) for n in range(6)]
        self.assertEqual([type(reply) for reply in replies], [wire.Handle] * 4 + [wire.Status] * 2)

    # --- attributes

    def test_stat(self) -> None:
        """A link is looked through, or at."""
        self.write(b"f", b"12345")
        os.symlink(b"f", self.at(b"link"))
        seen = self.files.answer(wire.Stat(1, self.at(b"link")))
        itself = self.files.answer(wire.Lstat(2, self.at(b"link")))
        assert isinstance(seen, wire.Attrs)
        assert isinstance(itself, wire.Attrs)
        self.assertEqual(seen.attributes.size, 5)
        self.assertEqual(seen.attributes.owner, (os.getuid(), os.getgid()))
        self.assertTrue(stat.S_ISREG(seen.attributes.permissions or 0))
        self.assertTrue(stat.S_ISLNK(itself.attributes.permissions or 0))

    def test_change_by_name_and_by_handle(self) -> None:
        """Size, permissions and times are changed, by name and by handle."""
        path = self.write(b"f", b"12345")
        wanted = Attributes(size=3, permissions=0o100640, times=(1000, 2000))
        self.assert_status(wire.Setstat(1, path, wanted), StatusCode.OK)
        found = os.stat(path)
        self.assertEqual((found.st_size, found.st_atime, found.st_mtime), (3, 1000, 2000))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o640)
        handle = self.open(path, OpenFlag.WRITE)
        self.assert_status(wire.Fsetstat(2, handle, Attributes(size=1)), StatusCode.OK)
        reply = self.files.answer(wire.Fstat(3, handle))
        assert isinstance(reply, wire.Attrs)
        self.assertEqual(reply.attributes.size, 1)

    def test_far_times(self) -> None:
        """Times that 32 bits cannot say are the nearest that they can."""
        path = self.write(b"f", b"")
        os.utime(path, (-5.0, 2.0**33))
        reply = self.files.answer(wire.Stat(1, path))
        assert isinstance(reply, wire.Attrs)
        self.assertEqual(reply.attributes.times, (0, 2**32 - 1))

    def test_link_times(self) -> None:
        """The times of a link are changed without touching its target."""
        path = self.write(b"f", b"")
        os.utime(path, (1, 1))
        os.symlink(path, self.at(b"link"))
        packet = wire.encode(wire.Setstat(0, self.at(b"link"), Attributes(times=(7, 8))))
        self.assert_status(wire.Extended(1, b"lsetstat@openssh.com", packet[9:]), StatusCode.OK)
        self.assertEqual(os.stat(path).st_mtime, 1)
        self.assertEqual(os.lstat(self.at(b"link")).st_mtime, 8)

    # --- directories

    def test_listing(self) -> None:
        """A directory comes in batches, with every name once and then the end."""
        names = {b"name-%d" % n for n in range(READDIR_BATCH + 50)} | {b"\xff\xfe not text"}
        for name in names:
            self.write(name, b"")
        opened = self.files.answer(wire.Opendir(1, self.root))
        assert isinstance(opened, wire.Handle)
        heard: list[bytes] = []
        batches = 0
        while True:
            reply = self.files.answer(wire.Readdir(2, opened.handle))
            if isinstance(reply, wire.Status):
                break
            assert isinstance(reply, wire.Name)
            batches += 1
            heard += [entry.name for entry in reply.entries]
        self.assertEqual(reply.code, StatusCode.EOF)
        self.assertEqual(sorted(heard), sorted(names | {b".", b".."}))
        self.assertEqual(batches, 2)

    def test_long_name(self) -> None:
        """The long name reads as ``ls -l`` prints it."""
        path = self.write(b"f", b"12345")
        os.chmod(path, 0o640)
        os.utime(path, (0, 86400 * 365))
        line = self.files.long_name(b"f", os.stat(path)).decode()
        self.assertRegex(line, r"^-rw-r-----    1 \S+ +\S+ +5 (Jan  1|Dec 31)  197[01] f$")
        now = int(self.files._wall_clock())
        os.utime(path, (now, now))
        line = self.files.long_name(b"f", os.stat(path)).decode()
        self.assertRegex(line, r"^\S+    1 \S+ +\S+ +5 \w{3} [ \d]\d \d\d:\d\d f$")

    def test_directories_are_made_and_removed(self) -> None:
        """A directory is made with a mode, and removed when it is empty."""
        path = self.at(b"d")
        self.assert_status(wire.Mkdir(1, path, Attributes(permissions=0o700)), StatusCode.OK)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        self.write(b"d/f", b"")
        self.assert_status(wire.Rmdir(2, path), StatusCode.FAILURE)
        self.assert_status(wire.Remove(3, self.at(b"d/f")), StatusCode.OK)
        self.assert_status(wire.Rmdir(4, path), StatusCode.OK)
        self.assert_status(wire.Opendir(5, path), StatusCode.NO_SUCH_FILE)

    # --- names

    def test_rename_does_not_replace(self) -> None:
        """The plain rename leaves a file that is there; the posix one replaces it."""
        old, new = self.write(b"old", b"old"), self.write(b"new", b"new")
        self.assert_status(wire.Rename(1, old, new), StatusCode.FAILURE)
        self.assertEqual(self.content(b"new"), b"new")
        both = fields.string(old) + fields.string(new)
        self.assert_status(wire.Extended(2, b"posix-rename@openssh.com", both), StatusCode.OK)
        self.assertEqual(self.content(b"new"), b"old")
        self.assert_status(wire.Rename(3, new, old), StatusCode.OK)
        self.assertEqual(os.listdir(self.root), [b"old"])

    def test_directory_is_renamed(self) -> None:
        """A directory is renamed, and not onto another."""
        os.mkdir(self.at(b"a"))
        os.mkdir(self.at(b"b"))
        self.assert_status(wire.Rename(1, self.at(b"a"), self.at(b"b")), StatusCode.FAILURE)
        self.assert_status(wire.Rename(2, self.at(b"a"), self.at(b"c")), StatusCode.OK)

    def test_links(self) -> None:
        """Links of both kinds are made, and read."""
        path = self.write(b"f", b"12345")
        self.assert_status(wire.Symlink(1, b"f", self.at(b"soft")), StatusCode.OK)
        self.assertEqual(self.one_name(wire.Readlink(2, self.at(b"soft"))), b"f")
        both = fields.string(path) + fields.string(self.at(b"hard"))
        self.assert_status(wire.Extended(3, b"hardlink@openssh.com", both), StatusCode.OK)
        self.assertEqual(os.stat(path).st_nlink, 2)
        self.assert_status(wire.Readlink(4, path), StatusCode.FAILURE)

    def test_realpath(self) -> None:
        """A path is made whole; only its last part may be missing."""
        os.mkdir(self.at(b"d"))
        os.symlink(b"d", self.at(b"link"))
        real = os.path.realpath(self.root)
        for asked, whole in (
            (b"link/../d/.", b"d"),
            (b"link/new", b"d/new"),
            (b"link/", b"d"),
        ):
            found = self.one_name(wire.Realpath(1, self.at(asked)))
            self.assertEqual(found, os.path.join(real, whole))
        self.assertEqual(self.one_name(wire.Realpath(2, b"")), os.fsencode(os.getcwd()))
        self.assert_status(wire.Realpath(3, self.at(b"no/such")), StatusCode.NO_SUCH_FILE)

    def test_statuses(self) -> None:
        """Errors of the system become the nearest status, with its words."""
        self.write(b"f", b"")
        os.symlink(b"loop", self.at(b"loop"))
        for path, code in (
            (self.at(b"nothing"), StatusCode.NO_SUCH_FILE),
            (self.at(b"f/below"), StatusCode.NO_SUCH_FILE),
            (self.at(b"loop"), StatusCode.NO_SUCH_FILE),
            (b"", StatusCode.NO_SUCH_FILE),
            (self.at(b"x" * 300), StatusCode.FAILURE),
            (b"nul\0nul", StatusCode.FAILURE),
        ):
            self.assert_status(wire.Stat(1, path), code)
        reply = self.files.answer(wire.Stat(1, self.at(b"nothing")))
        assert isinstance(reply, wire.Status)
        self.assertEqual(reply.message, b"No such file or directory")

    # --- extensions

    def test_unknown_extension(self) -> None:
        """An extension that nobody knows is unsupported, and no more."""
        self.assert_status(wire.Extended(1, b"x@example.com", b"?"), StatusCode.OP_UNSUPPORTED)

    def test_broken_extensions(self) -> None:
        """Every extension refuses a body that is not its own."""
        for name, _ in EXTENSIONS:
            self.assert_status(wire.Extended(1, name, b"\0\0\1"), StatusCode.BAD_MESSAGE)

    def test_limits(self) -> None:
        """The limits that are kept are the limits that are told."""
        reply = self.files.answer(wire.Extended(1, b"limits@openssh.com", b""))
        assert isinstance(reply, wire.ExtendedReply)
        reader = FieldReader(reply.body)
        self.assertEqual(
            [reader.u64() for _ in range(4)],
            [wire.MAX_PACKET, wire.MAX_DATA, wire.MAX_DATA, self.files.max_handles],
        )
        reader.end()

    def test_filesystem(self) -> None:
        """The file system tells its sizes, by name and by handle."""
        handle = self.open(self.write(b"f", b""))
        for name, body in (
            (b"statvfs@openssh.com", fields.string(self.root)),
            (b"fstatvfs@openssh.com", fields.string(handle)),
        ):
            reply = self.files.answer(wire.Extended(1, name, body))
            assert isinstance(reply, wire.ExtendedReply)
            reader = FieldReader(reply.body)
            numbers = [reader.u64() for _ in range(11)]
            reader.end()
            self.assertEqual(numbers[10], os.statvfs(self.root).f_namemax)

    def test_fsync(self) -> None:
        """A file is brought to the disk."""
        handle = self.open(self.write(b"f", b""), OpenFlag.WRITE)
        request = wire.Extended(1, b"fsync@openssh.com", fields.string(handle))
        self.assert_status(request, StatusCode.OK)

    def test_home(self) -> None:
        """A home is found by tilde and by name; an unknown person has none."""
        self.patch(os, "environ", dict(os.environ, HOME=os.fsdecode(self.root)))
        real = os.path.realpath(self.root)
        tilde = wire.Extended(1, b"expand-path@openssh.com", fields.string(b"~/x"))
        self.assertEqual(self.one_name(tilde), real + b"/x")
        named = wire.Extended(2, b"home-directory", fields.string(b"root"))
        self.assertEqual(self.one_name(named), b"/root")
        for extension, name in (
            (b"home-directory", b"no-such-person"),
            (b"expand-path@openssh.com", b"~no-such-person/x"),
        ):
            request = wire.Extended(3, extension, fields.string(name))
            self.assert_status(request, StatusCode.NO_SUCH_FILE)
