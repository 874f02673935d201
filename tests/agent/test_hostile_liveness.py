"""Tests that an agent which runs also works: what nobody foresaw does not leave it idle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.hubcalls import HubCalls
from mezite.agent.join import Application
from mezite.agent.membership import Membership, NodeKeys
from mezite.agent.registration import Registration
from mezite.agent.renewal import RenewalService
from mezite.agent.report import NodeReport
from mezite.agent.service import AgentService
from mezite.agent.state import StateDirectory
from mezite.agent.tunnel import TunnelFactory
from mezite.config.agent import AgentConfig
from mezite.mux.protocol import MuxProtocol
from mezite.names import HostPort
from mezite.rpc.channel import GrpcChannel
from tests.doubles.agenthub import HOUR, HUB, NODE, AgentHub


class Unforeseen(Exception):
    """A bug, or something of the machine's that no kind of ours stands for."""


class JoiningTests(SynchronousTestCase):
    def test_unforeseen(self) -> None:
        """An agent that cannot join, for whatever reason, ends and says so."""
        refusals: list[str] = []

        async def join(application: Application, keys: NodeKeys) -> Membership:
            raise Unforeseen

        path = Path(self.mktemp())
        state = StateDirectory(path)
        lock = state.prepare()
        self.addCleanup(os.close, lock)
        service = AgentService(
            AgentConfig(
                data_dir=path, hubs=(HostPort("192.0.2.1", 443),), hostname=NODE, token="mzt_x"
            ),
            state,
            None,
            lock=lock,
            reactor=MemoryReactorClock(),
            refused=refusals.append,
            join=join,
        )
        service.startService()
        self.addCleanup(service.stopService)
        self.assertEqual(len(self.flushLoggedErrors(Unforeseen)), 1)
        self.assertEqual(len(refusals), 1)
        self.assertIn("log", refusals[0])


class RegistrationTests(SynchronousTestCase):
    def test_unforeseen(self) -> None:
        """A registration that fails oddly is tried again, like any other."""
        hub = AgentHub()
        odd = [Unforeseen()]

        def open_channel() -> GrpcChannel:
            if odd:
                raise odd.pop()
            return hub.direct_calls().client.channel

        registration = Registration(
            node=NODE,
            report=NodeReport,
            clock=hub.clock,
            open_channel=open_channel,
            uniform=lambda low, high: high,
        )
        registration.start()
        self.addCleanup(registration.stop)
        self.assertEqual(len(self.flushLoggedErrors(Unforeseen)), 1)
        hub.advance(5)
        self.assertTrue(registration.is_registered)


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.state = StateDirectory(Path(self.mktemp()))
        self.addCleanup(os.close, self.state.prepare())
        self.current = CurrentMembership.of(self.hub.membership(self.state.keys()), self.state)
        self.odd: list[Exception] = []

    def calls(self) -> HubCalls:
        if self.odd:
            raise self.odd.pop()
        return self.hub.direct_calls()

    def start(self, *, ahead: float = 0.0) -> None:
        service = RenewalService(
            self.current,
            self.calls,
            clock=self.hub.clock,
            wall_clock=lambda: self.hub.wall_clock() + ahead,
            uniform=lambda low, high: (low + high) / 2,
        )
        service.startService()
        self.addCleanup(service.stopService)

    def test_unforeseen(self) -> None:
        """A renewal that fails oddly is tried again, before the certificates end."""
        self.odd.append(Unforeseen())
        self.start()
        for _ in range(17 * 12):
            self.hub.clock.advance(300)
            self.hub.flush()
        self.assertEqual(len(self.flushLoggedErrors(Unforeseen)), 1)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 1)

    def test_clock_ahead(self) -> None:
        """A node whose clock is a day ahead does not renew without a pause."""
        self.start(ahead=25 * HOUR)
        self.hub.advance(60)
        self.assertLess(len(self.hub.heard("GenerateHostCerts")), 13)


class DialingTests(SynchronousTestCase):
    """The tunnel is dialed again, whatever those who watch it do."""

    def factory(self, hub: AgentHub, **watchers: Any) -> TunnelFactory:
        ignore: dict[str, Any] = {
            "on_up": lambda mux: None,
            "on_down": lambda mux, reason: None,
            "on_failed": lambda error: None,
        }
        factory = TunnelFactory(
            lambda: HUB,
            hub.endpoint,
            clock=hub.clock,
            accept=lambda stream: stream.abortConnection(),
            uniform=lambda low, high: high,
            **{**ignore, **watchers},
        )
        factory.start()
        self.addCleanup(factory.stop)
        return factory

    def test_watcher_of_ends(self) -> None:
        """A bug in who is told of a tunnel's end does not end the dialing."""
        hub = AgentHub()

        def odd(mux: MuxProtocol, reason: Failure) -> None:
            raise Unforeseen

        self.factory(hub, on_down=odd)
        hub.advance()
        hub.tunnels[-1].abort()
        try:
            hub.advance(60)
        except Unforeseen:  # a reactor logs it
            hub.advance(60)
        self.flushLoggedErrors(Unforeseen)
        self.assertGreater(len(hub.dials), 1)

    def test_watcher_of_failures(self) -> None:
        """Nor does one in who is told of a failed dial."""
        hub = AgentHub(refusals=[Unforeseen("dial")])

        def odd(error: BaseException | None) -> None:
            raise Unforeseen

        self.factory(hub, on_failed=odd)
        hub.advance(60)
        self.flushLoggedErrors(Unforeseen)
        self.assertGreater(len(hub.dials), 1)
