"""Tests of lists that come page by page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.hub.paging import PAGE, length_of, page, read_token, token_of


class PageTests(SynchronousTestCase):
    def test_every_item_once(self) -> None:
        """The pages together are the list, whatever came and went between them."""
        names = [f"n{number:03}" for number in range(25)]
        shown, token = page(names, str, 10, "")
        self.assertEqual((shown, token), (names[:10], "n009"))
        # The last one shown goes, and one comes that was passed.
        names = sorted({*names, "n0035"} - {"n009"})
        shown, token = page(names, str, 10, token)
        self.assertEqual((shown, token), (names[10:20], "n019"))
        self.assertEqual(page(names, str, 10, token), (names[20:], ""))

    def test_size(self) -> None:
        """A size that makes no sense is ours."""
        self.assertEqual(
            [length_of(size) for size in (-1, 0, 1, PAGE, PAGE + 1)], [PAGE, PAGE, 1, PAGE, PAGE]
        )


class TokenTests(SynchronousTestCase):
    @given(
        st.floats(allow_nan=False, allow_infinity=False),
        st.text("0123456789abcdef.-", min_size=1, max_size=64),
    )
    def test_there_and_back(self, created: float, item_id: str) -> None:
        """A token says exactly where its page ended."""
        self.assertEqual(read_token(token_of(created, item_id)), (created, item_id))

    @given(st.text(max_size=80))
    def test_anything(self, token: str) -> None:
        """What is no token is refused, and nothing else happens."""
        try:
            read = read_token(token)
        except BadInput:
            return
        self.assertEqual(read is None, not token)

    def test_refused(self) -> None:
        """Times that are none, and ids of no length or too much."""
        for token in ("x", "nan x", "inf x", "1e999 x", "1.0", "1.0 ", " x", "1.0 " + "x" * 65):
            self.assertRaises(BadInput, read_token, token)
