from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.error import MalformedMessage
from mezite.ssh.fields import SENTENCE_LENGTH, FieldReader, printable, string, uint32


class FieldsTests(SynchronousTestCase):
    """The data types of RFC 4251."""

    @given(st.lists(st.binary(max_size=50), max_size=5), st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_identity(self, values: list[bytes], number: int) -> None:
        """What was written is read again, and nothing is left."""
        reader = FieldReader(b"".join(map(string, values)) + uint32(number))
        self.assertEqual([reader.string() for _ in values], values)
        self.assertEqual(reader.uint32(), number)
        reader.end()

    @given(st.binary(max_size=30), st.data())
    @settings(max_examples=50, deadline=None)
    def test_cut(self, value: bytes, data: st.DataObject) -> None:
        """A string that ends too early is refused, wherever it was cut."""
        whole = string(value)
        cut = data.draw(st.integers(0, len(whole) - 1))
        self.assertRaises(MalformedMessage, FieldReader(whole[:cut]).string)

    def test_too_long(self) -> None:
        """A string that claims 4 GiB is refused without being waited for."""
        self.assertRaises(MalformedMessage, FieldReader(b"\xff" * 8).string)

    def test_left_over(self) -> None:
        """A message that is longer than its fields is refused."""
        self.assertRaises(MalformedMessage, FieldReader(b"x").end)

    def test_not_utf8(self) -> None:
        """A text that is not UTF-8 is refused."""
        self.assertRaises(MalformedMessage, FieldReader(string(b"\xff")).text)

    def test_names(self) -> None:
        """An empty name-list has no names."""
        self.assertEqual(FieldReader(string(b"")).names(), ())
        self.assertEqual(FieldReader(string(b"a,b")).names(), (b"a", b"b"))

    def test_printable(self) -> None:
        """A peer's sentence cannot move the cursor, and has an end."""
        self.assertEqual(printable(b"\x1b[2Jgo\r\naway\xff"), "[2Jgo away\ufffd")
        self.assertEqual(len(printable(b"x" * 10_000)), SENTENCE_LENGTH)
