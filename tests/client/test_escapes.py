"""Tests of escape characters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.escapes import EscapeReader, Wish, explained, visible

KEYS = st.lists(st.sampled_from([b"~", b".", b"?", b"\r", b"\n", b"a", b"\xc3", b"\x1b", b"#"]))


def joined(found: list[bytes | Wish]) -> list[bytes | Wish]:
    whole: list[bytes | Wish] = []
    for each in found:
        if isinstance(each, bytes) and whole and isinstance(whole[-1], bytes):
            whole[-1] += each
        else:
            whole.append(each)
    return whole


class EscapeReaderTests(SynchronousTestCase):
    def test_wishes(self) -> None:
        """At the start of a line the character and one more are a wish."""
        for keys, wish in (
            (b"~.", Wish.DISCONNECT),
            (b"~\x1a", Wish.SUSPEND),
            (b"~?", Wish.HELP),
            (b"~#", Wish.LIST_CONNECTIONS),
            (b"~B", Wish.SEND_BREAK),
        ):
            self.assertEqual(EscapeReader().receive(keys), [wish])
            self.assertEqual(EscapeReader().receive(b"ls\r" + keys + b"x"), [b"ls\r", wish, b"x"])

    def test_elsewhere(self) -> None:
        """In the middle of a line they are keys like any other."""
        self.assertEqual(EscapeReader().receive(b"cd ~.\r"), [b"cd ~.\r"])
        reader = EscapeReader()
        reader.receive(b"a")
        self.assertEqual(reader.receive(b"~."), [b"~."])

    def test_itself(self) -> None:
        """Twice is once; before anything else it is passed on with it."""
        self.assertEqual(EscapeReader().receive(b"~~."), [b"~."])
        self.assertEqual(EscapeReader().receive(b"~/x\r"), [b"~/x\r"])

    def test_one_after_another(self) -> None:
        """A wish leaves us at the start of the line."""
        self.assertEqual(EscapeReader().receive(b"~?~."), [Wish.HELP, Wish.DISCONNECT])

    def test_another_character(self) -> None:
        """Any character may be the one, even one that is a wish."""
        self.assertEqual(EscapeReader(b"\x1d").receive(b"\x1d.~."), [Wish.DISCONNECT, b"~."])
        self.assertEqual(EscapeReader(b".").receive(b".."), [b"."])

    @given(KEYS, st.data())
    @settings(max_examples=100, deadline=None)
    def test_any_chunking(self, keys: list[bytes], data: st.DataObject) -> None:
        """However the keys arrive, they come to the same."""
        at_once = EscapeReader().receive(b"".join(keys))
        reader = EscapeReader()
        found: list[bytes | Wish] = []
        left = keys
        while left:
            count = data.draw(st.integers(1, len(left)))
            found += reader.receive(b"".join(left[:count]))
            left = left[count:]
        self.assertEqual(joined(found), joined(at_once))

    @given(st.binary(max_size=200).filter(lambda each: b"~" not in each))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """Without the character nothing is changed."""
        self.assertEqual(b"".join(EscapeReader().receive(data)), data)  # type: ignore[arg-type]

    def test_explained(self) -> None:
        """The list names each wish, with the character in use."""
        text = explained(b"\x1d")
        for shown in ("^].", "^]^Z", "^]#", "^]?", "^]^]"):
            self.assertIn(shown, text)
        self.assertEqual(visible(b"~"), "~")
