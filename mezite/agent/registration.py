"""
What an agent says to the auth service while one tunnel lives, and asks of it.

It registers the node and tells the hub what has changed, when it has, when the hub wants
to know, and seldom otherwise: that the node is there, the tunnel shows by itself. Calls
go over a stream that is opened for them and ended soon after, since a thousand idle
streams are memory of the hub's.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mezite.agent.backoff import ceiling
from mezite.agent.condition import Condition
from mezite.agent.error import TunnelDown
from mezite.agent.hubcalls import HubCalls
from mezite.agent.report import NodeReport
from mezite.error import MeziteError
from mezite.names import NodeName
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.error import ChannelClosed
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.tasks import background, within

# Saying goodbye must not hold up the end of the process.
GOODBYE: Final = 2.0
# How often it is looked whether there is anything new to say.
LOOK_SECONDS: Final = 10.0
# Hubs that count heartbeats want them in time; up to here they are sent as asked.
_OFTEN: Final = 60.0
# A stream without calls is ended after so long; a session asks the hub twice or thrice at its
# beginning, and need not open one each time. Agents that come back together have theirs at
# once, and what the hub's heap has grown by for them it keeps.
IDLE_SECONDS: Final = 2.0


@define(eq=False)
class Registration:
    """
    One tunnel's registration.

    ``open_channel`` opens a stream to the auth service and gives the channel
    on it; it raises :class:`~mezite.error.Unavailable` when the tunnel is down.
    ``generation`` is that of the node's certificates, and ``hub_has`` is told the
    hub's with each answer. ``on_registered`` is called each time the hub has taken it.
    """

    _log = Logger()

    node: NodeName
    report: Callable[[], NodeReport] = field(repr=False)
    clock: IReactorTime
    open_channel: Callable[[], GrpcChannel] = field(repr=False)
    generation: Callable[[], int] = lambda: 0
    hub_has: Callable[[int], None] = lambda _: None
    on_registered: Callable[[], None] = lambda: None
    condition: Condition = field(repr=False, factory=Condition)
    uniform: Callable[[float, float], float] = random.uniform
    is_registered: bool = field(init=False, default=False)
    # The hub once took it.
    was_registered: bool = field(init=False, default=False)
    _channel: GrpcChannel | None = field(init=False, default=None)
    _idle: IDelayedCall | None = field(init=False, default=None)
    _running: Deferred[None] | None = field(init=False, default=None)
    # Waited for between two looks; it ends early when the hub wants to hear from the node.
    _look: Deferred[None] | None = field(init=False, default=None)
    _is_asked: bool = field(init=False, default=False)

    @property
    def calls(self) -> HubCalls:
        """
        What the hub can be asked with now.

        :raises TunnelDown:
        :raises mezite.mux.error.MuxClosed: when the tunnel has just gone.
        :raises mezite.mux.error.TooManyStreams: at the tunnel's limit.
        """
        if self._running is None:
            raise TunnelDown()
        if self._channel is None or not self._channel.is_open:
            self._drop()
            self._channel = self.open_channel()
        self._rest()
        return HubCalls.on(self._channel)

    def ask(self) -> None:
        """The hub wants to hear from the node."""
        self._is_asked = True
        if self._look is not None:
            self._look.callback(None)

    def start(self) -> None:
        """Register, and go on until :meth:`stop`."""
        # It runs until its first wait before the next line is done, and asks for ``calls``.
        self._running = Deferred()
        self._running = background(self._run(), doing="keeping the node registered")

    def stop(self) -> None:
        """The tunnel is gone."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        self.is_registered = False
        self._drop()

    async def say_goodbye(self) -> None:
        """Tell the hub that this is on purpose; it may not hear it."""
        try:
            await within(self.clock, GOODBYE, self.calls.deregister(), doing="deregistering")
        except MeziteError as error:
            self._log.debug("not deregistered: {error}", error=error)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                told = self.report()
                generation = self.generation()
                heard = await self.calls.register(self.node, told, generation)
                self.is_registered = self.was_registered = True
                self.condition.connected()
                failures = 0
                self.on_registered()
                self._log.info("tunnel up: the hub knows this node as {node}", node=self.node)
                while True:
                    self.hub_has(heard.generation)
                    await self._news(told, generation, heard.seconds)
                    report, generation = self.report(), self.generation()
                    has_facts = report.facts != told.facts
                    heard = await self.calls.heartbeat(report, generation, with_facts=has_facts)
                    told = report
            except CancelledError:
                raise
            except MeziteError as error:
                self.is_registered = False
                wait = self.uniform(0, ceiling(failures))
                failures += 1
                # The end of a channel is mostly the end of its tunnel, which is told elsewhere.
                if not isinstance(error, ChannelClosed):
                    self.condition.troubled(f"the hub does not register this node: {error}")
                tell = self._log.debug if isinstance(error, ChannelClosed) else self._log.warn
                tell(
                    "the hub does not register this node: {error}; again in {wait:.1f} s",
                    error=error,
                    wait=wait,
                )
            except Exception:
                # A bug must not leave a tunnel that is up and of no use.
                self._log.failure("registering the node failed")
                self.is_registered = False
                wait = self.uniform(0, ceiling(failures))
                failures += 1
            self._drop()
            await deferLater(self.clock, wait)

    async def _news(self, told: NodeReport, generation: int, seconds: float) -> None:
        """Until there is something to say, the hub asks, or the time has come to say anything."""
        if seconds > _OFTEN:
            # Agents that came back together do not speak together for ever after.
            seconds = self.uniform(seconds / 2, seconds)
        end = self.clock.seconds() + seconds
        while not self._is_asked and (left := end - self.clock.seconds()) > 0:
            look = self._look = Deferred()
            timer = self.clock.callLater(min(LOOK_SECONDS, left), look.callback, None)
            try:
                await look
            finally:
                self._look = None
                if timer.active():
                    timer.cancel()
            if self.generation() != generation or self.report() != told:
                break
        self._is_asked = False

    def _rest(self) -> None:
        """The channel has so long until the next call, or it is ended."""
        if self._idle is not None:
            self._idle.reset(IDLE_SECONDS)
        else:
            self._idle = self.clock.callLater(IDLE_SECONDS, self._rested)

    def _rested(self) -> None:
        self._idle = None
        if self._channel is not None and self._channel.is_busy:
            self._rest()
        else:
            self._drop()

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if channel is not None:
            channel.close()


def auth_header() -> bytes:
    """What a stream to the auth service begins with."""
    return encode(StreamHeader(service="auth"))
