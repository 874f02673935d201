"""Tests of recordings in files: what grows, and what is cut off when a machine went down."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import MeziteError
from mezite.recording.chunks import Chunk, Packer, Position
from mezite.recording.events import Header
from mezite.recording.format import Encoder
from mezite.store.error import NoSuchRecording, RecordingsUnavailable
from mezite.store.recordingfiles import (
    DamagedChunk,
    FileRecordings,
    IncomingFiles,
    Kept,
    Source,
)
from tests.contracts import recordingstores

HEADER = Header(1000, session="s1", number=1, node="db1", login="root", user="ada")


def chunks(number: int, recording: str = "s1.1", header: Header = HEADER) -> list[Chunk]:
    """A whole recording in so many chunks, each with an event a second after the one before."""
    packer = Packer(Position.start(recording))
    found = []
    for at in range(number):
        lines = Encoder(header).begin() if at == 0 else b""
        lines += b'[%d.500000, "o", "%d\\r\\n"]\n' % (at, at)
        found.append(packer.pack(lines, is_last=at == number - 1))
    return found


class IncomingTests(SynchronousTestCase):
    """A recording that grows."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve() / "recordings" / "incoming"
        self.directory.parent.parent.mkdir(parents=True)
        self.files = IncomingFiles(self.directory, free_bytes=0)

    def appended(self, found: list[Chunk]) -> Kept:
        return self.files.append("s1.1", self.files.recover("s1.1"), found)

    def file(self) -> Path:
        return self.directory / "s1.1.mzr"

    def test_nothing(self) -> None:
        """A recording of which nothing came begins at its beginning, and has no file."""
        self.assertEqual(self.files.recover("s1.1").extent.position, Position.start("s1.1"))
        self.assertFalse(self.directory.exists())
        self.assertRaises(NoSuchRecording, self.files.read, "s1.1", 0, 1)
        self.assertEqual(self.files.names(), [])
        self.files.remove("s1.1")

    def test_grows(self) -> None:
        """Chunks stand one behind the other, and nobody else may read them."""
        found = chunks(5)
        kept = self.appended(found[:2])
        kept = self.files.append("s1.1", kept, found[2:])
        self.assertEqual(self.files.recover("s1.1"), kept)
        self.assertTrue(kept.is_whole)
        self.assertEqual(kept.extent.seconds, 4.5)
        self.assertEqual(kept.header, HEADER)
        data = b"".join(chunk.data for chunk in found)
        self.assertEqual(self.files.read("s1.1", 0, 1 << 20), data)
        self.assertEqual(self.files.read("s1.1", 7, 5), data[7:12])
        self.assertEqual(self.file().stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.files.names(), ["s1.1"])
        self.assertEqual(self.files.size(["s1.1", "s2.1"]), len(data))

    @given(st.integers(0, 2000), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_cut_anywhere(self, at: int, is_changed: bool) -> None:
        """What a crash left is cut back to whole chunks, from which it goes on."""
        found = chunks(6)
        if self.file().exists():
            self.file().unlink()
        whole = self.appended(found)
        data = bytearray(self.file().read_bytes())
        at %= len(data)
        if is_changed:
            data[at] ^= 0x40
        else:
            del data[at:]
        self.file().write_bytes(data)
        left = self.files.recover("s1.1")
        self.assertLessEqual(left.extent.size, at)
        self.assertEqual(self.file().stat().st_size, left.extent.size)
        number = left.extent.position.number
        self.assertEqual(self.files.append("s1.1", left, found[number:]), whole)

    def test_half_a_write(self) -> None:
        """What a write that failed has left is no part of the next one."""
        found = chunks(3)
        kept = self.appended(found[:1])
        with self.file().open("ab") as file:
            file.write(b"half of something long that came before" * 100)
        self.files.append("s1.1", kept, found[1:])
        self.assertTrue(self.files.recover("s1.1").is_whole)

    def test_damaged_content(self) -> None:
        """A chunk whose content cannot be unpacked, or without a header, is not kept."""
        start = Position.start("s1.1")
        for content in (b"no header\n", b""):
            self.assertRaises(DamagedChunk, self.appended, [Packer(start).pack(content)])
        [whole] = chunks(1)
        broken = evolve(whole, payload=b"\0\0" + whole.payload[2:])
        self.assertRaises(DamagedChunk, self.appended, [broken])
        self.assertFalse(self.directory.exists())

    def test_full_disk(self) -> None:
        """Without room nothing is taken, and what is there stays."""
        found = chunks(2)
        kept = self.appended(found[:1])
        self.files.free_bytes = 1 << 60
        self.assertRaises(RecordingsUnavailable, self.files.append, "s1.1", kept, found[1:])
        self.assertEqual(self.files.recover("s1.1"), kept)

        def no_space(*args: object) -> None:
            raise OSError(28, "No space left on device")

        self.files.free_bytes = 0
        self.patch(os, "pwrite", no_space)
        error = self.assertRaises(RecordingsUnavailable, self.files.append, "s1.1", kept, found[1:])
        self.assertEqual(error.reason, "the disk is full")
        self.assertEqual(self.files.recover("s1.1"), kept)

    def test_no_directory(self) -> None:
        """A place that is no directory is said to be unusable."""
        self.directory.parent.write_text("")
        for work in (lambda: self.appended(chunks(1)), lambda: self.files.path("s1.1")):
            self.assertRaises(MeziteError, work)


class FileRecordingsTests(recordingstores.RecordingStoreContract):
    """Closed recordings in files."""

    def make_store(self) -> FileRecordings:
        self.directory = Path(self.mktemp()).resolve()
        return FileRecordings(self.directory)

    def test_unsealed_is_not_copied(self) -> None:
        """A recording that is stored as it is takes its room once."""
        path = self.source(b"abc")
        self.store.put("2026-11/s1.1.mzr", Source(path))
        self.assertTrue((self.directory / "2026-11/s1.1.mzr").samefile(path))

    def test_no_half(self) -> None:
        """A source that ends in an error leaves nothing, and no half."""
        self.assertRaises(ZeroDivisionError, self.store.put, "a/b", self.broken(b"abc"))
        self.assertEqual(os.listdir(self.directory / "a"), [])
