"""
The factory at the hub's one port: every connection goes to the listener of its route.

It looks at what the handshake has settled, once, and hands the finished TLS
transport over; nothing of what follows is its business. What a route is stands
in :mod:`mezite.wire.alpn`, what it demands in :mod:`mezite.wire.contexts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.hub.offenders import Offenders
from mezite.hub.proxied import ProxiedConnection
from mezite.hub.strangers import Strangers
from mezite.hub.tunnelturns import TunnelTurns
from mezite.hub.unfinished import Unfinished
from mezite.identity.networks import Networks, lies_in
from mezite.names import network_of
from mezite.wire.alpn import Route, route_of
from mezite.wire.contexts import HubContexts
from mezite.wire.error import NotTls
from mezite.wire.handshake import HANDSHAKE_TIMEOUT, Handshake
from mezite.wire.records import Piece
from mezite.wire.secured import Secured
from mezite.wire.transport import TLSTransport

# Connections that the kernel keeps until they are accepted: what ten thousand agents
# dial in a second. It gives what net.core.somaxconn allows.
BACKLOG: Final = 4096
# An unfinished handshake takes about 60 KB: 2,048 of them stay below 128 MB, and are as many
# as two cores finish in the two seconds after all agents dial at once.
HANDSHAKES_AT_ONCE: Final = 2048
# Of these, so many may be inside of connections that were upgraded to a WebSocket, which take
# another 60 KB for the TLS around them.
_UPGRADED_SHARE: Final = 4


class Router(Factory):
    """
    Virtual listeners behind one TLS port.

    What comes from one of the ``balancers`` begins with a PROXY header, and
    counts as coming from the client that the header names. A route without a
    listener is closed after the handshake. A new connection for which there is no
    room among the :class:`unfinished <mezite.hub.unfinished.Unfinished>` handshakes
    is closed before its own begins; what finishes it and shows no certificate is
    told to the ``strangers``.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        routes: Mapping[Route, IProtocolFactory],
        *,
        contexts: HubContexts,
        clock: IReactorTime,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        handshakes_at_once: int = HANDSHAKES_AT_ONCE,
        balancers: Networks = (),
        strangers: Strangers | None = None,
    ) -> None:
        self.strangers = Strangers() if strangers is None else strangers
        self._offenders = Offenders()
        self._routes = dict(routes)
        self.turns = TunnelTurns(clock)
        self._contexts = contexts
        self._clock = clock
        self._handshake_timeout = handshake_timeout
        self._unfinished = Unfinished(handshakes_at_once)
        self._upgraded = Unfinished(handshakes_at_once // _UPGRADED_SHARE)
        self._balancers = balancers
        self.headers_awaited = 0
        self.handshakes_failed = 0
        self._refused = 0
        self.routed: Counter[Route] = Counter()

    @property
    def handshakes(self) -> int:
        """How many have begun and are not finished, those in upgraded connections among them."""
        return len(self._unfinished)

    @property
    def upgraded_handshakes(self) -> int:
        return len(self._upgraded)

    @property
    def handshakes_refused(self) -> int:
        """Connections that were closed before their handshake began."""
        return self._refused + self.turns.refused

    def doStart(self) -> None:
        for listener in self._routes.values():
            listener.doStart()

    def doStop(self) -> None:
        for listener in self._routes.values():
            listener.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        if (
            self._balancers
            and addr is not None
            and lies_in(self._balancers, str(getattr(addr, "host", "")))
        ):
            return self._await_header(addr)
        return self._secure(addr)

    def upgraded(self, client: IAddress) -> Protocol | None:
        """
        What speaks with a client inside a WebSocket, as if it had connected to the port.

        None if there are too many who have not finished their handshakes. Not
        HTTPS: a WebSocket inside could be upgraded again, and so on.
        """
        return self._secure(client, among=(self._upgraded,), closed=frozenset({Route.WEB}))

    def _await_header(self, balancer: IAddress) -> Protocol | None:
        if self.headers_awaited >= self._unfinished.at_once:
            self._refused += 1
            return None
        self.headers_awaited += 1

        def ended() -> None:
            self.headers_awaited -= 1

        return ProxiedConnection(
            balancer,
            lambda client: self._secure(client, through=balancer),
            ended,
            self._clock,
            self._handshake_timeout,
        )

    def _secure(
        self,
        addr: IAddress | None,
        *,
        through: IAddress | None = None,
        among: tuple[Unfinished, ...] = (),
        closed: frozenset[Route] = frozenset(),
    ) -> TLSTransport | None:
        network = network_of(getattr(addr, "host", ""))
        now = self._clock.seconds()
        if self._offenders.are_too_many(network, now):
            self._refused += 1
            return None
        places = (*among, self._unfinished)
        if not all(each.has_room(network, now) for each in places):
            self._refused += 1
            if self._refused & (self._refused - 1) == 0:
                # Said at 1, 2, 4, 8, …: whoever floods the port does not flood the log.
                self._log.warn(
                    "{refused} connections refused so far: {unfinished} handshakes are unfinished",
                    refused=self._refused,
                    unfinished=self.handshakes,
                )
            return None

        def hold_up(transport: TLSTransport, hello: Piece) -> bool:
            if not self.turns.hold_up(transport, hello, network):
                return False
            # It has a place of another kind now: agents that wait keep nobody from coming in.
            self._unfinished.discard(transport)
            return True

        def over() -> None:
            for each in places:
                each.discard(made)

        def secured(transport: TLSTransport) -> None:
            over()
            self.route(transport, closed)

        def failed(failure: Failure) -> None:
            over()
            if network and failure.check(NotTls) is not None:
                self._offenders.blame(network, self._clock.seconds())
            self._failed(addr, failure)

        made = TLSTransport(
            self._contexts.serverConnectionForTLS(self),
            self._clock,
            Handshake(secured, failed, self._handshake_timeout, hold_up),
            peer=None if through is None else addr,
            over=self.strangers.release,
        )
        for each in places:
            each.add(made, network, now)
        return made

    def route(self, transport: Secured, closed: frozenset[Route] = frozenset()) -> None:
        """Give a connection that has finished its handshake to the listener of its route."""
        route = route_of(
            transport.negotiatedProtocol, transport.server_name, self._contexts.hub_names
        )
        self.routed[route] += 1
        if transport.peer_certificate is None:
            self.strangers.admit(transport)
        listener = None if route in closed else self._routes.get(route)
        peer = transport.getPeer()
        if listener is None:
            self._log.info("{peer} asked for {route}, which is off", peer=peer, route=route.value)
            return
        try:
            inner = listener.buildProtocol(peer)
            if inner is not None:
                transport.attach(inner)
        except Exception:
            self._log.failure("{route} cannot take a connection", route=route.value)
            transport.abortConnection()

    def _failed(self, addr: IAddress | None, failure: Failure) -> None:
        # Scanners and probes do this all day: it is no warning.
        self.handshakes_failed += 1
        self._log.debug("{peer} dropped: {error}", peer=addr, error=failure.value)
