"""
The tunnel as a service: what an agent says and hears in it while it runs.

A :class:`TunnelService` joins a dialed tunnel to the node's services, keeps the
node registered over it, and says goodbye when the process ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.agent.condition import Condition
from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import TunnelDown
from mezite.agent.explanations import explain, is_another_hub
from mezite.agent.hubaddresses import HubAddresses
from mezite.agent.hubcalls import HubCalls
from mezite.agent.registration import Registration, auth_header
from mezite.agent.report import NodeReport
from mezite.agent.tunnel import TunnelFactory
from mezite.error import MeziteError
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.opening import Opening
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.tasks import within

# The last words of a tunnel; the process is to end soon after SIGTERM.
_CLOSING_SECONDS: Final = 3.0
# One tunnel that ends before the hub took the node's registration is a hub
# that stops at the wrong moment; two are a hub that does not want this node.
_UNWELCOME: Final = 2


@define(eq=False)
class TunnelService(Service):
    """
    Keeps a tunnel up.

    ``services`` says who speaks on a stream that the hub opened, by the name
    of the service in its header. ``report`` is what the node says of itself with
    each sign of life. ``on_unwelcome`` is called when the hub
    keeps ending tunnels before they are of use, or is another cluster's.
    ``on_registered`` is called each time the hub has taken the node's registration.
    ``hub_has`` is told the generation of the hub's authorities. ``hubs`` are the
    addresses to dial; without them it is the one where the node joined.
    """

    _log = Logger()

    current: CurrentMembership
    report: Callable[[], NodeReport] = field(repr=False)
    clock: IReactorTime
    wall_clock: Callable[[], float]
    endpoint: Callable[[], IStreamClientEndpoint] = field(repr=False)
    services: Mapping[str, Callable[[StreamHeader], IProtocol | None]] = field(repr=False)
    on_unwelcome: Callable[[], None] = field(repr=False)
    hub_has: Callable[[int], None] = field(repr=False, default=lambda _: None)
    on_up: Callable[[], None] = field(repr=False, default=lambda: None)
    on_registered: Callable[[], None] = field(repr=False, default=lambda: None)
    condition: Condition = field(repr=False, factory=Condition)
    hubs: HubAddresses | None = field(repr=False, default=None)
    uniform: Callable[[float, float], float] = random.uniform
    _factory: TunnelFactory = field(init=False)
    _registration: Registration | None = field(init=False, default=None)
    _unwelcome: int = field(init=False, default=0)
    _ended: Deferred[None] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._factory = TunnelFactory(
            lambda: self.current.membership.hub,
            self.endpoint,
            clock=self.clock,
            accept=self._accept,
            on_up=self._up,
            on_down=self._down,
            on_failed=self._failed,
            on_go_away=self._hub_leaves,
            explain=self._explain,
            condition=self.condition,
            addresses=None if self.hubs is None else self.hubs.round,
            turn_to=self.current.turn_to,
            uniform=self.uniform,
        )

    @property
    def calls(self) -> HubCalls:
        """
        What the hub can be asked with now.

        :raises TunnelDown:
        """
        if self._registration is None:
            raise TunnelDown()
        return self._registration.calls

    @property
    def is_registered(self) -> bool:
        """Whether sessions can come in."""
        return self._registration is not None and self._registration.is_registered

    def open_stream(self, header: StreamHeader) -> StreamTransport:
        """
        A stream to one of the hub's services, behind its header.

        :raises TunnelDown:
        :raises mezite.mux.error.MuxClosed: when the tunnel has just gone.
        :raises mezite.mux.error.TooManyStreams: at the tunnel's limit.
        """
        mux = self._factory.mux
        if mux is None:
            raise TunnelDown()
        stream = mux.open_stream()
        stream.write(encode(header))
        return stream

    def startService(self) -> None:
        super().startService()
        self._factory.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._factory.stop()
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        mux, registration = self._factory.mux, self._registration
        if mux is None:
            return
        if registration is not None:
            await registration.say_goodbye()
        if self._factory.mux is not mux:
            return
        self._ended = Deferred()
        mux.close()
        try:
            await within(self.clock, _CLOSING_SECONDS, self._ended, doing="closing the tunnel")
        except MeziteError:
            mux.abort()

    def _up(self, mux: MuxProtocol) -> None:
        self._registration = Registration(
            node=self.current.membership.identity.node,
            report=self.report,
            clock=self.clock,
            open_channel=lambda: self._open_channel(mux),
            generation=lambda: self.current.membership.generation,
            hub_has=self.hub_has,
            on_registered=self.on_registered,
            condition=self.condition,
            uniform=self.uniform,
        )
        self._registration.start()
        self.on_up()

    def _open_channel(self, mux: MuxProtocol) -> GrpcChannel:
        stream = mux.open_stream()
        stream.write(auth_header())
        channel = GrpcChannel(self.clock)
        stream.attach(channel)
        return channel

    def _down(self, mux: MuxProtocol, reason: Failure) -> None:
        registration, self._registration = self._registration, None
        if registration is not None:
            self._unwelcome = 0 if registration.was_registered else self._unwelcome + 1
            registration.stop()
        if self._ended is not None and not self._ended.called:
            self._ended.callback(None)
        elif self.running and self._unwelcome >= _UNWELCOME:
            self.on_unwelcome()

    def _sent_away(self, header: StreamHeader) -> IProtocol:
        seconds = header.come_back_after_ms / 1000
        self._log.info(
            "the hub is being stopped; it is dialed again {seconds:.1f} s after its end",
            seconds=seconds,
        )
        self._factory.come_back_after(seconds)
        return _Heard()

    def _hub_leaves(self, mux: MuxProtocol) -> None:
        """Let go of the tunnel; what others do in it goes on until it ends."""
        registration, self._registration = self._registration, None
        if registration is not None and self._factory.mux is mux:
            self._unwelcome = 0 if registration.was_registered else self._unwelcome
            registration.stop()

    def _failed(self, error: BaseException | None) -> None:
        if is_another_hub(error):
            self.on_unwelcome()

    def _accept(self, stream: StreamTransport) -> None:
        stream.attach(Opening(self.clock, self._choose))

    def _choose(self, header: StreamHeader) -> IProtocol | None:
        if header.service == "drain":
            return self._sent_away(header)
        if header.service == "report":
            if self._registration is not None:
                self._registration.ask()
            return _Heard()
        serve = self.services.get(header.service)
        return None if serve is None else serve(header)

    def _explain(self, error: BaseException | None) -> str:
        membership = self.current.membership
        return explain(error, membership.hub, self.wall_clock(), membership)


class _Heard(Protocol):
    """A stream that has said all in its header."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
