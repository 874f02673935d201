"""
How a recording is played: when what is shown, and what the person's wishes change.

A :class:`Player` has no clock and no terminal: it is told what time it is, and
returns what a terminal must be given. Places in the recording are microseconds;
the clock that it is told counts seconds, from anywhere.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from itertools import chain
from typing import Final

from attrs import define

from mezite.recording.controls import ControlFilter
from mezite.recording.error import LocalRecordingError
from mezite.recording.events import Event
from mezite.recording.rendering import Rendering, repainted, terminal_text
from mezite.recording.tape import Tape

SECOND: Final = 1_000_000
SLOWEST: Final = 1 / 16
FASTEST: Final = 64.0
# What is done between two looks at the keyboard: a tenth of a second of rendering.
_CHARACTERS: Final = 64 * 1024
# An event that shows nothing is work, too.
_EVENT: Final = 16
# Screens kept to seek back from; one of 80 by 24 has about 200 KB. At first one for so many
# characters, then for twice as many, and so on.
_KEPT_CELLS: Final = 128 * 80 * 24
_KEEP_EVERY: Final = 256 * 1024


class State(enum.Enum):
    """What the player is doing."""

    PLAYING = enum.auto()
    PAUSED = enum.auto()
    OVER = enum.auto()


class Wish(enum.Enum):
    """What a person may want, or what the recording itself brings about."""

    TOGGLE = enum.auto()
    STEP = enum.auto()
    SEEK = enum.auto()
    # To the end: there is something to look at, and a way back.
    SEEK_END = enum.auto()
    FASTER = enum.auto()
    SLOWER = enum.auto()
    QUIT = enum.auto()
    RAN_OUT = enum.auto()


TRANSITIONS: Final[Mapping[tuple[State, Wish], State]] = {
    (State.PLAYING, Wish.TOGGLE): State.PAUSED,
    (State.PLAYING, Wish.STEP): State.PAUSED,
    (State.PLAYING, Wish.SEEK): State.PLAYING,
    (State.PLAYING, Wish.SEEK_END): State.PAUSED,
    (State.PLAYING, Wish.FASTER): State.PLAYING,
    (State.PLAYING, Wish.SLOWER): State.PLAYING,
    (State.PLAYING, Wish.QUIT): State.OVER,
    (State.PLAYING, Wish.RAN_OUT): State.OVER,
    (State.PAUSED, Wish.TOGGLE): State.PLAYING,
    (State.PAUSED, Wish.STEP): State.PAUSED,
    (State.PAUSED, Wish.SEEK): State.PAUSED,
    (State.PAUSED, Wish.SEEK_END): State.PAUSED,
    (State.PAUSED, Wish.FASTER): State.PAUSED,
    (State.PAUSED, Wish.SLOWER): State.PAUSED,
    (State.PAUSED, Wish.QUIT): State.OVER,
}


@define(eq=False)
class _Rendered:
    """A rendering, and the time of the last event in it: all events of that time are."""

    time: int
    rendering: Rendering


class Player:
    """
    One recording being played.

    ``is_raw`` lets everything pass that was written; but for what is sought, which
    is always a screen that was rendered.
    """

    def __init__(
        self,
        tape: Tape,
        *,
        speed: float = 1.0,
        idle_limit: float | None = None,
        is_raw: bool = False,
    ) -> None:
        self.state = State.PLAYING
        self.speed = min(max(speed, SLOWEST), FASTEST)
        self._tape = tape
        self._idle_limit = None if idle_limit is None else max(1, int(idle_limit * SECOND))
        self._is_raw = is_raw
        # Where we were at a moment of the clock that we are told; all before is shown.
        self._time = 0
        self._since = 0.0
        # From where idle time counts: the last event, or where it was sought to.
        self._rest = 0
        self._filter = ControlFilter()
        self._events = tape.after(-1)
        self._next: Event | None = next(self._events, None)
        # Where a seek is going, and how far its rendering has come.
        self._target: int | None = None
        self._current = _Rendered(-1, Rendering(tape.header))
        self._sought = tape.after(-1)
        self._ahead: Event | None = next(self._sought, None)
        self._kept: list[_Rendered] = []
        self._keep_every = _KEEP_EVERY
        self._since_kept = 0

    @property
    def duration(self) -> int:
        return self._tape.duration

    @property
    def is_seeking(self) -> bool:
        return self._target is not None

    def begin(self, now: float) -> None:
        """From now on the time runs."""
        self._since = now

    def time(self, now: float) -> int:
        """Where we are, or are going."""
        if self._target is not None:
            return self._target
        if self.state is not State.PLAYING:
            return self._time
        return min(self._at(now), self._due())

    def wakes_in(self, now: float) -> float | None:
        """In how many seconds :meth:`tick` has something to do; None if not by itself."""
        if self._target is not None:
            return 0.0
        if self.state is not State.PLAYING:
            return None
        return max(0.0, (self._due() - self._at(now)) / (SECOND * self.speed))

    def tick(self, now: float) -> str:
        """What a terminal is to be given now."""
        if self._target is not None:
            return self._seek_on(now)
        if self.state is not State.PLAYING:
            return ""
        at = self._at(now)
        shown: list[str] = []
        work = 0
        while self._next is not None and work < _CHARACTERS:
            due = self._due()
            if due > at:
                break
            # Idle time beyond the limit did not pass.
            at += self._next.time - due
            shown.append(self._show_next())
            work += len(shown[-1]) + _EVENT
        if self._next is None:
            self._time = self.duration
            self._move(Wish.RAN_OUT)
        else:
            self._stop_at(at if work < _CHARACTERS else self._rest, now)
        return "".join(shown)

    # What the person wants.

    def toggle(self, now: float) -> None:
        """Pause, or go on."""
        self._stop_at(self.time(now), now)
        self._move(Wish.TOGGLE)

    def change_speed(self, factor: float, now: float) -> None:
        self._stop_at(self.time(now), now)
        self._move(Wish.FASTER if factor > 1 else Wish.SLOWER)
        self.speed = min(max(self.speed * factor, SLOWEST), FASTEST)

    def step(self, now: float) -> None:
        """Go to the next time at which something was written, and pause there."""
        self._stop_at(self.time(now), now)
        self._move(Wish.STEP)
        if self._target is not None:
            return
        # What comes next may be only a note.
        for event in chain([self._next] if self._next is not None else [], self._events):
            if terminal_text(event, self._tape.header):
                self.seek(event.time, now)
                return
        self.seek(self.duration, now)

    def seek(self, time: int, now: float) -> None:
        """Go there; ticks do the work. To where we are, it paints the screen anew."""
        self._stop_at(self.time(now), now)
        self._move(Wish.SEEK if time < self.duration else Wish.SEEK_END)
        self._target = target = min(max(0, time), self.duration)
        best = max(
            (each for each in (*self._kept, self._current) if each.time <= target),
            key=lambda each: each.time,
            default=_Rendered(-1, Rendering(self._tape.header)),
        )
        if best is not self._current:
            self._current = _Rendered(best.time, best.rendering.copy())
            self._sought = self._tape.after(best.time)
            self._ahead = next(self._sought, None)

    def seek_by(self, seconds: float, now: float) -> None:
        self.seek(self.time(now) + int(seconds * SECOND), now)

    def repaint(self, now: float) -> None:
        """What is on the terminal has been lost."""
        state = self.state
        self.seek(self.time(now), now)
        self.state = state

    def quit(self) -> None:
        self._move(Wish.QUIT)

    def _move(self, wish: Wish) -> None:
        state = TRANSITIONS.get((self.state, wish))
        if state is None:
            raise LocalRecordingError(f"a player that is {self.state.name} takes no {wish.name}")
        self.state = state

    # The time.

    def _at(self, now: float) -> int:
        return self._time + max(0, int((now - self._since) * SECOND * self.speed))

    def _stop_at(self, time: int, now: float) -> None:
        self._time, self._since = time, now

    def _due(self) -> int:
        """When the next event is to be shown."""
        if self._next is None:
            return self._time
        if self._idle_limit is None:
            return self._next.time
        return min(self._next.time, max(self._rest + self._idle_limit, self._time))

    def _show_next(self) -> str:
        event = self._next
        assert event is not None
        self._rest = event.time
        self._next = next(self._events, None)
        text = terminal_text(event, self._tape.header)
        return text if self._is_raw else self._filter.clean(text)

    # Seeking: rendering from a screen that was kept, a piece at a time.

    def _seek_on(self, now: float) -> str:
        target = self._target
        assert target is not None
        work = 0
        while self._ahead is not None and self._ahead.time <= target:
            if work >= _CHARACTERS:
                return ""
            event = self._ahead
            done = self._current.rendering.receive(event) + _EVENT
            work += done
            self._since_kept += done
            self._ahead = next(self._sought, None)
            if self._ahead is None or self._ahead.time > event.time:
                self._current.time = event.time
                self._keep()
        self._target = None
        self._rest = target
        self._stop_at(target, now)
        self._filter = self._current.rendering.filter.copy()
        self._events = self._tape.after(target)
        self._next = next(self._events, None)
        return repainted(self._current.rendering.screen)

    def _keep(self) -> None:
        kept = self._kept
        is_behind = kept and kept[-1].time >= self._current.time
        if self._since_kept < self._keep_every or is_behind:
            return
        self._since_kept = 0
        screen = self._current.rendering.screen
        kept.append(_Rendered(self._current.time, self._current.rendering.copy()))
        if len(kept) > max(2, _KEPT_CELLS // (screen.columns * screen.lines)):
            del kept[::2]
            self._keep_every *= 2
