"""
Signs of life asked for, and the absence of any noticed.

A :class:`Keepalive` owns one tunnel's timing and nothing of the tunnel. All
tunnels on one clock share its buckets, so ten thousand cost a few timers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from twisted.internet.interfaces import IReactorTime
from txaio.interfaces import IBatchedTimer

# The public make_batched_timer() is bound to one global loop; the class that
# implements it takes the loop, which tests with a Clock need.
from txaio.tx import _TxApi

# Load balancers forget an idle connection after 30 s at the least. A question and its answer
# take 0.09 ms of a core at the hub, where ten thousand tunnels make most of what idling costs.
INTERVAL: Final = 18.0
# The end that dialed asks later, and so only a peer that does not ask: one question and one
# answer are a sign of life both ways, and the hub's are sent and heard many at once.
LATER_INTERVAL: Final = 21.0
# One ping of the hub's unanswered for 7 s, or of an agent's for 4 s, in which TCP has repeated
# it four times even on a line that takes 0.2 s; noticed within 30 s in all.
SILENCE: Final = 25.0
_BUCKET: Final = 1.0
# A timer that comes so late says that it was us who could not hear: a machine that was
# suspended, or a process that was stopped or busy. What the peer said meanwhile is
# read after the timers.
_LATE: Final = 2.0
# Then it is given so long to answer as the last ping gives it.
_LAST_CHANCE: Final = 5.0

_timers: Final[WeakKeyDictionary[Any, IBatchedTimer]] = WeakKeyDictionary()


class _Loop:
    """What txaio wants to know: the clock."""

    def __init__(self, clock: IReactorTime) -> None:
        # Weakly, or the table of timers would keep every clock.
        self._clock = ref(clock)

    @property
    def loop(self) -> IReactorTime | None:
        return self._clock()


def _timer_of(clock: IReactorTime) -> IBatchedTimer:
    timer = _timers.get(clock)
    if timer is None:
        timer = _timers[clock] = _TxApi(_Loop(clock)).make_batched_timer(_BUCKET, 500)
    return timer


def _nobody() -> None:
    """In the place of a tunnel that is over."""


class Keepalive:
    """
    Calls ``ask`` after each ``interval`` of silence, and ``give_up`` after 25 seconds of
    it, in which the peer could be heard.

    ``pass_by`` is called about every ``interval`` in any case, before ``ask``, and not
    when it is looked for the answer. The
    buckets of the shared timer end whole seconds, so each call may come up to
    one second early.
    """

    __slots__ = (
        "_ask",
        "_call",
        "_clock",
        "_due",
        "_give_up",
        "_has_asked",
        "_interval",
        "_last_heard",
        "_pass_by",
    )

    def __init__(
        self,
        clock: IReactorTime,
        *,
        pass_by: Callable[[], None],
        ask: Callable[[], None],
        give_up: Callable[[], None],
        interval: float = INTERVAL,
    ) -> None:
        self._clock = clock
        self._pass_by = pass_by
        self._ask = ask
        self._give_up = give_up
        self._interval = interval
        self._call: Any = None
        self._has_asked = False
        self._last_heard = 0.0
        self._due = 0.0

    @property
    def silence(self) -> float:
        """For how many seconds the peer has said nothing."""
        return self._clock.seconds() - self._last_heard

    def start(self) -> None:
        self._last_heard = self._clock.seconds()
        self._wait(self._interval)

    def stop(self) -> None:
        """End, for good: nobody is called any more."""
        # Or the tunnel and this would hold each other until Python looks for such rings.
        self._pass_by = self._ask = self._give_up = _nobody
        call, self._call = self._call, None
        if call is not None:
            try:
                call.cancel()
            except ValueError:
                # Its bucket is being worked through and a new one stands in its
                # place; _on_time sees that it was stopped.
                pass

    def heard(self) -> None:
        """The peer said something."""
        self._last_heard = self._clock.seconds()

    def _wait(self, seconds: float) -> None:
        self._due = self._clock.seconds() + seconds
        self._call = _timer_of(self._clock).call_later(seconds, self._on_time)

    def _on_time(self) -> None:
        if self._call is None:
            return
        now = self._clock.seconds()
        if now - self._due > _LATE:
            self._last_heard = max(self._last_heard, now - SILENCE + _LAST_CHANCE)
        silence = now - self._last_heard
        # Within the bucket's rounding, or a dead peer would cost another round.
        if silence + _BUCKET >= SILENCE:
            self._call = None
            self._give_up()
            return
        is_silent = silence + _BUCKET >= self._interval
        self._wait(
            min(self._interval, SILENCE - silence) if is_silent else self._interval - silence
        )
        is_about_an_answer, self._has_asked = self._has_asked, is_silent
        if not is_about_an_answer:
            self._pass_by()
        if is_silent:
            self._ask()
