"""
How a hub that is asked to stop lets go of agents and people.

Each agent is told when to come back, at moments that spread, and its tunnel goes
away once nobody has a session in it. Those who have one get a grace period, and
then a sentence. What is closed after that is :mod:`mezite.hub.service`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.hub.livesessions import GOODBYE_SECONDS, LiveSession, LiveSessions
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode

SERVICE: Final = "drain"
# A hub that is restarted listens again after about so long.
SOONEST_SECONDS: Final = 2.0
# Two cores finish some five hundred handshakes in a second; half of that leaves room for people.
_RETURNS_PER_SECOND: Final = 250
LONGEST_SPREAD: Final = 60.0
# How often it is looked who has gone.
LOOK_SECONDS: Final = 0.2
# An agent that does not answer by then is one that knows nothing of draining.
ANSWER_SECONDS: Final = 2.0
# A tunnel that was told to go away, and where nobody is, has so long to do so.
LEAVING_SECONDS: Final = 3.0
_SENTENCE: Final = "the hub is being stopped: connect again in a minute"


def spread_of(tunnels: int) -> float:
    """Over how many seconds so many agents should come back."""
    return min(LONGEST_SPREAD, tunnels / _RETURNS_PER_SECOND)


@define(eq=False)
class Draining:
    """
    One hub's last minutes.

    Sessions that can be resumed have no end here: they are cut at the last moment.
    """

    _log = Logger()

    registry: TunnelRegistry
    live: LiveSessions
    clock: IReactorTime
    # Seconds that sessions have; 0 ends them now.
    grace: float
    uniform: Callable[[float, float], float] = random.uniform
    is_hurried: bool = field(init=False, default=False)
    _told: WeakKeyDictionary[Tunnel, _Telling] = field(init=False, factory=WeakKeyDictionary)
    _pause: Deferred[None] | None = field(init=False, default=None)

    def hurry(self) -> None:
        """Wait for nobody any more."""
        self.is_hurried = True
        if self._pause is not None:
            self._pause.cancel()

    async def run(self) -> None:
        """Until all have gone, or have had their time."""
        if not len(self.registry) and not len(self.live):
            return
        self._log.info(
            "draining: agents sent away: {tunnels}; sessions that have {grace:g} s: {sessions}",
            sessions=len(self._staying()),
            grace=self.grace,
            tunnels=len(self.registry),
        )
        spread = spread_of(len(self.registry))
        for tunnel in self.registry:
            self._tell(tunnel, SOONEST_SECONDS + self.uniform(0, spread))
        await self._wait(self.grace, lambda: not self._staying())
        for session in self._staying():
            self.live.end(session, _SENTENCE)
        # One look more than they are given.
        await self._wait(GOODBYE_SECONDS + 2 * LOOK_SECONDS, lambda: not self._staying())
        for session in self.live:
            # It goes on over the hub that comes next.
            session.way.cut()
        await self._wait(LEAVING_SECONDS, lambda: not len(self.registry))

    def _staying(self) -> list[LiveSession]:
        """Sessions that end with this hub; nobody waits for those that can be resumed."""
        return [session for session in self.live if not session.is_resumable]

    async def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        deadline = self.clock.seconds() + seconds
        while not self.is_hurried:
            self._send_away()
            if is_over() or self.clock.seconds() >= deadline:
                return
            self._pause = deferLater(self.clock, LOOK_SECONDS)
            # Hurrying cancels it, which is no failure.
            self._pause.addErrback(lambda _: None)
            await self._pause

    def _tell(self, tunnel: Tunnel, seconds: float) -> None:
        header = StreamHeader(service=SERVICE, come_back_after_ms=round(seconds * 1000))
        telling = self._told[tunnel] = _Telling(self.clock.seconds() + ANSWER_SECONDS)
        try:
            stream = tunnel.mux.open_stream()
            stream.write(encode(header))
        except MeziteError:
            # The tunnel is going, or full.
            telling.is_answered = True
        else:
            stream.attach(telling)

    def _send_away(self) -> None:
        """
        Let those tunnels go away in which nobody is.

        Not before: after a GoAway we open no stream, and could not have the agent
        tell people why their session ends. Nor before the agent has answered,
        since the GoAway overtakes what stands in a stream.
        """
        # A session with a server that has no agent is in no tunnel.
        busy = {getattr(session.way, "tunnel", None) for session in self.live}
        now = self.clock.seconds()
        for tunnel in self.registry:
            telling = self._told.get(tunnel)
            if tunnel in busy or (telling is not None and not telling.is_done(now)):
                continue
            tunnel.mux.go_away()


@define(eq=False)
class _Telling(Protocol):
    """The hub's end of a stream that says when to come back; the answer is its end."""

    deadline: float
    is_answered: bool = field(init=False, default=False)

    def is_done(self, now: float) -> bool:
        return self.is_answered or now >= self.deadline

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_answered = True
