"""Tests of what an SFTP server tells of files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.reportedfiles import ReportedFiles
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, string
from mezite.ssh.sftpreports import LINE_LIMIT, BadReport, Report, ReportReader, report
from mezite.ssh.sftpwire import OpenFlag

CREATE = OpenFlag.WRITE | OpenFlag.CREATE | OpenFlag.TRUNCATE


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class ReportedFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.told = bytearray()
        self.files = ReportedFiles(self.told.extend)

    def at(self, name: str) -> bytes:
        return os.fsencode(os.path.join(self.root, name))

    def open(self, name: str, flags: int) -> bytes:
        reply = self.files.answer(wire.Open(1, self.at(name), flags, Attributes()))
        assert isinstance(reply, wire.Handle)
        return reply.handle

    def reports(self) -> list[tuple[str, dict[str, Any]]]:
        """What was told, without the directory."""
        told = ReportReader().receive(bytes(self.told))
        self.told.clear()
        return [
            (
                each.kind,
                {
                    key: value.removeprefix(f"{self.root}/") if isinstance(value, str) else value
                    for key, value in each.fields.items()
                },
            )
            for each in told
        ]

    def test_written_and_read(self) -> None:
        """A file that went through in order is told of with its hash, once it is closed."""
        handle = self.open("a", CREATE)
        for at, data in ((0, b"one "), (4, b"two")):
            self.files.answer(wire.Write(1, handle, at, data))
        self.assertEqual(self.reports(), [])
        self.files.answer(wire.Close(1, handle))
        facts = {"path": "a", "offset": 0, "bytes": 7, "sha256": sha256(b"one two")}
        self.assertEqual(self.reports(), [("sftp.write", facts)])
        handle = self.open("a", OpenFlag.READ)
        for at in (0, 5, 7):
            self.files.answer(wire.Read(1, handle, at, 5))
        self.files.answer(wire.Close(1, handle))
        self.assertEqual(self.reports(), [("sftp.read", facts)])

    def test_piecemeal(self) -> None:
        """A part of a file has its offset; pieces in no order have no hash."""
        handle = self.open("a", CREATE)
        self.files.answer(wire.Write(1, handle, 10, b"abc"))
        self.files.answer(wire.Close(1, handle))
        facts = {"path": "a", "offset": 10, "bytes": 3, "sha256": sha256(b"abc")}
        self.assertEqual(self.reports(), [("sftp.write", facts)])
        handle = self.open("a", CREATE)
        for at in (0, 1, 9):
            self.files.answer(wire.Write(1, handle, at, b"x"))
        self.files.answer(wire.Close(1, handle))
        self.assertEqual(self.reports(), [("sftp.write", {"path": "a", "offset": 0, "bytes": 3})])

    def test_left_open(self) -> None:
        """What a client never closed is told of when it has gone."""
        handle = self.open("a", CREATE)
        self.files.answer(wire.Write(1, handle, 0, b"x"))
        self.files.close()
        [(kind, facts)] = self.reports()
        self.assertEqual((kind, facts["bytes"]), ("sftp.write", 1))

    def test_acts(self) -> None:
        """What changes a tree is told of, and so is what was looked at."""
        make = self.files.answer
        make(wire.Mkdir(1, self.at("d"), Attributes()))
        make(wire.Opendir(1, self.at("d")))
        make(wire.Setstat(1, self.at("d"), Attributes(permissions=0o40700, owner=None)))
        make(wire.Symlink(1, b"d", self.at("l")))
        make(wire.Rename(1, self.at("d"), self.at("e")))
        both = string(self.at("l")) + string(self.at("m"))
        make(wire.Extended(1, b"posix-rename@openssh.com", both))
        make(wire.Remove(1, self.at("m")))
        make(wire.Rmdir(1, self.at("e")))
        make(wire.Stat(1, self.at("e")))
        self.addCleanup(self.files.close)
        self.assertEqual(
            self.reports(),
            [
                ("sftp.mkdir", {"path": "d"}),
                ("sftp.list", {"path": "d"}),
                ("sftp.attributes", {"path": "d", "mode": "0700"}),
                ("sftp.symlink", {"path": "l", "to": "d"}),
                ("sftp.rename", {"path": "d", "to": "e"}),
                ("sftp.rename", {"path": "l", "to": "m"}),
                ("sftp.remove", {"path": "m"}),
                ("sftp.rmdir", {"path": "e"}),
            ],
        )

    def test_failures(self) -> None:
        """What did not work is told of with the reason."""
        self.files.answer(wire.Open(1, self.at("no"), OpenFlag.READ, Attributes()))
        self.files.answer(wire.Rmdir(1, self.at("no")))
        reason = "No such file or directory"
        self.assertEqual(
            self.reports(),
            [
                ("sftp.read", {"path": "no", "bytes": 0, "error": reason}),
                ("sftp.rmdir", {"path": "no", "error": reason}),
            ],
        )

    def test_program(self) -> None:
        """The SFTP server reports on the descriptor that it was given."""
        read_end, write_end = os.pipe()
        sent = wire.encode(wire.Init(3)) + wire.encode(wire.Mkdir(1, self.at("d"), Attributes()))
        done = subprocess.run(
            [sys.executable, "-m", "mezite.agent.sftp", "--report", str(write_end)],
            input=sent,
            capture_output=True,
            pass_fds=[write_end],
            check=True,
        )
        os.close(write_end)
        with open(read_end, "rb") as reports:
            self.told.extend(reports.read())
        self.assertEqual(self.reports(), [("sftp.mkdir", {"path": "d"})])
        self.assertTrue(done.stdout)


class ReportTests(SynchronousTestCase):
    """The lines between the server and the agent."""

    @given(st.binary(max_size=80), st.binary(max_size=80), st.integers(1, 50))
    @settings(max_examples=60, deadline=None)
    def test_any_path(self, path: bytes, to: bytes, step: int) -> None:
        """Any path comes over, in any pieces, on one line."""
        line = report("rename", {"path": path, "to": to}, {})
        self.assertEqual(line.count(b"\n"), 1)
        reader = ReportReader()
        found = [
            each
            for at in range(0, len(line), step)
            for each in reader.receive(line[at : at + step])
        ]
        self.assertEqual(len(found), 1)
        self.assertEqual(found[0].fields["path"], path.decode("utf-8", "replace"))
        self.assertTrue(found[0].caption.isprintable())

    @given(st.one_of(st.binary(max_size=80), st.sampled_from([
        b"[]", b"{}", b'{"event": []}', b'{"event": "sftp.x"}', b"[" * 5000,
        b'{"event": "sftp.read", "path": []}', b'{"event": "sftp.read", "path": null}',
    ])))  # fmt: skip
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """Any line is a report, or refused as none."""
        try:
            for each in ReportReader().receive(data + b"\n"):
                self.assertIsInstance(each, Report)
        except BadReport:
            pass

    def test_endless(self) -> None:
        """A line without end is not waited for."""
        reader = ReportReader()
        with self.assertRaises(BadReport):
            for _ in range(LINE_LIMIT // 1000 + 2):
                reader.receive(b"x" * 1000)
