"""Tests of lines that say whose they are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.lines import LINE_LIMIT, LinePrefixer


class LinePrefixerTests(SynchronousTestCase):
    def test_whole_lines(self) -> None:
        """A line appears once it is complete; the last one at the end, and is completed."""
        prefixer = LinePrefixer(b"db1: ")
        self.assertEqual(prefixer.receive(b"one\ntw"), b"db1: one\n")
        self.assertEqual(prefixer.receive(b"o\n\nthr"), b"db1: two\ndb1: \n")
        self.assertEqual(prefixer.finish(), b"db1: thr\n")
        self.assertEqual(prefixer.finish(), b"")

    def test_long_line(self) -> None:
        """A line without end is given in parts, and little of it is kept."""
        prefixer = LinePrefixer(b"> ")
        shown = prefixer.receive(b"x" * (2 * LINE_LIMIT + 5))
        self.assertEqual(shown, (b"> " + b"x" * LINE_LIMIT + b"\n") * 2)
        self.assertEqual(prefixer.finish(), b"> xxxxx\n")

    @given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\xff", b""])), st.integers(1, 5))
    @settings(max_examples=100, deadline=None)
    def test_any_chunking(self, pieces: list[bytes], size: int) -> None:
        """However output arrives, the lines are the same."""
        data = b"".join(pieces)
        prefixer = LinePrefixer(b"> ")
        shown = b"".join(prefixer.receive(data[at : at + size]) for at in range(0, len(data), size))
        shown += prefixer.finish()
        expected = b"".join(b"> " + line + b"\n" for line in data.split(b"\n")[:-1])
        if last := data.split(b"\n")[-1]:
            expected += b"> " + last + b"\n"
        self.assertEqual(shown, expected)
