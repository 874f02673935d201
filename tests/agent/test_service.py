"""Tests of the agent as one service."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.commandlabels import CommandLabels
from mezite.agent.error import BrokenState
from mezite.agent.join import Application
from mezite.agent.membership import Membership, NodeKeys
from mezite.agent.recordingservice import RecordingService
from mezite.agent.renewal import RenewalService
from mezite.agent.service import AgentService
from mezite.agent.state import StateDirectory
from mezite.agent.tunnelservice import TunnelService
from mezite.config.agent import AgentConfig
from mezite.error import AlreadyExists, Denied, MeziteError
from mezite.names import HostPort
from tests.doubles.agenthub import NODE, AgentHub


class AgentServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.reactor = MemoryReactorClock()
        self.path = Path(self.mktemp())
        self.state = StateDirectory(self.path)
        self.lock = self.state.prepare()
        self.addCleanup(os.close, self.lock)
        self.refusals: list[str] = []
        self.error: MeziteError | None = None

    async def join(self, application: Application, keys: NodeKeys) -> Membership:
        if self.error is not None:
            raise self.error
        return self.hub.membership(keys)

    def start(
        self, membership: Membership | None, broken: BrokenState | None = None
    ) -> AgentService:
        config = AgentConfig(
            data_dir=self.path, hubs=(HostPort("192.0.2.1", 443),), hostname=NODE, token="mzt_x"
        )
        service = AgentService(
            config,
            self.state,
            membership,
            lock=self.lock,
            broken=broken,
            reactor=self.reactor,
            refused=self.refusals.append,
            wall_clock=self.hub.wall_clock,
            join=self.join,
        )
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def parts(self, service: AgentService) -> set[type]:
        return {type(part) for part in service}

    def test_joins_first(self) -> None:
        """A node without state joins, writes it down, and serves."""
        service = self.start(None)
        self.assertIsNotNone(self.state.load())
        self.assertEqual(
            self.parts(service), {TunnelService, RenewalService, RecordingService, CommandLabels}
        )

    def test_refused(self) -> None:
        """A node that is refused serves nothing, and says why once."""
        self.error = AlreadyExists("the host name db1 belongs to another")
        service = self.start(None)
        self.assertEqual(self.refusals, ["the host name db1 belongs to another"])
        self.assertEqual(self.parts(service), set())
        self.assertIsNone(self.state.load())

    def test_unwritable(self) -> None:
        """State that cannot be written is found before a token is spent."""
        (self.path / ".ssh_host_key.new").mkdir()
        self.start(None)
        self.assertEqual(len(self.refusals), 1)
        self.assertIn("ssh_host_key", self.refusals[0])

    def test_unusable_state(self) -> None:
        """State of no use stays as it is until the hub has admitted the node with new keys."""
        self.state.save(self.hub.membership(self.state.keys()))
        (self.path / "tls.key").write_bytes(b"damaged")
        broken = BrokenState("tls.key cannot be read")
        self.error = Denied("the join token is not valid")
        self.start(None, broken)
        (refusal,) = self.refusals
        self.assertIn("tls.key cannot be read", refusal)
        self.assertIn("the join token is not valid", refusal)
        self.assertEqual((self.path / "tls.key").read_bytes(), b"damaged")
        self.error = None
        self.start(None, broken)
        self.assertIsNotNone(self.state.load())
        (aside,) = self.path.glob("aside-*")
        self.assertEqual((aside / "tls.key").read_bytes(), b"damaged")

    def test_unusable_keys(self) -> None:
        """Damaged keys of a node that has not joined are put aside as well."""
        self.state.keys()
        (self.path / "tls.key").write_bytes(b"damaged")
        self.start(None)
        self.assertIsNotNone(self.state.load())
        self.assertEqual(len(list(self.path.glob("aside-*"))), 1)

    def test_has_joined(self) -> None:
        """A node with state serves at once, and dials where it was told to."""
        service = self.start(self.hub.membership(self.state.keys()))
        self.assertEqual(
            self.parts(service), {TunnelService, RenewalService, RecordingService, CommandLabels}
        )
        self.assertEqual(self.refusals, [])

    def test_listens_on_nothing(self) -> None:
        """No port is opened."""
        self.start(self.hub.membership(self.state.keys()))
        self.reactor.advance(5)
        self.assertEqual((self.reactor.tcpServers, self.reactor.unixServers), ([], []))

    def test_stops(self) -> None:
        """A stop leaves nothing behind."""
        service = self.start(self.hub.membership(self.state.keys()))
        service.stopService()
        self.assertEqual(
            [call for call in self.reactor.getDelayedCalls() if call.getTime() > 30], []
        )
