"""Tests of chunks, and of files of them that end anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.chunks import (
    CONTENT_LIMIT,
    HEADER_LENGTH,
    Chunk,
    ChunkReader,
    JournalReader,
    Packer,
    Position,
)
from mezite.recording.error import BadChunk, LocalRecordingError

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "recording-chunks.json").read_text("utf-8")
)
CONTENTS = st.lists(
    st.one_of(st.binary(max_size=200), st.integers(0, 20_000).map(lambda n: b"log line\n" * n)),
    min_size=1,
    max_size=6,
)


def chunked(contents: list[bytes], recording: str = "s1.1", *, ends: bool = True) -> list[Chunk]:
    packer = Packer(Position.start(recording))
    last = len(contents) - 1 if ends else None
    return [packer.pack(content, is_last=n == last) for n, content in enumerate(contents)]


class ChunkTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """Chunks are made as the specification's vectors say."""
        for vector in VECTORS["chunks"]:
            start = Position.start(vector["recording"])
            self.assertEqual(start.chain.hex(), vector["start"])
            contents = [text.encode() for text in vector["contents"]]
            reader = ChunkReader(start)
            for content, expected in zip(contents, vector["hex"], strict=True):
                [chunk] = reader.receive(bytes.fromhex(expected))
                self.assertEqual(chunk.content(), content)
            self.assertTrue(reader.is_finished)

    def test_refused(self) -> None:
        """What is no chunk is refused before its payload is waited for."""
        for vector in VECTORS["refused"]:
            with self.assertRaises(BadChunk, msg=vector["why"]):
                ChunkReader(Position.start("s1.1")).receive(bytes.fromhex(vector["hex"]))

    @given(CONTENTS, st.integers(1, 5000))
    @settings(max_examples=60, deadline=None)
    def test_any_chunking(self, contents: list[bytes], step: int) -> None:
        """What was packed is read again, in any pieces."""
        made = chunked(contents)
        data = b"".join(chunk.data for chunk in made)
        reader = ChunkReader(Position.start("s1.1"))
        found = [
            chunk
            for at in range(0, len(data), step)
            for chunk in reader.receive(data[at : at + step])
        ]
        self.assertEqual(found, made)
        self.assertEqual([chunk.content() for chunk in found], contents)
        self.assertTrue(reader.is_finished)

    @given(CONTENTS, st.integers(0), st.integers(1, 255))
    @settings(max_examples=100, deadline=None)
    def test_any_change(self, contents: list[bytes], where: int, change: int) -> None:
        """A byte that was changed is noticed in the chunk that it is in."""
        made = chunked(contents)
        data = bytearray(b"".join(chunk.data for chunk in made))
        data[where % len(data)] ^= change
        reader = ChunkReader(Position.start("s1.1"))
        try:
            found = reader.receive(bytes(data))
        except BadChunk:
            return
        # A length that was changed waits for more.
        self.assertLess(len(found), len(made))

    def test_other_recording(self) -> None:
        """A chunk of another recording is not of this one."""
        [chunk] = chunked([b"a"], "s2.1")
        with self.assertRaises(BadChunk):
            ChunkReader(Position.start("s1.1")).receive(chunk.data)

    def test_nothing_behind_the_last(self) -> None:
        """Nothing follows the last chunk."""
        [chunk] = chunked([b"a"])
        reader = ChunkReader(Position.start("s1.1"))
        with self.assertRaises(BadChunk):
            reader.receive(chunk.data + b"M")

    def test_noise_is_stored(self) -> None:
        """What cannot be compressed is not, and grows by a header only."""
        noise = os.urandom(100_000)
        [chunk] = chunked([noise])
        self.assertEqual(len(chunk.data), HEADER_LENGTH + len(noise))

    def test_learns(self) -> None:
        """After noise, noise is expected, and some chunks later looked at again."""
        packer = Packer(Position.start("s1.1"))
        packer.pack(os.urandom(9000))
        sizes = [packer.pack(bytes(9000)).size for _ in range(17)]
        self.assertEqual(sizes[:15], [HEADER_LENGTH + 9000] * 15)
        self.assertLess(max(sizes[15:]), 200)

    def test_hurry(self) -> None:
        """In a hurry only what is very much the same is compressed."""
        start = Position.start("s1.1")
        log = b"".join(b"%06d %s\n" % (n, os.urandom(6).hex().encode()) for n in range(9000))
        self.assertLess(Packer(start).pack(log).size, len(log) * 0.7)
        self.assertGreater(Packer(start).pack(log, in_a_hurry=True).size, len(log))
        self.assertLess(Packer(start).pack(bytes(99_999), in_a_hurry=True).size, 1000)

    def test_too_much(self) -> None:
        """A chunk has a size at most."""
        with self.assertRaises(LocalRecordingError):
            Packer(Position.start("s1.1")).pack(bytes(CONTENT_LIMIT + 1))

    def test_bomb(self) -> None:
        """A payload that unpacks to more than it says is refused, and not unpacked."""
        [chunk] = chunked([bytes(1_000_000)])
        wrong = evolve(chunk, length=10)
        with self.assertRaises(BadChunk):
            wrong.content()

    @given(st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are the beginning of a chunk, or refused."""
        for begin in (b"", b"MZC1", b"MZC1\0\0\0\0\0\0\0\0"):
            try:
                self.assertEqual(ChunkReader(Position.start("s1.1")).receive(begin + data), [])
            except BadChunk:
                pass


class JournalTests(SynchronousTestCase):
    """What is left of a file after a crash."""

    @given(CONTENTS, st.booleans(), st.integers(0), st.integers(1, 70_000), st.binary(max_size=99))
    @settings(max_examples=100, deadline=None)
    def test_cut_anywhere(
        self, contents: list[bytes], ends: bool, cut: int, step: int, noise: bytes
    ) -> None:
        """A file that ends anywhere, in noise say, is whole up to its last whole chunk."""
        made = chunked(contents, ends=ends)
        data = b"".join(chunk.data for chunk in made)
        cut %= len(data) + 1
        whole = [chunk for chunk in made if _end(made, chunk) <= cut]
        left = data[:cut] + noise
        # Noise that is just what was cut off would make it whole again.
        if left.startswith(
            data[: _end(made, made[len(whole)])] if len(whole) < len(made) else b"\0"
        ):
            return
        reader = JournalReader("s1.1")
        found: list[Chunk] = []
        for at in range(0, len(left), step):
            found.extend(reader.receive(left[at : at + step]))
        self.assertEqual(found, whole)
        self.assertEqual(reader.found.length, sum(len(chunk.data) for chunk in whole))
        self.assertEqual(len(reader.found.offsets), len(whole))
        self.assertEqual(reader.found.position.number, len(whole))
        self.assertEqual(reader.found.is_finished, ends and len(whole) == len(made))

    def test_damage_in_the_middle(self) -> None:
        """Behind damage nothing is believed."""
        made = chunked([b"one", b"two", b"three"])
        data = bytearray(b"".join(chunk.data for chunk in made))
        data[len(made[0].data) + HEADER_LENGTH] ^= 1
        reader = JournalReader("s1.1")
        self.assertEqual(reader.receive(bytes(data)), made[:1])
        self.assertFalse(reader.wants_more)
        self.assertEqual(reader.receive(b"more"), [])


def _end(chunks: list[Chunk], last: Chunk) -> int:
    return sum(len(chunk.data) for chunk in chunks[: last.number + 1])
