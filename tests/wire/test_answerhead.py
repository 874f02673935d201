"""
Tests of what stands before bytes that are no HTTP.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.answerhead import LENGTH, NoAnswer, answer_head

FINAL = b"HTTP/1.1 200 OK\r\nVia: x"
PIECES = st.sampled_from(
    [b"HTTP/1.1 ", b"HTTP/1.0 ", b"100", b"101", b"200", b" x", b"\r\n", b"\r\n\r\n", b"\x16"]
)


class AnswerHeadTests(SynchronousTestCase):
    def test_final(self) -> None:
        """Interim answers are passed over, and what follows the answer is kept."""
        for before in (b"", b"HTTP/1.1 102 Processing\r\nA: b\r\n\r\n" * 8):
            self.assertEqual(answer_head(before + FINAL + b"\r\n\r\n\x16"), (FINAL, b"\x16"))

    def test_too_long(self) -> None:
        """A head has an end, and so has the number of those that do not count."""
        self.assertIsNone(answer_head(b"HTTP/1.1 200 ".ljust(LENGTH, b"x")))
        for octets in (
            b"HTTP/1.1 200 ".ljust(LENGTH + 1, b"x"),
            b"HTTP/1.1 100 x\r\n\r\n" * 9 + FINAL,
        ):
            self.assertIn("end", str(self.assertRaises(NoAnswer, answer_head, octets)))

    @settings(max_examples=50, deadline=None)
    @given(octets=st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=40))
    def test_anything(self, octets: bytes) -> None:
        """What was refused or whole stays so, whatever comes behind it."""
        settled: object = None
        for end in range(len(octets) + 1):
            try:
                found = answer_head(octets[:end])
                now: object = None if found is None else found[0]
            except NoAnswer:
                now = NoAnswer
            if settled is not None:
                self.assertEqual(now, settled)
            settled = now
