"""Tests of the recordings on a node's disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.chunks import ChunkReader, Position
from mezite.recording.error import RecordingFailed
from mezite.recording.spool import Spool, SpoolFile, SpoolLimits
from tests.doubles.recordings import PLENTY, Disk
from tests.recording.test_chunks import chunked


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "recordings"
        self.disk = Disk()
        self.spool = self.opened()
        self.assertEqual(self.spool.prepare(), [])

    def opened(self, quota: int = PLENTY) -> Spool:
        return Spool(self.path, SpoolLimits(quota, min_free=1000), self.disk.free)

    def filled(self, contents: list[bytes], *, ends: bool = False) -> SpoolFile:
        file = self.spool.create("s1.1")
        self.addCleanup(file.close)
        for chunk in chunked(contents, ends=ends):
            file.append(chunk)
        return file

    def test_kept(self) -> None:
        """What was appended can be read, and is found by whoever comes after."""
        made = chunked([b"one", b"two", b"three"])
        file = self.filled([b"one", b"two", b"three"], ends=True)
        self.assertEqual([file.read(n) for n in range(3)], [chunk.data for chunk in made])
        self.assertEqual([file.position_at(n + 1) for n in range(3)], [c.after for c in made])
        self.assertEqual(file.position_at(0), Position.start("s1.1"))
        file.sync()
        file.close()
        later = self.opened()
        self.assertEqual(later.prepare(), ["s1.1"])
        self.assertEqual(later.used, self.spool.used)
        found = later.recover("s1.1")
        assert found is not None
        self.addCleanup(found.close)
        self.assertEqual((found.count, found.is_finished), (3, True))
        self.assertEqual(found.position, made[-1].after)
        self.assertEqual(found.read(2), made[2].data)

    def test_private(self) -> None:
        """Nobody else of the machine reads them."""
        self.filled([b"one"])
        for path in (self.path, self.path / "s1", self.path / "s1" / "1.chunks"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0)

    @given(
        st.lists(st.binary(max_size=300), min_size=1, max_size=5),
        st.booleans(),
        st.integers(0),
        st.binary(max_size=60),
    )
    @settings(max_examples=60, deadline=None)
    def test_cut_anywhere(self, contents: list[bytes], ends: bool, cut: int, noise: bytes) -> None:
        """A file that ends anywhere, in noise say, goes on as its last whole chunk left it."""
        made = chunked(contents, ends=ends)
        file = self.filled(contents, ends=ends)
        path = self.path / "s1" / "1.chunks"
        cut %= file.length + 1
        ends_at = [sum(chunk.size for chunk in made[: n + 1]) for n in range(len(made))]
        whole = sum(end <= cut for end in ends_at)
        os.truncate(path, cut)
        with path.open("ab") as broken:
            broken.write(b"\0" + noise)
        later = self.opened()
        later.prepare()
        found = later.recover("s1.1")
        if not whole:
            self.assertIsNone(found)
            self.assertEqual((later.used, list(self.path.iterdir())), (0, []))
            return
        assert found is not None
        self.assertEqual((found.count, found.length), (whole, ends_at[whole - 1]))
        self.assertEqual(path.stat().st_size, found.length)
        self.assertEqual(later.used, found.length)
        reader = ChunkReader(Position.start("s1.1"))
        self.assertEqual(
            [chunk for n in range(whole) for chunk in reader.receive(found.read(n))], made[:whole]
        )
        found.remove()

    def test_quota(self) -> None:
        """What is beyond the quota is refused, and room that is given back can be used."""
        [chunk] = chunked([os.urandom(500)], ends=False)
        self.spool = self.opened(quota=chunk.size + 10)
        file = self.filled([b""])
        with self.assertRaises(RecordingFailed) as caught:
            file.append(chunk)
        self.assertIn("as many recordings as it may", str(caught.exception))
        self.assertEqual(file.count, 1)
        file.remove()
        self.assertEqual(self.spool.used, 0)
        self.spool.create("s1.2").append(chunked([os.urandom(500)], "s1.2", ends=False)[0])

    def test_full_disk(self) -> None:
        """A disk that is nearly full is left to others."""
        file = self.filled([b"one"])
        self.disk.room = 1010
        with self.assertRaises(RecordingFailed) as caught:
            file.append(chunked([b"one", b"two"])[1])
        self.assertIn("full", str(caught.exception))
        with self.assertRaises(RecordingFailed):
            self.spool.create("s2.1")

    def test_names(self) -> None:
        """An id cannot lead elsewhere, and one that is there is not written over."""
        for recording in ("../x.1", "", "s1", "a/b.1"):
            with self.assertRaises(RecordingFailed):
                self.spool.create(recording)
        self.filled([b"one"])
        with self.assertRaises(RecordingFailed):
            self.spool.create("s1.1")

    def test_no_directory(self) -> None:
        """Where there can be no directory, nothing is recorded, and it is said."""
        blocked = Path(self.mktemp())
        blocked.write_text("in the way")
        spool = Spool(blocked / "recordings", SpoolLimits(PLENTY, 0))
        with self.assertRaises(RecordingFailed):
            spool.prepare()
        with self.assertRaises(RecordingFailed):
            spool.create("s1.1")

    def test_set_aside(self) -> None:
        """What the hub never takes stays, counts, and is not tried again."""
        file = self.filled([b"one"])
        file.set_aside()
        later = self.opened()
        self.assertEqual(later.prepare(), [])
        self.assertEqual(later.used, self.spool.used)
