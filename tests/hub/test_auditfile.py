"""Tests of the audit's copy in a file: what a crash leaves behind, and rotation."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import CopyPoint, copy_of
from mezite.audit.events import HUB, AuditEvent, EventType
from mezite.cli.auditfiles import verify_files
from mezite.hub import auditfile
from mezite.hub.auditcopying import ICopyTarget
from mezite.hub.auditfile import AuditFile
from mezite.hub.error import CopyUnusable
from tests.audit.test_chain import chained

EVENT = AuditEvent(type=EventType.HUB_STARTED, time=1.0, actor=HUB)
LINES = chained([EVENT] * 60)
WHOLE = [copy_of(line).encode() + b"\n" for line in LINES]


class AuditFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "audit.jsonl"
        self.target = self.make()

    def make(self, max_size: int = 2**20, keep: int = 3) -> AuditFile:
        return AuditFile(self.path, max_size, keep)

    def point(self, line: ChainedLine) -> CopyPoint:
        return CopyPoint(line.seq, line.hash)

    def test_interface(self) -> None:
        """It is a target of copies."""
        verifyObject(ICopyTarget, self.target)

    def test_written(self) -> None:
        """Lines are added, and a later process goes on after the last."""
        self.assertIsNone(self.target.last())
        self.target.write(LINES[:2])
        self.target.write(LINES[2:3])
        again = self.make()
        self.assertEqual(again.last(), self.point(LINES[2]))
        again.write(LINES[3:5])
        self.assertEqual(self.path.read_bytes(), b"".join(WHOLE[:5]))
        self.assertEqual(self.path.stat().st_mode & 0o7, 0)

    def test_cut_anywhere(self) -> None:
        """Wherever a crash cut the last line, it is removed, and the one before it counts."""
        for length in range(1, len(WHOLE[1])):
            self.path.write_bytes(WHOLE[0] + WHOLE[1][:length])
            self.assertEqual(self.make().last(), self.point(LINES[0]), length)
            self.assertEqual(self.path.read_bytes(), WHOLE[0])

    def test_first_line_cut(self) -> None:
        """Of a file with half a line nothing is left."""
        self.path.write_bytes(WHOLE[0][:20])
        self.assertIsNone(self.make().last())
        self.assertEqual(self.path.read_bytes(), b"")

    def test_hole(self) -> None:
        """A hole that a power cut left at the end is removed, too."""
        self.path.write_bytes(WHOLE[0] + bytes(4096))
        self.assertEqual(self.make().last(), self.point(LINES[0]))
        self.assertEqual(self.path.read_bytes(), WHOLE[0])

    def test_foreign_files(self) -> None:
        """A file that is something else is left as it is."""
        for data in (b"important\n", b"important", WHOLE[0] + b"x\n", WHOLE[0] + b"x", b"\xff\n"):
            self.path.write_bytes(data)
            self.assertRaises(CopyUnusable, self.make().last)
            self.assertEqual(self.path.read_bytes(), data)
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertRaises(CopyUnusable, self.make().last)

    def test_no_directory(self) -> None:
        """A directory that is not there is an error of the system, each time."""
        target = AuditFile(self.directory / "gone" / "audit.jsonl", 2**20, 3)
        self.assertIsNone(target.last())
        self.assertRaises(OSError, target.write, LINES[:1])

    def test_changed_by_others(self) -> None:
        """A file that grew or shrank is looked at again before it is written."""
        self.target.last()
        self.target.write(LINES[:2])
        self.path.write_bytes(WHOLE[0])
        self.assertRaises(CopyUnusable, self.target.write, LINES[2:3])
        self.assertEqual(self.target.last(), self.point(LINES[0]))
        self.target.write(LINES[1:3])
        self.assertEqual(self.path.read_bytes(), b"".join(WHOLE[:3]))

    def test_taken_away(self) -> None:
        """A file that somebody moved away is begun anew, where the old one ended."""
        self.target.last()
        self.target.write(LINES[:2])
        self.path.rename(self.directory / "elsewhere")
        self.target.write(LINES[2:3])
        self.assertEqual(self.path.read_bytes(), WHOLE[2])

    def test_disk_full(self) -> None:
        """What did not fit leaves no half line, and is written later."""
        self.target.last()
        self.target.write(LINES[:1])
        write, room = os.write, [100]

        def bounded(descriptor: int, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = write(descriptor, bytes(data)[: room[0]])
            room[0] -= written
            return written

        self.patch(auditfile.os, "write", bounded)
        self.assertRaises(OSError, self.target.write, LINES[1:3])
        self.assertEqual(self.path.read_bytes(), WHOLE[0])
        room[0] = 10**6
        self.assertEqual(self.target.last(), self.point(LINES[0]))
        self.target.write(LINES[1:3])
        self.assertEqual(self.path.read_bytes(), b"".join(WHOLE[:3]))

    def test_rotated(self) -> None:
        """Files are full at a size, and the oldest beyond those that are kept is forgotten."""
        size = len(b"".join(WHOLE[:4])) + 50
        self.target = self.make(size, keep=3)
        self.target.last()
        self.target.write(LINES[:14])
        for line in LINES[14:]:
            self.target.write([line])
        names = sorted(path.name for path in self.directory.iterdir())
        self.assertEqual(names, ["audit.jsonl", *(f"audit.jsonl.{n}" for n in (1, 2, 3))])
        self.assertTrue(all(path.stat().st_size <= size for path in self.directory.iterdir()))
        answer = verify_files(self.path, "")
        self.assertEqual((answer.broken, answer.last_seq, answer.head), ("", 60, _hash(LINES[59])))
        self.assertGreaterEqual(answer.count, 13)

    def test_crash_between_rotations(self) -> None:
        """Whichever of the renames a crash left undone, nothing is lost or doubled."""
        size = len(WHOLE[0]) + 10
        self.target = self.make(size, keep=3)
        self.target.last()
        self.target.write(LINES[:3])
        # The file was moved, and the new one was not begun.
        self.path.rename(self.directory / "moved")
        rotated = self.directory / "audit.jsonl.1"
        rotated.rename(self.directory / "audit.jsonl.3")
        (self.directory / "audit.jsonl.2").rename(self.directory / "older")
        (self.directory / "moved").rename(rotated)
        again = self.make(size, keep=3)
        self.assertEqual(again.last(), self.point(LINES[2]))
        again.write(LINES[3:5])
        kept = [(self.directory / f"audit.jsonl{end}").read_bytes() for end in ("", ".1", ".2")]
        self.assertEqual(kept, [WHOLE[4], WHOLE[3], WHOLE[2]])

    def test_put_aside(self) -> None:
        """The copy of another audit is kept under another name, with what was rotated."""
        self.target = self.make(len(WHOLE[0]) + 10)
        self.target.last()
        self.target.write(LINES[:2])
        self.target.put_aside()
        self.assertIsNone(self.target.last())
        self.target.write(LINES[:1])
        self.assertEqual(verify_files(Path(f"{self.path}.aside-1"), "").count, 2)
        self.assertEqual(self.path.read_bytes(), WHOLE[0])

    def test_damaged_lines(self) -> None:
        """A line that was changed before it was copied is noted, whatever is in it."""
        self.target.last()
        self.target.write([LINES[0], ChainedLine(2, "x\ny", b"")])
        self.assertEqual(self.path.read_bytes().count(b"\n"), 2)
        self.assertEqual(self.make().last(), CopyPoint(2))
        self.assertIn("line 2", verify_files(self.path, "").broken)


def _hash(line: ChainedLine) -> str:
    return line.hash.hex()
