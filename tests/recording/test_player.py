"""
How recordings are played, with a clock that the test turns.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.controls import ControlFilter
from mezite.recording.error import LocalRecordingError
from mezite.recording.events import Event, Output, Resized
from mezite.recording.player import FASTEST, SECOND, SLOWEST, TRANSITIONS, Player, State
from mezite.recording.rendering import Rendering
from mezite.recording.screen import Screen
from tests.recording.tapes import HEADER, tape, written

PIECES = (
    "plain ",
    "\r\n",
    "\x1b[1;31mred",
    "\x1b[m",
    "\x1b[2J",
    "\x1b[3;5Hthere",
    "\x1b[?1049h",
    "\x1b[?1049l",
    "\x1b[2;6r",
    "\x1b[r",
    "\x1b(0lqk",
    "\x1b(B",
    "\x1b7",
    "\x1b8",
    "\x1b[3",
    "wide \N{CJK UNIFIED IDEOGRAPH-4E2D}",
    "x" * 40,
    "\x1b[?25l",
    "\x1b[4h",
    "\x1b[4l",
    "\x1b[?6h",
    "\x1b[?6l",
    "\x1b[?7l",
    "\x1b[?7h",
    "\x1b]0;title\x07",
)

WISHES = ("seek", "step", "wait", "pause", "faster", "paint")


def drain(player: Player, now: float) -> str:
    """All that is due now, and whatever was sought."""
    shown = ""
    while player.wakes_in(now) == 0.0:
        shown += player.tick(now)
    return shown


class PlayingTests(SynchronousTestCase):
    """Events at their times."""

    def setUp(self) -> None:
        self.tape = tape(written((0.0, "a"), (1.0, "b"), (11.0, "c"), (12.0, "d")))

    def test_times(self) -> None:
        """Each event is shown when its time has come, and at the end it is over."""
        player = Player(self.tape)
        player.begin(100.0)
        self.assertEqual(drain(player, 100.0), "a")
        self.assertEqual(player.wakes_in(100.0), 1.0)
        self.assertEqual(drain(player, 101.0), "b")
        self.assertEqual(player.wakes_in(105.0), 6.0)
        self.assertEqual(drain(player, 113.0), "cd")
        self.assertIs(player.state, State.OVER)

    def test_speed(self) -> None:
        """Twice as fast takes half the time; it can be changed on the way."""
        player = Player(self.tape, speed=2)
        player.begin(0.0)
        self.assertEqual(drain(player, 0.5), "ab")
        player.change_speed(0.5, 1.0)
        self.assertEqual(player.speed, 1)
        self.assertEqual(player.time(1.0), 2 * SECOND)
        self.assertEqual(player.wakes_in(1.0), 9.0)

    def test_speed_has_limits(self) -> None:
        """Nobody presses + until numbers overflow."""
        player = Player(self.tape, speed=1e300)
        self.assertEqual(player.speed, FASTEST)
        for _ in range(50):
            player.change_speed(0.5, 0.0)
        self.assertEqual(player.speed, SLOWEST)

    def test_idle_limit(self) -> None:
        """Longer silence takes no more than the limit, and what follows keeps its distance."""
        player = Player(self.tape, idle_limit=2)
        player.begin(0.0)
        self.assertEqual(drain(player, 1.0), "ab")
        self.assertEqual(player.wakes_in(1.0), 2.0)
        self.assertEqual(drain(player, 3.0), "c")
        self.assertEqual(player.time(3.0), 11 * SECOND)
        self.assertEqual(player.wakes_in(3.0), 1.0)

    def test_idle_limit_after_a_late_look(self) -> None:
        """Being late at a silence does not make what follows later still."""
        player = Player(self.tape, idle_limit=2)
        player.begin(0.0)
        self.assertEqual(drain(player, 3.5), "abc")
        self.assertEqual(player.wakes_in(3.5), 0.5)

    def test_pause(self) -> None:
        """While it is paused no time passes."""
        player = Player(self.tape)
        player.begin(0.0)
        drain(player, 2.0)
        player.toggle(3.0)
        self.assertIsNone(player.wakes_in(50.0))
        self.assertEqual(player.tick(50.0), "")
        self.assertEqual(player.time(50.0), 3 * SECOND)
        player.toggle(60.0)
        self.assertEqual(player.wakes_in(60.0), 8.0)

    def test_step(self) -> None:
        """A step shows what comes next, and pauses; the last leaves it at the end."""
        player = Player(self.tape)
        player.begin(0.0)
        times = []
        for _ in range(5):
            player.step(0.0)
            drain(player, 0.0)
            times.append(player.time(0.0) // SECOND)
        self.assertEqual(times, [0, 1, 11, 12, 12])
        self.assertIs(player.state, State.PAUSED)
        player.toggle(0.0)
        self.assertEqual(drain(player, 0.0), "")
        self.assertIs(player.state, State.OVER)

    def test_nothing_hostile(self) -> None:
        """What would attack is taken out, unless the person wants it raw."""
        hostile = tape(written((0.0, "a\x1b]52;c;AAAA\x07b")))
        self.assertEqual(drain(Player(hostile), 0.0), "ab")
        self.assertEqual(drain(Player(hostile, is_raw=True), 0.0), "a\x1b]52;c;AAAA\x07b")

    def test_much_at_once(self) -> None:
        """Much output comes in pieces, so that keys are heard between."""
        player = Player(tape(written(*((0.0, "x" * 10_000) for _ in range(50)))))
        pieces = [player.tick(0.0)]
        while player.wakes_in(0.0) == 0.0 and player.state is State.PLAYING:
            pieces.append(player.tick(0.0))
        self.assertGreater(len(pieces), 5)
        self.assertEqual("".join(pieces), "x" * 500_000)

    def test_every_pair(self) -> None:
        """What is not in the table is refused, and changes nothing."""
        player = Player(self.tape)
        player.quit()
        wishes: list[Callable[[], object]] = [
            player.quit,
            lambda: player.toggle(0.0),
            lambda: player.seek(0, 0.0),
            lambda: player.step(0.0),
            lambda: player.change_speed(2, 0.0),
        ]
        for wish in wishes:
            self.assertRaises(LocalRecordingError, wish)
            self.assertIs(player.state, State.OVER)
        self.assertNotIn(State.OVER, {state for state, _ in TRANSITIONS})


class SeekingTests(SynchronousTestCase):
    """Going to another moment."""

    def setUp(self) -> None:
        self.tape = tape(written((0.0, "one"), (5.0, "\x1b[2Jtwo"), (10.0, " three")))

    def test_forward_and_back(self) -> None:
        """The screen is painted as it was then, and it goes on from there."""
        player = Player(self.tape)
        player.begin(0.0)
        player.seek(5 * SECOND, 0.0)
        self.assertIn("two", drain(player, 0.0))
        self.assertEqual(player.wakes_in(0.0), 5.0)
        player.seek_by(-5, 1.0)
        shown = drain(player, 1.0)
        self.assertIn("one", shown)
        self.assertNotIn("two", shown)
        self.assertEqual(player.wakes_in(1.0), 4.0)

    def test_end(self) -> None:
        """At the end it waits for the person, who may go back."""
        player = Player(self.tape)
        player.seek(99 * SECOND, 0.0)
        self.assertIn("three", drain(player, 0.0))
        self.assertIs(player.state, State.PAUSED)
        player.seek(0, 0.0)
        self.assertNotIn("three", drain(player, 0.0))

    def test_before_the_beginning(self) -> None:
        """There is nothing before the beginning."""
        player = Player(self.tape)
        player.seek_by(-5, 1.0)
        drain(player, 1.0)
        self.assertEqual(player.time(1.0), 0)

    def test_slow_seek_takes_other_wishes(self) -> None:
        """A long seek is done in pieces, and may lead elsewhere on its way."""
        long = tape(written(*((float(second), f"{second:09} " * 2000) for second in range(40))))
        player = Player(long)
        player.seek(39 * SECOND, 0.0)
        self.assertEqual(player.tick(0.0), "")
        self.assertTrue(player.is_seeking)
        player.seek(SECOND, 0.0)
        self.assertIn("000000001", drain(player, 0.0))

    def test_kept_screens_are_bounded(self) -> None:
        """However long a recording is, so many screens are kept to go back from."""
        header = HEADER.__class__(0, 1000, 500)
        many = written(*((float(second), "x" * 60_000) for second in range(60)))
        player = Player(tape(many, header))
        player.seek(60 * SECOND, 0.0)
        drain(player, 0.0)
        self.assertLessEqual(len(player._kept), 2)

    @given(
        st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 3)), min_size=1, max_size=25),
        st.lists(
            st.tuples(st.sampled_from(WISHES), st.integers(0, 9)),
            min_size=1,
            max_size=8,
        ),
        st.booleans(),
    )
    @settings(max_examples=100, deadline=None)
    def test_any(
        self, pieces: list[tuple[str, int]], wishes: list[tuple[str, int]], resizes: bool
    ) -> None:
        """Whatever was wished, the terminal shows what a rendering from the start does."""
        time = 0
        events: list[Event] = [Resized(0, 38, 7)] if resizes else []
        for text, gap in pieces:
            time += gap * SECOND
            events.append(Output(time, text.encode()))
        made = tape(events)
        player, now = Player(made, idle_limit=2), 0.0
        columns, rows = (38, 7) if resizes else (40, 8)
        terminal, reading = Screen(columns, rows), ControlFilter()

        def show(text: str) -> None:
            terminal.feed(reading.receive(text))

        # As a viewer begins.
        player.begin(now)
        player.repaint(now)
        show(drain(player, now))
        for wish, number in wishes:
            if player.state is State.OVER:
                break
            match wish:
                case "seek":
                    player.seek(made.duration * number // 9, now)
                case "step":
                    player.step(now)
                case "wait":
                    now += number / 2
                case "pause":
                    player.toggle(now)
                case "faster":
                    player.change_speed(1.5 if number % 2 else 0.5, now)
                case "paint":
                    player.repaint(now)
            show(drain(player, now))
        rendering = Rendering(made.header)
        for event in made.after(-1):
            if event.time <= player.time(now):
                rendering.receive(event)
        self.assertEqual(terminal.texts(), rendering.screen.texts())
        self.assertEqual(terminal.cursor.y, rendering.screen.cursor.y)
        self.assertEqual(terminal.is_alternate, rendering.screen.is_alternate)
