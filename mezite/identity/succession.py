"""
An authority and the one beside it, while one takes over from the other.

Owns the phases of a rotation, what each step changes, and when a step is due.
Who makes the steps is :mod:`mezite.auth.rotation`; what the keys are,
:mod:`mezite.identity.authority`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from attrs import evolve, frozen

from mezite.identity.error import NotInThisPhase

A = TypeVar("A")


class Kind(enum.Enum):
    """Which authority; the values are what people type."""

    USER = "user"
    HOST = "host"
    TLS = "tls"


class Phase(enum.Enum):
    """How far a rotation is."""

    # One authority, which signs and is trusted.
    STANDBY = "standby"
    # There is a new one, which everybody learns to trust; the old one signs.
    PREPARE = "prepare"
    # The new one signs; the old one is still trusted.
    ROTATE = "rotate"
    # The old one signs again; the new one is still trusted for what it has signed.
    ROLLBACK = "rollback"


class Step(enum.Enum):
    """What moves a rotation on."""

    BEGIN = "begin"
    SWITCH = "switch"
    FINISH = "finish"
    ROLL_BACK = "roll back"


class _Change(enum.Enum):
    """What a step does to the two authorities."""

    ADD = "a new one is put beside"
    SWAP = "the other one signs"
    DROP = "the other one is forgotten"


_TRANSITIONS: Final[Mapping[tuple[Phase, Step], tuple[Phase, _Change]]] = {
    (Phase.STANDBY, Step.BEGIN): (Phase.PREPARE, _Change.ADD),
    (Phase.PREPARE, Step.SWITCH): (Phase.ROTATE, _Change.SWAP),
    # Nothing was signed by the new one yet, so nobody misses it.
    (Phase.PREPARE, Step.ROLL_BACK): (Phase.STANDBY, _Change.DROP),
    (Phase.ROTATE, Step.FINISH): (Phase.STANDBY, _Change.DROP),
    (Phase.ROTATE, Step.ROLL_BACK): (Phase.ROLLBACK, _Change.SWAP),
    (Phase.ROLLBACK, Step.FINISH): (Phase.STANDBY, _Change.DROP),
}
# Of the grace period: for everybody to learn of the new authority, and, after the other
# two thirds, for whoever is late.
_SHARE: Final = 1 / 3


@frozen
class Succession(Generic[A]):
    """
    The authority that signs, and the other one that is trusted as well, if any.

    ``number`` and ``other_number`` tell them apart on disk; ``last`` is the
    highest that was ever given. Times are POSIX seconds: ``since`` is that of
    the phase, ``switched`` when the signing one last changed. ``grace`` is a
    length in seconds; 0 means that a person makes each step. Whoever has learned
    of the authorities of ``generation`` is ready for the next step.
    """

    signing: A
    other: A | None = None
    phase: Phase = Phase.STANDBY
    since: float = 0.0
    began: float = 0.0
    switched: float = 0.0
    grace: float = 0.0
    number: int = 1
    other_number: int = 0
    last: int = 1
    generation: int = 0

    @property
    def trusted(self) -> tuple[A, ...]:
        """Both, the one that signs first."""
        return (self.signing,) if self.other is None else (self.signing, self.other)

    def begin(self, new: A, now: float, grace: float, number: int | None = None) -> Succession[A]:
        """
        Put a new authority beside this one.

        :param number: higher than any before.
        :raises NotInThisPhase: a rotation is under way.
        """
        phase, _ = _next(self.phase, Step.BEGIN)
        fresh = max(self.last + 1, number or 0)
        return evolve(
            self,
            other=new,
            other_number=fresh,
            last=fresh,
            phase=phase,
            since=now,
            began=now,
            grace=grace,
        )

    def stepped(self, step: Step, now: float) -> Succession[A]:
        """
        What any other step makes of it.

        :raises NotInThisPhase: the phase has no such step.
        """
        phase, change = _next(self.phase, step)
        if change is _Change.ADD or self.other is None:
            raise NotInThisPhase(self.phase, step)
        if change is _Change.SWAP:
            return evolve(
                self,
                signing=self.other,
                other=self.signing,
                number=self.other_number,
                other_number=self.number,
                phase=phase,
                since=now,
                switched=now,
            )
        return evolve(self, other=None, other_number=0, phase=phase, since=now, grace=0.0)

    def next_step(self) -> Step | None:
        """The step that leads on, which the grace period or a person makes."""
        return {
            Phase.PREPARE: Step.SWITCH,
            Phase.ROTATE: Step.FINISH,
            Phase.ROLLBACK: Step.FINISH,
        }.get(self.phase)

    def window(self) -> tuple[float, float] | None:
        """
        When the next step is due if everybody is ready for it, and when in any case.

        None, if nothing happens by itself.
        """
        if self.other is None or not self.grace:
            return None
        third = self.grace * _SHARE
        due = self.since + third
        if self.phase is Phase.ROTATE:
            due = max(due, self.began + self.grace)
        return due, due + third

    def due(self, now: float, *, is_everybody_ready: bool) -> Step | None:
        """The step that is to be made now, if one is."""
        window = self.window()
        if window is None or now < window[0 if is_everybody_ready else 1]:
            return None
        return self.next_step()


def succession_of(value: Any) -> Any:
    """A lone authority as the succession in which nothing is under way."""
    return value if isinstance(value, Succession) else Succession(value)


def _next(phase: Phase, step: Step) -> tuple[Phase, _Change]:
    try:
        return _TRANSITIONS[phase, step]
    except KeyError:
        raise NotInThisPhase(phase, step) from None
