"""
A recording on a person's terminal, with the keys to move about in it.

What is shown when is the :class:`~mezite.recording.player.Player`'s; this owns the
terminal while it plays, and gives it back on every way out.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, Final

from twisted.internet.defer import Deferred

from mezite.client.playkeys import INTERRUPT, KEYS, SUSPEND, keys, status
from mezite.client.stdio import InputFile
from mezite.client.terminal import RawTerminal, ResizeWatch, window_size
from mezite.error import MeziteError
from mezite.recording.player import Player, State
from mezite.recording.rendering import AFTERWARDS

# Reverse video on the last line, wherever margins and origin are.
_STATUS: Final = "\x1b[r\x1b[?6l\x1b[?7l\x1b[{row};1H\x1b[0;7m{text}\x1b[m"
# What a seek does at once is too short to be told of.
_SEEK_STATUS_SECONDS: Final = 0.3


class Viewer:
    """
    One terminal on which a recording is played.

    :param keyboard: a terminal's file descriptor.
    :param screen: likewise.
    :param recorded: columns and rows of the recording.
    """

    def __init__(
        self, reactor: Any, player: Player, keyboard: int, screen: int, recorded: tuple[int, int]
    ) -> None:
        self._reactor = reactor
        self._player = player
        self._keyboard = keyboard
        self._screen = screen
        self._recorded = recorded
        self._terminal: RawTerminal | None = None
        self._over: Deferred[None] = Deferred()
        self._timer: Any = None
        self._is_interrupted = False
        self._is_status_shown = False
        self._seeking_since: float | None = None

    async def play(self) -> bool:
        """
        Play to the end, or until the person has seen enough.

        :return: whether it was Ctrl-C that ended it.
        """
        with ExitStack() as stack:
            terminal = RawTerminal(self._keyboard, self._continued)
            self._terminal = stack.enter_context(terminal)
            stack.enter_context(ResizeWatch(self._reactor, self._repaint))
            stack.callback(self._leave)
            typed = InputFile(self._reactor, self._keyboard, self._typed, self._hung_up)
            stack.callback(typed.give_back)
            stack.callback(self._cancel_timer)
            # What was on the screen goes up to where it can be scrolled back to.
            rows = window_size(self._screen).rows
            self._write("\r\n" * rows)
            self._player.begin(self._now())
            self._repaint()
            typed.resumeProducing()
            await self._over
            return self._is_interrupted

    def _now(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def _write(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            # A terminal that is slow is waited for; nothing else is to be done meanwhile.
            data = data[os.write(self._screen, data) :]

    def _leave(self) -> None:
        try:
            self._write(f"{AFTERWARDS}\x1b[{window_size(self._screen).rows};1H\x1b[K\r\n")
        except OSError:
            pass  # the terminal itself is gone

    def _finish(self, error: BaseException | None = None) -> None:
        self._cancel_timer()
        if self._over.called:
            return
        if error is None:
            self._over.callback(None)
        else:
            self._over.errback(error)

    def _hung_up(self) -> None:
        self._finish()

    def _continued(self) -> None:
        self._reactor.callFromThread(self._repaint)

    def _repaint(self) -> None:
        if self._over.called or self._player.state is State.OVER:
            return
        self._player.repaint(self._now())
        self._schedule()

    def _typed(self, data: bytes) -> None:
        for key in keys(data):
            if self._over.called:
                return
            if key == INTERRUPT:
                self._is_interrupted = True
                self._finish()
                return
            if key == SUSPEND:
                self._suspend()
            elif key in KEYS:
                self._act(key)
        self._schedule()

    def _act(self, key: bytes) -> None:
        player, now = self._player, self._now()
        KEYS[key](player, now)
        if player.state is State.OVER:
            self._finish()
        elif self._is_status_shown or player.state is State.PAUSED:
            # The line of status stands where the recording may have had something.
            player.repaint(now)

    def _suspend(self) -> None:
        assert self._terminal is not None
        self._cancel_timer()
        self._leave()
        self._terminal.suspend()
        self._repaint()

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _schedule(self) -> None:
        self._cancel_timer()
        wait = self._player.wakes_in(self._now())
        if wait is not None and not self._over.called:
            self._timer = self._reactor.callLater(wait, self._tick)

    def _tick(self) -> None:
        player, now = self._player, self._now()
        was_seeking = player.is_seeking
        try:
            shown = player.tick(now)
            if shown or (was_seeking and not player.is_seeking):
                self._is_status_shown = False
                self._write(shown)
            self._show_status(now)
        except (OSError, MeziteError) as error:
            self._finish(error)
            return
        if player.state is State.OVER:
            self._finish()
            return
        self._schedule()

    def _show_status(self, now: float) -> None:
        player = self._player
        if not player.is_seeking:
            self._seeking_since = None
            if player.state is not State.PAUSED:
                return
        elif self._seeking_since is None:
            self._seeking_since = now
            return
        elif now - self._seeking_since < _SEEK_STATUS_SECONDS or self._is_status_shown:
            return
        size = window_size(self._screen)
        text = status(player, now, (size.columns, size.rows), self._recorded)
        self._write(_STATUS.format(row=size.rows, text=text))
        self._is_status_shown = True
