"""
What the agent is doing, and why: one value that everybody who asks is shown.

A :class:`Condition` is told by those who dial, join and ask; it decides nothing.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from datetime import UTC, datetime

from attrs import define, field, frozen


class State(enum.Enum):
    """What an agent is doing."""

    STARTING = "starting"
    JOINING = "joining"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    # The hub does not take this node; it is asked again all the same.
    REFUSED = "refused"
    REMOVED = "removed"


@frozen
class Trouble:
    """A sentence of what is wrong, and since when nothing else was, in POSIX seconds."""

    sentence: str
    since: float


@define(eq=False)
class Condition:
    """
    The agent's state, the hub's address in question, and the last trouble.

    ``since`` and ``next_dial`` are POSIX seconds. ``on_change`` is called after
    each change. Trouble stays until the hub knows the node again.
    """

    wall_clock: Callable[[], float] = time.time
    on_change: Callable[[], None] = field(default=lambda: None, repr=False)
    state: State = field(init=False, default=State.STARTING)
    since: float = field(init=False)
    hub: str = field(init=False, default="")
    trouble: Trouble | None = field(init=False, default=None)
    next_dial: float | None = field(init=False, default=None)

    @since.default
    def _now(self) -> float:
        return self.wall_clock()

    def joining(self, hub: object) -> None:
        self._become(State.JOINING, hub)

    def connecting(self, hub: object) -> None:
        """A dial begins."""
        self._become(self._refusal or State.CONNECTING, hub)

    def connected(self) -> None:
        """The hub knows this node; sessions can come in."""
        self.trouble = None
        self._become(State.CONNECTED, self.hub)

    def waiting(self, seconds: float, why: str) -> None:
        """Nothing is done for so long, because of this."""
        state = State.JOINING if self.state is State.JOINING else State.WAITING
        if self._refusal is None:
            # Else what the hub said tells more than how it hung up.
            self._note(why)
        self._become(self._refusal or state, self.hub, self.wall_clock() + seconds)

    def refused(self, why: str, *, was_removed: bool = False) -> None:
        """The hub said no, in person; at one address, while another may have let us in."""
        if self.state is State.CONNECTED:
            return
        self._note(why)
        self._become(State.REMOVED if was_removed else State.REFUSED, self.hub, self.next_dial)

    def troubled(self, why: str) -> None:
        """Something is wrong, and what is being done goes on."""
        self._note(why)
        self.on_change()

    def sentence(self) -> str:
        """What the agent is doing, for people."""
        trouble = "" if self.trouble is None else f": {self.trouble.sentence}"
        match self.state:
            case State.CONNECTED:
                return f"connected to {self.hub} since {shown_time(self.since)}"
            case State.WAITING:
                # Before the first dial, as long as no name of SRV records has led anywhere.
                hub = self.hub or "the hub"
                return f"dialing {hub} again {self._soon()}{trouble}"
            case State.REFUSED:
                return f"refused by the hub at {self.hub}{trouble}"
            case State.REMOVED:
                return f"not a node of the hub at {self.hub} any more{trouble}"
            case State.JOINING:
                return f"joining through {self.hub}{trouble}"
            case State.CONNECTING:
                return f"connecting to {self.hub}{trouble}"
        return "starting"

    def seconds_to_dial(self) -> float | None:
        """How long nothing will be done; None while something is."""
        if self.next_dial is None:
            return None
        return max(0.0, self.next_dial - self.wall_clock())

    @property
    def _refusal(self) -> State | None:
        return self.state if self.state in (State.REFUSED, State.REMOVED) else None

    def _soon(self) -> str:
        # The moment and not what is left, which would be another sentence each second.
        return "soon" if self.next_dial is None else f"at {shown_time(self.next_dial)}"

    def _note(self, why: str) -> None:
        if self.trouble is None or self.trouble.sentence != why:
            self.trouble = Trouble(why, self.wall_clock())

    def _become(self, state: State, hub: object, next_dial: float | None = None) -> None:
        if state is not self.state:
            self.since = self.wall_clock()
        self.state, self.hub, self.next_dial = state, str(hub), next_dial
        self.on_change()


def shown_time(when: float) -> str:
    """A moment in UTC, to the second."""
    moment = datetime.fromtimestamp(when, UTC).isoformat(" ", "seconds")
    return f"{moment.removesuffix('+00:00')} UTC"
