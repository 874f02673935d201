"""
What every store of closed recordings does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.store.error import NoSuchRecording
from mezite.store.recordingfiles import IRecordingStore, Source

KEY = "2026-11/5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1.mzr"


class RecordingStoreContract(SynchronousTestCase):
    """What :class:`IRecordingStore` promises."""

    def setUp(self) -> None:
        self.store: Any = self.make_store()

    def make_store(self) -> Any:
        raise NotImplementedError

    def source(self, data: bytes) -> Path:
        # Beside the store, so that it can be linked.
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def broken(self, data: bytes) -> Source:
        """A source that ends in an error."""

        def seal(pieces: Iterator[bytes]) -> Iterator[bytes]:
            yield from pieces
            raise ZeroDivisionError

        return Source(self.source(data), seal)

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IRecordingStore, self.store)

    def test_round_trip(self) -> None:
        """What was put is read, from anywhere, and not beyond its end."""
        data = bytes(range(256)) * 1000
        path = self.source(data)
        self.assertEqual(self.store.put(KEY, Source(path)), len(data))
        self.assertEqual(path.read_bytes(), data)
        self.assertEqual(self.store.read(KEY, 0, 1 << 20), data)
        self.assertEqual(self.store.read(KEY, 300, 5), data[300:305])
        self.assertEqual(self.store.read(KEY, len(data) - 3, 100), data[-3:])
        for offset in (len(data), len(data) + 1, 1 << 40):
            self.assertEqual(self.store.read(KEY, offset, 100), b"")

    def test_empty(self) -> None:
        """A recording of which nothing came is one, too."""
        self.assertEqual(self.store.put(KEY, Source(self.source(b""))), 0)
        self.assertEqual(self.store.read(KEY, 0, 100), b"")

    def test_replaced(self) -> None:
        """A key has what was put last."""
        self.store.put(KEY, Source(self.source(b"first, and longer")))
        self.store.put(KEY, Source(self.source(b"second")))
        self.assertEqual(self.store.read(KEY, 0, 100), b"second")

    def test_sealed(self) -> None:
        """What is sealed on the way is stored so."""

        def seal(pieces: Iterator[bytes]) -> Iterator[bytes]:
            yield b"<"
            yield from (piece.upper() for piece in pieces)
            yield b">"

        self.assertEqual(self.store.put(KEY, Source(self.source(b"abc"), seal)), 5)
        self.assertEqual(self.store.read(KEY, 0, 100), b"<ABC>")

    def test_failed(self) -> None:
        """What could not be put leaves what was there."""
        self.store.put(KEY, Source(self.source(b"first")))
        self.assertRaises(ZeroDivisionError, self.store.put, KEY, self.broken(b"x" * 100))
        self.assertEqual(self.store.read(KEY, 0, 100), b"first")

    def test_removed(self) -> None:
        """What was removed is not there, and may be removed again."""
        self.store.put(KEY, Source(self.source(b"abc")))
        self.store.remove(KEY)
        self.store.remove(KEY)
        self.assertRaises(NoSuchRecording, self.store.read, KEY, 0, 1)
