"""
What of a recording may reach a terminal.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.controls import ControlFilter

HOSTILE = [
    ("the clipboard, set", "\x1b]52;c;cm0gLXJmIH4K\x07"),
    ("the clipboard, asked for", "\x1b]52;c;?\x1b\\"),
    ("a title", "\x1b]0;owned\x07"),
    ("a title, reported as if typed", "\x1b[21t"),
    ("a window of another size", "\x1b[8;1;1t"),
    ("answerback", "\x05"),
    ("who are you", "\x1b[c"),
    ("who are you, in detail", "\x1b[>c"),
    ("which version", "\x1b[>0q"),
    ("where is the cursor", "\x1b[6n"),
    ("DECID", "\x1bZ"),
    ("DECRQSS", "\x1bP$q q\x1b\\"),
    ("DECRQM", "\x1b[?2004$p"),
    ("a checksum of the screen", "\x1b[1;1;1;1;1;1*y"),
    ("a keyboard that is locked", "\x1b[2h"),
    ("keys that send something else", "\x1b[?1h\x1b="),
    ("kitty's keys", "\x1b[>1u\x1b[?u"),
    ("xterm's keys", "\x1b[>4;2m"),
    ("the mouse", "\x1b[?1000h\x1b[?1006;1003h"),
    ("the mouse, as it was once", "\x1b[1;2;3;4;5T"),
    ("focus and pasting", "\x1b[?1004h\x1b[?2004h"),
    ("printing", "\x1b[5i"),
    ("the scroll-back", "\x1b[3J\x1b[03J"),
    ("132 columns", "\x1b[?3h"),
    ("kitty's graphics", "\x1b_Ga=q;AAAA\x1b\\"),
    ("tmux's passthrough", "\x1bPtmux;\x1b\x1b]52;c;AAAA\x07\x1b\\"),
    ("a file for iTerm", "\x1b]1337;File=name=a:AAAA\x07"),
    ("a link that leads elsewhere", "\x1b]8;;http://evil.example/\x1b\\"),
    ("a colour asked for", "\x1b]4;1;?\x07"),
    ("screen's title", "\x1bkowned\x1b\\"),
    ("the same in eight bits", "\x9d52;c;AAAA\x9c\x9b6n\x90$qm\x9c"),
    ("privacy and start of string", "\x1b^x\x1b\\\x1bXy\x1b\\"),
    ("nothing", "\x00\x7f"),
    ("a number without end", "\x1b[99999999A"),
]


class HostileTests(SynchronousTestCase):
    """What would do something to the person who looks on."""

    def test_nothing_passes(self) -> None:
        """Nothing of an attack reaches the terminal."""
        for name, text in HOSTILE:
            with self.subTest(name):
                passed = ControlFilter().clean(f"before{text}after")
                self.assertEqual(passed, "beforeafter")

    def test_split(self) -> None:
        """Nor does it when it comes a character at a time."""
        for name, text in HOSTILE:
            with self.subTest(name):
                filtering = ControlFilter()
                passed = "".join(filtering.clean(letter) for letter in f"before{text}after")
                self.assertEqual(passed, ControlFilter().clean(f"before{text}after"))

    def test_endless_sequence(self) -> None:
        """A sequence without end is not kept, and takes nothing with it once it has ended."""
        filtering = ControlFilter()
        for _ in range(100):
            self.assertEqual(filtering.clean("\x1b[" + "1;" * 10_000), "")
        self.assertLess(len(filtering._held), 200)
        self.assertEqual(filtering.clean("mtext"), "text")

    def test_endless_string(self) -> None:
        """A string that is never ended swallows what follows, as on a terminal, until ESC."""
        filtering = ControlFilter()
        self.assertEqual(filtering.clean("\x1b]0;" + "x" * 100_000), "")
        self.assertEqual(filtering.clean("more\x1b[31mred"), "\x1b[31mred")

    def test_only_dangerous_modes_are_taken_out(self) -> None:
        """Of several modes in one sequence the harmless ones stay."""
        self.assertEqual(ControlFilter().clean("\x1b[?25;1000;7h"), "\x1b[?25;7h")

    @given(
        st.text(
            st.sampled_from("\x1b[]P?>!$ ;:0123459\x07\x18\x9b\x9d\x9cABhmtcn\\q\n"), max_size=60
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_any(self, text: str) -> None:
        """Whatever comes: what passes passes again unchanged, in any pieces, and has no C1."""
        passed = ControlFilter().clean(text)
        self.assertEqual(ControlFilter().clean(passed), passed)
        filtering = ControlFilter()
        self.assertEqual("".join(map(filtering.clean, text)), passed)
        self.assertIsNone(re.search("[\x00-\x06\x10-\x1a\x1c-\x1f\x7f-\x9f]", passed))
        for sequence in re.finditer("\x1b(.)", passed):
            self.assertIn(sequence[1], "[78DEHM#()")


class HarmlessTests(SynchronousTestCase):
    """What draws on the screen."""

    def test_drawing_passes(self) -> None:
        """Colours, moves, erasing, scrolling and the alternate screen are as they were."""
        for text in (
            "plain \N{SNOWMAN} text\r\n",
            "\x1b[1;38;5;208mcolour\x1b[38:2::1:2:3m\x1b[0m",
            "\x1b[H\x1b[2J\x1b[10;20Hthere\x1b[K\x1b[1A\x1b[5b",
            "\x1b7\x1b[2;20r\x1bM\x1b[3S\x1b8",
            "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l",
            "\x1b(0lqqk\x1b(B\x1b)0\x0elqk\x0f",
            "\x1b[4h\x1b[4l\x1b[!p\x1b[2 q",
        ):
            with self.subTest(text):
                self.assertEqual(ControlFilter().clean(text), text)

    def test_control_within_a_sequence(self) -> None:
        """A line feed in the middle of a sequence is done first, as terminals do."""
        self.assertEqual(ControlFilter().clean("\x1b[3\n1mred"), "\n\x1b[31mred")

    def test_reset(self) -> None:
        """A reset clears the screen, and leaves what is above it."""
        passed = ControlFilter().clean("\x1bc")
        self.assertIn("\x1b[2J", passed)
        self.assertNotIn("\x1bc", passed)

    def test_eight_bits(self) -> None:
        """Sequences in eight bits are written in seven."""
        self.assertEqual(ControlFilter().clean("\x9b31mred\x85"), "\x1b[31mred\x1bE")
