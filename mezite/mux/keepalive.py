"""
Signs of life asked for, and the absence of any noticed.

A :class:`Keepalive` owns one tunnel's timing and nothing of the tunnel. Tunnels on one clock
that are due in the same second wait together, so ten thousand cost a few timers, and leave
nothing for Python to collect: a call of the timer's own for each of them was half of what
they cost while they were idle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from txaio.interfaces import IBatchedTimer

# The public make_batched_timer() is bound to one global loop; the class that
# implements it takes the loop, which tests with a Clock need.
from txaio.tx import _TxApi

# Load balancers forget an idle connection after 30 s at the least. A question and its answer
# take 0.09 ms of a core at the hub, where ten thousand tunnels make most of what idling costs.
INTERVAL: Final = 23.0
# The end that dialed asks later, and so only a peer that does not ask: one question and one
# answer are a sign of life both ways, and the hub's are sent and heard many at once.
LATER_INTERVAL: Final = 25.0
# One ping of the hub's unanswered for 6 s, or of an agent's for 4 s, in which TCP has repeated
# it four times even on a line that takes 0.2 s; noticed within 30 s in all.
SILENCE: Final = 29.0
_BUCKET: Final = 1.0
# So many ask one after the other, in some milliseconds; those of the same second that are more
# are spread over it.
_TOGETHER: Final = 64
# A timer that comes so late says that it was us who could not hear: a machine that was
# suspended, or a process that was stopped or busy. What the peer said meanwhile is
# read after the timers.
_LATE: Final = 2.0
# Then it is given so long to answer as the last ping gives it.
_LAST_CHANCE: Final = 5.0

_log = Logger()


class _Loop:
    """What txaio wants to know: the clock."""

    def __init__(self, clock: IReactorTime) -> None:
        # Weakly, or the table of timers would keep every clock.
        self._clock = ref(clock)

    @property
    def loop(self) -> IReactorTime | None:
        return self._clock()


class _Batch:
    """Some that are due in the same second, behind one call of the timer."""

    __slots__ = ("_call", "_members", "_second", "_timer")

    def __init__(self, timer: _Timer, second: int) -> None:
        self._timer = timer
        self._second = second
        self._members: dict[Keepalive, None] = {}
        self._call: Any = None

    @property
    def is_full(self) -> bool:
        return len(self._members) >= _TOGETHER

    def wait(self, seconds: float) -> None:
        self._call = self._timer.batched.call_later(seconds, self._come)

    def add(self, member: Keepalive) -> None:
        self._members[member] = None

    def remove(self, member: Keepalive) -> None:
        self._members.pop(member, None)
        if self._members or self._call is None:
            return
        call, self._call = self._call, None
        self._timer.forget(self, self._second)
        try:
            call.cancel()
        except ValueError:
            # Its second is being worked through, and a new one stands in its place.
            pass

    def _come(self) -> None:
        self._call = None
        self._timer.forget(self, self._second)
        members, self._members = self._members, {}
        for member in members:
            try:
                member.on_time()
            except Exception:
                _log.failure("a tunnel could not be looked after")


class _Timer:
    """All batches of one clock."""

    def __init__(self, clock: IReactorTime) -> None:
        self.batched: IBatchedTimer = _TxApi(_Loop(clock)).make_batched_timer(_BUCKET, 1)
        # Those that take more, by the second in which they are due.
        self._open: dict[int, _Batch] = {}

    def wait(self, member: Keepalive, now: float, seconds: float) -> _Batch:
        second = int(now + seconds)
        batch = self._open.get(second)
        if batch is None or batch.is_full:
            batch = self._open[second] = _Batch(self, second)
            batch.wait(seconds)
        batch.add(member)
        return batch

    def forget(self, batch: _Batch, second: int) -> None:
        if self._open.get(second) is batch:
            del self._open[second]


_timers: Final[WeakKeyDictionary[Any, _Timer]] = WeakKeyDictionary()


def _timer_of(clock: IReactorTime) -> _Timer:
    timer = _timers.get(clock)
    if timer is None:
        timer = _timers[clock] = _Timer(clock)
    return timer


def _nobody() -> None:
    """In the place of a tunnel that is over."""


class Keepalive:
    """
    Calls ``ask`` after each ``interval`` of silence, and ``give_up`` after 29 seconds of
    it, in which the peer could be heard.

    ``pass_by`` is called about every ``interval`` in any case, before ``ask``, and not
    when it is looked for the answer. The
    buckets of the shared timer end whole seconds, so each call may come up to
    one second early.
    """

    __slots__ = (
        "_ask",
        "_batch",
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
        self._batch: _Batch | None = None
        self._has_asked = False
        self._last_heard = 0.0
        self._due = 0.0

    @property
    def silence(self) -> float:
        """For how many seconds the peer has said nothing."""
        return self._clock.seconds() - self._last_heard

    def start(self) -> None:
        self._last_heard = self._clock.seconds()
        self._wait(self._last_heard, self._interval)

    def stop(self) -> None:
        """End, for good: nobody is called any more."""
        # Or the tunnel and this would hold each other until Python looks for such rings.
        self._pass_by = self._ask = self._give_up = _nobody
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.remove(self)

    def heard(self) -> None:
        """The peer said something."""
        self._last_heard = self._clock.seconds()

    def _wait(self, now: float, seconds: float) -> None:
        self._due = now + seconds
        self._batch = _timer_of(self._clock).wait(self, now, seconds)

    def on_time(self) -> None:
        """What was waited for may be due, or this has been stopped."""
        if self._batch is None:
            return
        now = self._clock.seconds()
        if now - self._due > _LATE:
            self._last_heard = max(self._last_heard, now - SILENCE + _LAST_CHANCE)
        silence = now - self._last_heard
        # Within the bucket's rounding, or a dead peer would cost another round.
        if silence + _BUCKET >= SILENCE:
            self._batch = None
            self._give_up()
            return
        is_silent = silence + _BUCKET >= self._interval
        self._wait(
            now, min(self._interval, SILENCE - silence) if is_silent else self._interval - silence
        )
        is_about_an_answer, self._has_asked = self._has_asked, is_silent
        if not is_about_an_answer:
            self._pass_by()
        if is_silent:
            self._ask()
