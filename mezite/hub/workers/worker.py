"""
A worker: connections and tunnels, and nothing that must be known twice.

It ends TLS, holds the tunnels that agents bring, and carries bytes. What a
connection is for, who may go where, and what is written down is control's: every
finished connection is handed over (:mod:`mezite.hub.workers.handing`), and every
tunnel announced (:mod:`mezite.hub.workers.neartunnels`). It has no store and
no key but the port's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError
from mezite.hub.router import Router
from mezite.hub.strangers import Strangers
from mezite.hub.workers.error import BadMessage, WorkerGone
from mezite.hub.workers.handing import HandingFactory
from mezite.hub.workers.introduction import Introduction, PassedStream
from mezite.hub.workers.limits import LINK_LIMITS
from mezite.hub.workers.messages import MessageReader, encode
from mezite.hub.workers.neartunnels import NearTunnels
from mezite.identity.networks import parse_network
from mezite.mux.error import MuxClosed
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import OfTunnel, Report, Settings, StreamPurpose
from mezite.wire.alpn import Route
from mezite.wire.contexts import HubContexts
from mezite.wire.credentials import Credentials, PortCredentials

# What was counted is for pages that people look at.
_REPORT_SECONDS: Final = 1.0


class Worker:
    """
    One worker, without its process.

    ``link`` is its end of the socket to control. ``on_settings`` is called whenever
    whether it accepts connections may have changed, ``on_end`` when control is gone.
    ``connections`` says how many are open.
    """

    _log = Logger()

    def __init__(
        self,
        number: int,
        clock: IReactorTime,
        *,
        on_settings: Callable[[], None],
        on_end: Callable[[], None],
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        self.number = number
        self.clock = clock
        self.is_listening = False
        self.router: Router | None = None
        self.link = MuxProtocol(
            role=Role.CLIENT,
            clock=clock,
            accept=lambda stream: stream.attach(Introduction(self._take)),
            limits=LINK_LIMITS,
            on_down=lambda _: on_end(),
        )
        self.tunnels = NearTunnels(self.link, clock)
        self._handing = HandingFactory(self.link, self.reach, clock)
        self._on_settings = on_settings
        self._connections = connections
        self._contexts: HubContexts | None = None
        self._neighbours: dict[int, MuxProtocol] = {}
        self._reported: Report | None = None

    def neighbour(self, number: int) -> MuxProtocol:
        """This worker's end of a new socket to another one."""

        def down(_: Failure) -> None:
            if self._neighbours.get(number) is mux:
                del self._neighbours[number]

        mux = _NeighbourMux(
            role=Role.SERVER if self.number < number else Role.CLIENT,
            clock=self.clock,
            accept=lambda stream: stream.attach(Introduction(self._take_from_neighbour)),
            limits=LINK_LIMITS,
            on_down=down,
        )
        self._neighbours[number] = mux
        return mux

    def reach(self, worker: int, tunnel: int) -> StreamTransport:
        """
        A new stream in this tunnel, which may be another worker's.

        :raises MuxClosed: it has gone.
        :raises TooManyStreams:
        :raises WorkerGone:
        """
        if worker == self.number:
            return self.tunnels.open_stream(tunnel)
        neighbour = self._neighbours.get(worker)
        if neighbour is None:
            raise WorkerGone(worker)
        try:
            stream = neighbour.open_stream()
        except MuxClosed:
            raise WorkerGone(worker) from None
        stream.write(encode(StreamPurpose(to_agent=OfTunnel(tunnel=tunnel))))
        return stream

    def _take(self, purpose: StreamPurpose, passed: PassedStream) -> None:
        match purpose.WhichOneof("purpose"):
            case "settings":
                self.use(purpose.settings)
                passed.attach(_Settings(self))
            case "to_agent":
                self.tunnels.carry(purpose.to_agent.tunnel, passed)
            case other:
                raise BadMessage(f"control opened a stream for {other}")

    def _take_from_neighbour(self, purpose: StreamPurpose, passed: PassedStream) -> None:
        if purpose.WhichOneof("purpose") != "to_agent":
            raise BadMessage("a neighbour opens streams to agents, and no others")
        self.tunnels.carry(purpose.to_agent.tunnel, passed)

    def use(self, settings: Settings) -> None:
        """Shake hands as these say from the next connection on."""
        shown = PortCredentials(
            hub=Credentials(settings.hub.certificate_pem, settings.hub.key_pem),
            web=Credentials(settings.web.certificate_pem, settings.web.key_pem)
            if settings.HasField("web")
            else None,
            authorities_pem=settings.authorities_pem,
            links_pem=settings.links_pem,
        )
        if self._contexts is None:
            self._contexts = HubContexts(
                hub_names=settings.hub_names,
                authorities_pem=shown.authorities_pem,
                hub=shown.hub,
                web=shown.web,
                links_pem=shown.links_pem,
            )
            self.router = Router(
                {
                    Route.WEB: self._handing,
                    Route.AUTH: self._handing,
                    Route.SSH: self._handing,
                    Route.TUNNEL: self.tunnels,
                },
                contexts=self._contexts,
                clock=self.clock,
                handshakes_at_once=settings.handshakes_at_once,
                balancers=tuple(parse_network(text) for text in settings.balancers),
                # Control bounds them, since it knows which of them do something.
                strangers=Strangers(at_once=sys.maxsize, of_one=sys.maxsize),
            )
        elif shown != self._contexts.credentials:
            self._contexts.use(shown)
        self.is_listening = settings.is_listening
        self._on_settings()

    def report(self) -> bytes | None:
        """What has been counted, as it travels; None if it is what was said last."""
        if self.router is None:
            return None
        report = Report(
            handshakes=self.router.handshakes,
            handshakes_failed=self.router.handshakes_failed,
            handshakes_refused=self.router.handshakes_refused,
            connections=self._connections(),
        )
        if report == self._reported:
            return None
        self._reported = report
        return encode(report)


class _NeighbourMux(MuxProtocol):
    """
    Control gives up who hangs, and ends it, and so the socket ends.

    Two workers who gave each other up by themselves could both live on, and have no socket.
    """

    gives_up = False


class _Settings(Protocol):
    """The worker's end of the stream of settings."""

    _log = Logger()

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._reader = MessageReader(Settings)
        self._reporting = LoopingCall(self._report)
        self._reporting.clock = worker.clock

    def connectionMade(self) -> None:
        self._reporting.start(_REPORT_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        try:
            for settings in self._reader.receive(data):
                self._worker.use(settings)
        except MeziteError as error:
            # It would go on with keys that nobody should see any more.
            self._log.error("the settings cannot be used: {error}", error=error)
            self._worker.link.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._reporting.running:
            self._reporting.stop()

    def _report(self) -> None:
        report = self._worker.report()
        if report is not None:
            assert self.transport is not None
            self.transport.write(report)
