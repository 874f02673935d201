"""
Many agents in one process, for :mod:`tests.benchmarks.fleet`: they join, dial when they
are told to, and dial again by themselves.

What dials, backs off, registers and pings is the real agent's
:class:`~mezite.agent.tunnelservice.TunnelService`, each with keys, certificates and TLS of
its own, and from an address of its own. Only the nodes behind are missing: no session
comes in. And one process has not the processors of ten thousand machines: of those who
would shake hands at once, some wait, which counts as time in which they are not back.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor as installed
from twisted.internet import stdio
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IStreamClientEndpoint,
)
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import LogLevel, globalLogPublisher
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.hubcalls import HubCalls
from mezite.agent.membership import Membership, NodeKeys
from mezite.agent.report import MachineFacts, NodeReport
from mezite.agent.state import StateDirectory
from mezite.agent.tunnelservice import TunnelService
from mezite.names import HostPort, NodeName
from mezite.rpc.channel import open_channel
from mezite.tasks import background
from mezite.wire.alpn import MEZITE_AUTH, MEZITE_TUNNEL
from mezite.wire.contexts import client_context
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.trust import fetch_authority

reactor: Any = installed
# Calls of joining at once on the one connection; more would wait at the hub.
_JOINING_AT_ONCE = 32
# The first dials in a second. Later ones come when agents find their tunnels gone.
_DIALS_PER_SECOND = 250
# Who has begun has 10 s: this process makes about 200 handshakes in a second, if it has a core.
_SHAKING_AT_ONCE = 400
_REPORT = NodeReport({"env": "load"}, (), MachineFacts(("192.0.2.1",), "Linux", "x86_64"))


def source_of(number: int) -> str:
    """The address of one machine's agent: of the million of loopback's, as Linux has it."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 0xFF}.{number & 0xFF}"


@implementer(IReactorPluggableNameResolver)
@frozen
class ReactorAt:
    """The reactor of a machine with this address."""

    _source: str

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float, **_: Any) -> Any:
        return reactor.connectTCP(host, port, factory, timeout, (self._source, 0))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Turns:
    """
    The hub, from one machine, when this process has time for another handshake.

    To the :class:`TunnelService` it is the list of addresses as well, which it awaits
    before each dial, and before the time of the dial begins.
    """

    _endpoint: IStreamClientEndpoint
    _hub: HostPort
    _turns: DeferredSemaphore
    _is_ours: bool = field(init=False, default=False)

    async def round(self) -> Sequence[HostPort]:
        await self._turns.acquire()
        self._is_ours = True
        return [self._hub]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._endpoint.connect(protocolFactory).addBoth(self._over)

    def _over(self, result: Any) -> Any:
        if self._is_ours:
            self._is_ours = False
            self._turns.release()
        return result


class Agents(LineOnlyReceiver):
    """Reads ``join``, ``dial`` and ``cut`` from stdin; says how many there are on stdout."""

    delimiter = b"\n"

    def __init__(self, hub: HostPort, token: str, pin: str, number: int, place: Path) -> None:
        self.hub = hub
        self.token = token
        self.pin = pin
        self.number = number
        self.place = place
        self.services: list[TunnelService] = []
        self.shaking = DeferredSemaphore(_SHAKING_AT_ONCE)
        self.joined = 0
        self.warnings: Counter[str] = Counter()

    def connectionMade(self) -> None:
        LoopingCall(self.say).start(0.25)

    def lineReceived(self, line: bytes) -> None:
        work = {b"join": self.join, b"dial": self.dial, b"cut": self.cut}[line]
        background(work(), doing=line.decode())

    def connectionLost(self, *_: object) -> None:
        if reactor.running:
            reactor.stop()

    def say(self) -> None:
        up = sum(service.is_registered for service in self.services)
        dialed = sum(service._factory.mux is not None for service in self.services)
        line = {"joined": self.joined, "up": up, "dialed": dialed, "warnings": self.warnings}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def join(self) -> None:
        ca = await fetch_authority(reactor, self.hub, pin=self.pin)
        endpoint = TlsClientEndpoint(
            reactor, self.hub, client_context(MEZITE_AUTH, ca), timeout=30.0
        )
        calls = HubCalls.on(await open_channel(endpoint, reactor))
        turns = DeferredSemaphore(_JOINING_AT_ONCE)

        async def one(number: int) -> TunnelService:
            keys = NodeKeys.generate()
            issued = await calls.join(self.token, NodeName(f"load{number}"), {}, keys)
            self.joined += 1
            return self.service(number, Membership.of(self.hub, keys, issued))

        self.services = await gatherResults(
            [turns.run(lambda n=n: Deferred.fromCoroutine(one(n))) for n in range(self.number)],
            consumeErrors=True,
        )
        calls.client.close()
        # No agent's process has as many objects to look through as ten thousand have together.
        gc.freeze()

    def service(self, number: int, membership: Membership) -> TunnelService:
        context = client_context(
            MEZITE_TUNNEL,
            membership.certificates.cluster_ca_pem,
            membership.certificates.tls_certificate_pem,
            membership.keys.tls_pem,
            cluster=membership.identity.cluster,
        )
        from_there = TlsClientEndpoint(ReactorAt(source_of(number)), self.hub, context)
        endpoint: Any = Turns(from_there, self.hub, self.shaking)
        return TunnelService(
            current=CurrentMembership.of(membership, StateDirectory(self.place)),
            report=lambda: _REPORT,
            clock=reactor,
            wall_clock=reactor.seconds,
            endpoint=lambda: endpoint,
            hubs=endpoint,
            services={},
            on_unwelcome=lambda: self.warnings.update(["unwelcome"]),
        )

    async def dial(self) -> None:
        for number, service in enumerate(self.services, 1):
            service.startService()
            if number % (_DIALS_PER_SECOND // 10) == 0:
                await deferLater(reactor, 0.1)

    async def cut(self) -> None:
        """Drop every connection as a network does that is gone, and stay away."""
        for service in self.services:
            service._factory.stop()
            if service._factory.mux is not None:
                service._factory.mux.abort()


def main() -> None:
    hub, token, pin, number, place = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    agents = Agents(HostPort.parse(hub), token, pin, int(number), Path(place))

    def count(event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            error = event.get("error") or event.get("why") or event.get("log_format")
            agents.warnings[str(error)[:100]] += 1

    globalLogPublisher.addObserver(count)
    reactor.suggestThreadPoolSize(2)
    stdio.StandardIO(agents)
    reactor.run()


if __name__ == "__main__":
    main()
