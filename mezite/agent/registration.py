"""
The agent's own stream to the auth service, for as long as one tunnel lives.

It registers the node and keeps saying that it is alive; over the same channel
others may ask the hub. When the channel ends and the tunnel does not, it opens
another one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
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


@define(eq=False)
class Registration:
    """
    One tunnel's registration.

    ``open_channel`` opens a stream to the auth service and gives the channel
    on it; it raises :class:`~mezite.error.Unavailable` when the tunnel is down.
    ``generation`` is that of the node's certificates, and ``hub_has`` is told the
    hub's with each answer.
    """

    _log = Logger()

    node: NodeName
    report: Callable[[], NodeReport] = field(repr=False)
    clock: IReactorTime
    open_channel: Callable[[], GrpcChannel] = field(repr=False)
    generation: Callable[[], int] = lambda: 0
    hub_has: Callable[[int], None] = lambda _: None
    condition: Condition = field(repr=False, factory=Condition)
    uniform: Callable[[float, float], float] = random.uniform
    is_registered: bool = field(init=False, default=False)
    # The hub once took it.
    was_registered: bool = field(init=False, default=False)
    _channel: GrpcChannel | None = field(init=False, default=None)
    _running: Deferred[None] | None = field(init=False, default=None)

    @property
    def calls(self) -> HubCalls:
        """
        What the hub can be asked with now.

        :raises TunnelDown:
        """
        if self._channel is None or not self._channel.is_open:
            raise TunnelDown()
        return HubCalls.on(self._channel)

    def start(self) -> None:
        """Register, and go on until :meth:`stop`."""
        self._running = background(self._run(), doing="keeping the node registered")

    def stop(self) -> None:
        """The tunnel is gone."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
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
                self._channel = self.open_channel()
                told = self.report()
                heard = await self.calls.register(self.node, told, self.generation())
                self.is_registered = self.was_registered = True
                self.condition.connected()
                failures = 0
                self._log.info("tunnel up: the hub knows this node as {node}", node=self.node)
                while True:
                    self.hub_has(heard.generation)
                    await deferLater(self.clock, heard.seconds)
                    report = self.report()
                    has_news = report.facts != told.facts
                    heard = await self.calls.heartbeat(
                        report, self.generation(), with_facts=has_news
                    )
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

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        self.is_registered = False
        if channel is not None:
            channel.close()


def auth_header() -> bytes:
    """What a stream to the auth service begins with."""
    return encode(StreamHeader(service="auth"))
