"""
Dials of a client's, which connect, are answered or fail as the test says.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mezite.resume.frames import GreetingReader, Hello
from mezite.tasks import within
from tests.doubles.legs import PlayedLeg

DIAL_SECONDS = 10.0


@define(eq=False)
class Dial:
    """One of them: what it offered, and the leg that it led to."""

    offers: bool
    done: Deferred[Any] = field(init=False, factory=Deferred)
    factory: Any = field(init=False, default=None)
    leg: PlayedLeg = field(init=False, factory=PlayedLeg)

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.done

    def succeed(self, protocol: bytes = b"mezite-ssh-resume") -> PlayedLeg:
        """The hub is there, and chose this protocol."""
        self.leg.negotiatedProtocol = protocol
        self.leg.attach(self.factory.buildProtocol(None))
        self.done.callback(self.leg.protocol)
        return self.leg

    def fail(self, error: Exception) -> None:
        self.done.errback(error)

    def hello(self) -> Hello:
        """What the client says first; the hub is there."""
        complete = GreetingReader().receive(self.succeed().taken())
        assert complete is not None
        greeting, rest = complete
        assert isinstance(greeting, Hello)
        assert not rest
        return greeting

    def say(self, data: bytes) -> None:
        """To the client, if it still listens."""
        if self.leg.protocol is not None:
            self.leg.protocol.dataReceived(data)


@define(eq=False)
class Dials:
    """All of them, in their order."""

    clock: Clock
    made: list[Dial] = field(init=False, factory=list)

    def endpoint(self, offers: bool) -> Any:
        dial = Dial(offers)
        self.made.append(dial)
        return dial

    async def dialed(self, work: Awaitable[Any]) -> Any:
        return await within(self.clock, DIAL_SECONDS, work, doing="connecting to the hub")

    @property
    def latest(self) -> Dial:
        return self.made[-1]

    def __len__(self) -> int:
        return len(self.made)
