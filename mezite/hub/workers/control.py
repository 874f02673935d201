"""
Control's end of the links with its workers: what they hold, as one hub.

A :class:`WorkerLink` turns what one worker says into connections for the router and
tunnels for the registry. :class:`Workers` is all of them. Processes come and go by
:mod:`mezite.hub.workers.pool`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.hub.router import HANDSHAKES_AT_ONCE, Router
from mezite.hub.tunnelserver import TunnelServerFactory
from mezite.hub.workers.error import BadMessage, WorkerGone
from mezite.hub.workers.fartunnels import FarMux
from mezite.hub.workers.handed import HandedTransport
from mezite.hub.workers.introduction import Introduction, PassedStream
from mezite.hub.workers.limits import LINK_LIMITS
from mezite.hub.workers.messages import MessageReader, address_of, certificate_of, encode
from mezite.identity.networks import Networks
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import (
    Credentials,
    Handed,
    OfTunnel,
    Report,
    Settings,
    StreamPurpose,
    TunnelUp,
)
from mezite.wire import credentials as wire
from mezite.wire.alpn import Route
from mezite.wire.contexts import HubContexts

# A worker's share of these is never less: it is what one core finishes in a quarter second.
_FEWEST_HANDSHAKES: Final = 64


@frozen
class Counted:
    """What the routers of workers have counted, with those that are gone."""

    handshakes: int = 0
    failed: int = 0
    refused: int = 0


@frozen
class WorkerStatus:
    """How one worker is; ``pid`` is None while there is no process."""

    number: int
    pid: int | None
    tunnels: int
    streams: int
    connections: int


class Workers:
    """
    The workers of one hub that are there, by number.

    A hub of one process, which has a ``count`` of 1, has none.
    """

    router: Router
    tunnels: TunnelServerFactory

    def __init__(
        self, count: int, contexts: HubContexts, balancers: Networks, clock: IReactorTime
    ) -> None:
        self.count = count
        self.clock = clock
        self.is_listening = True
        self._contexts = contexts
        self._balancers = balancers
        self._links: dict[int, WorkerLink] = {}
        self._gone = Counted()
        contexts.when_changed(self.tell)

    def bring_to(self, router: Router, tunnels: TunnelServerFactory) -> None:
        """Bring their connections and tunnels there; said before the first of them begins."""
        self.router = router
        self.tunnels = tunnels

    @property
    def are_wanted(self) -> bool:
        """Whether the hub has processes beside its own."""
        return self.count > 1

    def __iter__(self) -> Iterator[WorkerLink]:
        return iter(tuple(self._links.values()))

    def link(self, number: int, pid: int | None = None) -> WorkerLink:
        """The link with a worker that has just begun; its ``mux`` is what speaks there."""
        link = self._links[number] = WorkerLink(self, number, pid)
        return link

    def stop_listening(self) -> None:
        """Take no new connections; those that are there go on."""
        self.is_listening = False
        self.tell()

    def tell(self) -> None:
        """Tell every worker what the settings are now."""
        for link in self:
            link.tell(self.settings)

    @property
    def settings(self) -> Settings:
        """What workers need to know."""
        shown = self._contexts.credentials
        return Settings(
            hub_names=sorted(self._contexts.hub_names),
            balancers=[str(network) for network in self._balancers],
            handshakes_at_once=max(_FEWEST_HANDSHAKES, HANDSHAKES_AT_ONCE // self.count),
            hub=_credentials(shown.hub),
            web=None if shown.web is None else _credentials(shown.web),
            authorities_pem=shown.authorities_pem,
            links_pem=shown.links_pem,
            is_listening=self.is_listening,
        )

    def counted(self) -> Counted:
        """What all routers have counted so far."""
        total = self._gone
        for link in self:
            total = Counted(
                total.handshakes + link.report.handshakes,
                total.failed + link.report.handshakes_failed,
                total.refused + link.report.handshakes_refused,
            )
        return total

    def statuses(self) -> list[WorkerStatus]:
        """How each is, by number."""
        if not self.are_wanted:
            return []
        return [
            self._links[number].status
            if number in self._links
            else WorkerStatus(number, None, 0, 0, 0)
            for number in range(1, self.count + 1)
        ]

    def forget(self, link: WorkerLink) -> None:
        if self._links.get(link.number) is link:
            del self._links[link.number]
            self._gone = evolve(
                self._gone,
                failed=self._gone.failed + link.report.handshakes_failed,
                refused=self._gone.refused + link.report.handshakes_refused,
            )


@define(eq=False)
class WorkerLink:
    """
    Control's end of the link with one worker.

    ``held`` is how many tunnels it had when it was lost; ``on_down`` is called then.
    """

    _workers: Workers
    number: int
    pid: int | None
    report: Report = field(init=False, factory=Report)
    held: int = field(init=False, default=0)
    on_down: Callable[[], None] | None = field(init=False, default=None)
    mux: MuxProtocol = field(init=False)
    _tunnels: dict[int, FarMux] = field(init=False, factory=dict)
    _settings: Any = field(init=False, default=None)
    _told: Settings | None = field(init=False, default=None)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self.mux = MuxProtocol(
            role=Role.SERVER,
            clock=self._workers.clock,
            accept=lambda stream: stream.attach(Introduction(self._take)),
            limits=LINK_LIMITS,
            on_up=self._up,
            on_down=self._down,
        )

    @property
    def status(self) -> WorkerStatus:
        """How the worker is."""
        tunnels = tuple(self._tunnels.values())
        return WorkerStatus(
            self.number,
            self.pid,
            len(tunnels),
            sum(tunnel.stream_count for tunnel in tunnels),
            self.report.connections,
        )

    def tell(self, settings: Settings) -> None:
        """Send the settings, if they are others than it has."""
        if self._settings is not None and settings != self._told:
            self._told = settings
            self._settings.write(encode(settings))

    def _up(self) -> None:
        self._settings = stream = self.mux.open_stream()
        self._told = self._workers.settings
        stream.write(encode(StreamPurpose(settings=self._told)))
        stream.attach(_Reports(self))

    def _down(self, reason: Failure) -> None:
        self._settings = None
        self._workers.forget(self)
        if self.on_down is not None:
            self.on_down()

    def _take(self, purpose: StreamPurpose, passed: PassedStream) -> None:
        """
        :raises BadMessage: workers open no such streams.
        """
        match purpose.WhichOneof("purpose"):
            case "handed":
                self._take_connection(purpose.handed, passed.stream)
            case "tunnel":
                self._take_tunnel(purpose.tunnel, passed)
            case "from_agent":
                self._take_stream(purpose.from_agent, passed)
            case other:
                raise BadMessage(f"a worker opened a stream for {other}")

    def _take_connection(self, told: Handed, stream: StreamTransport) -> None:
        router = self._workers.router
        transport = HandedTransport.of(stream, told, router.strangers.release)
        router.route(transport)
        transport.settle()

    def _take_tunnel(self, told: TunnelUp, passed: PassedStream) -> None:
        if told.tunnel in self._tunnels:
            raise BadMessage(f"there is a tunnel {told.tunnel} already")
        certificate = certificate_of(told.certificate)
        if certificate is None:
            raise BadMessage("a tunnel has come without a certificate")

        def down(on_down: Callable[[Failure], None], reason: Failure) -> None:
            self._tunnels.pop(told.tunnel, None)
            if reason.check(WorkerGone) is not None:
                self.held += 1
            on_down(reason)

        def mux_with(**told_of: Any) -> FarMux:
            return FarMux(
                (self.number, told.tunnel),
                certificate,
                self.mux.open_stream,
                accept=told_of["accept"],
                on_up=told_of["on_up"],
                on_down=partial(down, told_of["on_down"]),
            )

        mux = self._workers.tunnels.arrive(address_of(told.peer), mux_with)
        self._tunnels[told.tunnel] = mux
        self._workers.router.routed[Route.TUNNEL] += 1
        passed.attach(mux.leash)

    def _take_stream(self, told: OfTunnel, passed: PassedStream) -> None:
        mux = self._tunnels.get(told.tunnel)
        if mux is None:
            # It went down in this moment.
            passed.abortConnection()
        else:
            mux.offered(passed)


class _Reports(Protocol):
    """Control's end of the stream of settings: what the worker counts comes in it."""

    _log = Logger()

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._reader = MessageReader(Report)

    def dataReceived(self, data: bytes) -> None:
        try:
            for report in self._reader.receive(data):
                self._link.report = report
        except MeziteError as error:
            self._log.error("worker {n} is not understood: {e}", n=self._link.number, e=error)
            self._link.mux.abort()


def _credentials(shown: wire.Credentials) -> Credentials:
    return Credentials(certificate_pem=shown.certificate_pem, key_pem=shown.key_pem)
