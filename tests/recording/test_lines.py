"""
Lines as people saw them.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.events import Caption, Event, Header, Kind, Output, Resized, Stream
from mezite.recording.lines import SeenLine, SeenLines, Transcript
from tests.recording.tapes import HEADER, written

COMMAND = evolve(HEADER, has_terminal=False, kind=Kind.COMMAND)

MOVES = ("\x1b[2T", "\x1b[2;4r", "\x1b[?1049h", "\x1b[?1049l", "\x1b[2L", "\x1b[2M", "\x1bc")


def seen(events: list[Event], header: Header = HEADER) -> list[SeenLine]:
    lines = SeenLines(header)
    found = [line for event in events for line in lines.receive(event)]
    return found + lines.finish()


def texts(events: list[Event], header: Header = HEADER) -> list[str]:
    return [line.text for line in seen(events, header)]


def transcript(events: list[Event]) -> list[str]:
    reading = Transcript(HEADER)
    return [line for event in events for line in reading.receive(event)] + reading.finish()


class TranscriptTests(SynchronousTestCase):
    """What a terminal is left with."""

    def test_scrolled(self) -> None:
        """Lines that scrolled out stand before those on the screen."""
        events = written(*((float(i), f"line {i}\r\n") for i in range(30)))
        self.assertEqual(transcript(events), [f"line {i}" for i in range(30)])

    def test_alternate_screen(self) -> None:
        """What an editor showed is gone; what was there before it is back."""
        events = written(
            (0, "$ vim\r\n"),
            (1, "\x1b[?1049h\x1b[2J\x1b[Hsecret" + "\r\nx" * 30),
            (2, "\x1b[?1049l$ exit"),
        )
        self.assertEqual(transcript(events), ["$ vim", "$ exit"])

    def test_resized(self) -> None:
        """A terminal that gets smaller keeps what stood above."""
        events: list[Event] = [
            *written((0, "a\r\nb\r\nc\r\nd")),
            Resized(1_000_000, 40, 2),
            *written((2, "\r\ne")),
        ]
        self.assertEqual(transcript(events), ["a", "b", "c", "d", "e"])


class SeenLinesTests(SynchronousTestCase):
    """Every line, once."""

    def test_typed(self) -> None:
        """A line that is typed letter by letter is one line."""
        events = written(*((i / 5, letter) for i, letter in enumerate("$ ls -la")), (3, "\r\nfile"))
        self.assertEqual(texts(events), ["$ ls -la", "file"])

    def test_log(self) -> None:
        """A long log has each of its lines, in order, equal ones too."""
        log = "".join(f"line {i // 2}\r\n" for i in range(400))
        self.assertEqual(texts(written((0, log))), [f"line {i // 2}" for i in range(400)])

    def test_overwritten(self) -> None:
        """As in top, what a row shows at different times are different lines."""
        screens = [(float(i), f"\x1b[Hload {i}\x1b[K\r\ntasks 99\x1b[K") for i in range(1, 6)]
        found = seen(written((0, "\x1b[2J"), *screens))
        self.assertEqual(
            sorted((line.time, line.text) for line in found),
            [(1_000_000, "load 1"), (1_000_000, "tasks 99")]
            + [(i * 1_000_000, f"load {i}") for i in range(2, 6)],
        )

    def test_painted_anew(self) -> None:
        """A screen that is cleared and painted again has the same lines."""
        paint = "\x1b[2J\x1b[Hone\r\ntwo"
        self.assertEqual(texts(written(*((float(i), paint) for i in range(5)))), ["one", "two"])

    def test_editor(self) -> None:
        """Scrolling up and down in an editor finds each line of the file once."""

        def paint(top: int) -> str:
            rows = (f"\x1b[{row + 1}Hfile line {top + row}\x1b[K" for row in range(7))
            return "".join(rows)

        events = written(
            (0, "$ vim file\r\n"),
            (1, "\x1b[?1049h\x1b[2J" + paint(0)),
            *((2 + i / 10, paint(i)) for i in range(1, 12)),
            (5, "\x1b[?1049l$ exit"),
        )
        wanted = ["$ vim file", *(f"file line {i}" for i in range(18)), "$ exit"]
        self.assertEqual(sorted(texts(events)), sorted(wanted))

    def test_scroll_region(self) -> None:
        """So does scrolling in a region, as vim does it."""
        rows = "".join(f"\x1b[{i + 1}Hline {i}" for i in range(7))
        events = written(
            (0, f"\x1b[?1049h{rows}"),
            *((1 + i, f"\x1b[1;7r\x1b[7H\nline {7 + i}\x1b[r") for i in range(5)),
        )
        self.assertEqual(sorted(texts(events)), sorted(f"line {i}" for i in range(12)))

    def test_flash(self) -> None:
        """What was erased in the same moment is found, too."""
        self.assertEqual(texts(written((0, "secret\x1b[2J\x1b[Hnothing"))), ["secret", "nothing"])

    def test_command(self) -> None:
        """Without a terminal they are the lines that were written, of both streams."""
        events: list[Event] = [
            Output(0, b"\x1b[31mone\x1b[m\ntw"),
            Output(1, b"o\n10%\r20%\r\n"),
            Output(2, b"wrong\n", Stream.ERROR),
            Caption(3, "[nothing]"),
        ]
        self.assertEqual(texts(events, COMMAND), ["one", "two", "10%", "20%", "wrong", "[nothing]"])

    def test_endless_line(self) -> None:
        """A line without end is cut, and not kept."""
        found = texts([Output(0, b"x" * 60_000)] * 10, COMMAND)
        self.assertEqual(sum(map(len, found)), 600_000)
        self.assertLessEqual(max(map(len, found)), 33_000)

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 3),
                st.sampled_from(
                    ["a", "bc ", "\r\n", "\x1b[H", "\x1b[2J", "\x1b[K", "\x1bM", "\x1b[3S", *MOVES]
                ),
            ),
            max_size=30,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_any(self, pieces: list[tuple[int, str]]) -> None:
        """Whatever was written: every line that stood there for a second is found."""
        events: list[Event] = []
        time = 0
        for gap, text in pieces:
            time += gap * 1_000_000
            events.append(Output(time, text.encode()))
        found = texts(events)
        stood = set(transcript(events)) - {""}
        self.assertLessEqual(stood, set(found))
