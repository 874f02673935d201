"""
What a terminal shows after some output.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.controls import ControlFilter
from mezite.recording.events import Header, Output
from mezite.recording.rendering import Rendering, repainted
from mezite.recording.screen import LARGEST_COLUMNS, LARGEST_ROWS, Screen


def shown(text: str, columns: int = 20, rows: int = 5) -> list[str]:
    """The screen after this, without blank rows at its end."""
    screen = Screen(columns, rows)
    screen.feed(ControlFilter().receive(text))
    texts = screen.texts()
    while texts and not texts[-1]:
        texts.pop()
    return texts


class ScreenTests(SynchronousTestCase):
    """What programs of today write."""

    def test_wrapping(self) -> None:
        """Text wraps at the right edge, wide characters before it; unless that is off."""
        self.assertEqual(shown("abcdef", columns=4), ["abcd", "ef"])
        self.assertEqual(shown("abc\u4e2d", columns=4), ["abc", "\u4e2d"])
        self.assertEqual(shown("\x1b[?7labcdef", columns=4), ["abcf"])

    def test_combining(self) -> None:
        """Accents and joined emoji stand in the cell before; a hostile number of them does not."""
        self.assertEqual(shown("e\u0301x"), ["e\u0301x"])
        self.assertEqual(shown("\U0001f468\u200d\U0001f469 x"), ["\U0001f468\u200d\U0001f469 x"])
        self.assertLess(len(shown("e" + "\u0301" * 10_000)[0]), 20)

    def test_lines_are_drawn(self) -> None:
        """Line drawing is drawn, by either way to it."""
        self.assertEqual(shown("\x1b(0lqk\x1b(B-"), ["┌─┐-"])
        self.assertEqual(shown("\x1b)0\x0elqk\x0f-"), ["┌─┐-"])
        self.assertEqual(shown("\x0elqk"), ["lqk"])

    def test_repeat(self) -> None:
        """A character is repeated, at most a screenful."""
        self.assertEqual(shown("=\x1b[5b"), ["======"])
        self.assertEqual(shown("=\x1b[9999b", columns=4, rows=2), ["====", "="])

    def test_alternate_screen(self) -> None:
        """The alternate screen leaves the main one, its cursor and what it saved, as they were."""
        text = "one\x1b7\x1b[?1049h\x1b[3;3Hedit\x1b7\x1b[?1049ltwo\x1b8!"
        self.assertEqual(shown(text), ["one!wo"])
        self.assertEqual(shown("one\x1b[?1049h\x1b[Hedit"), ["edit"])

    def test_scrolling(self) -> None:
        """Regions scroll by themselves, in both directions."""
        rows = "1\r\n2\r\n3\r\n4\r\n5"
        self.assertEqual(shown(f"{rows}\x1b[2;4r\x1b[S"), ["1", "3", "4", "", "5"])
        self.assertEqual(shown(f"{rows}\x1b[2;4r\x1b[T"), ["1", "", "2", "3", "5"])

    def test_tabs(self) -> None:
        """Tabs go forward and back."""
        self.assertEqual(shown("\x1b[2Ix\x1b[2Zy"), ["        y       x"])

    def test_size_is_bounded(self) -> None:
        """A header may say any size; a screen of it has a bound."""
        screen = Screen(65535, 65535)
        self.assertEqual((screen.columns, screen.lines), (LARGEST_COLUMNS, LARGEST_ROWS))
        screen.resize(65535, 65535)
        self.assertEqual((screen.columns, screen.lines), (LARGEST_COLUMNS, LARGEST_ROWS))
        screen.resize(0, 0)

    def test_copy(self) -> None:
        """A copy stays as it is when the other goes on."""
        rendering = Rendering(Header(0, 20, 5))
        rendering.receive(Output(0, b"one\x1b[3"))
        copy = rendering.copy()
        rendering.receive(Output(0, b"1mtwo\x1b[?1049h"))
        self.assertEqual(copy.screen.texts()[0], "one")
        copy.receive(Output(0, b"1mred"))
        self.assertEqual(copy.screen.texts()[0], "onered")
        self.assertEqual(copy.screen.buffer[0][3].fg, "red")

    @given(
        st.lists(
            st.text(st.sampled_from("ab\u4e2d\u0301\r\n\t\x08\x0e\x0f"), max_size=4)
            | st.builds(
                "\x1b[{}{}{}".format,
                st.sampled_from(["", "?"]),
                st.sampled_from(
                    ["", "0", "1", "3;2", "9999", "1;9999", "38;5;300", "38;2;999;1;1"]
                ),
                st.sampled_from("@ABCDEFGHIJKLMPSTXZ`abdefghlmrsu"),
            )
            | st.sampled_from(
                ["\x1b7", "\x1b8", "\x1bc", "\x1bM", "\x1b#8", "\x1b[?1049h", "\x1b(0"]
            ),
            max_size=30,
        ),
        st.integers(1, 12),
        st.integers(1, 6),
    )
    @settings(max_examples=100, deadline=None)
    def test_any(self, parts: list[str], columns: int, rows: int) -> None:
        """Whatever is written, on whatever size: it holds, and can be painted elsewhere."""
        rendering = Rendering(Header(0, columns, rows))
        rendering.receive(Output(0, "".join(parts).encode()))
        screen = rendering.screen
        self.assertLessEqual(max(map(len, screen.texts())), columns * 16)
        other = Screen(columns, rows)
        other.feed(ControlFilter().receive(repainted(screen)))
        self.assertEqual(other.texts(), screen.texts())
        screen.resize(3, 5)
        screen.resize(8, 20)
        screen.texts()
