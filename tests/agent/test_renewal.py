"""Tests of new certificates before the old ones end."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import BrokenState, TunnelDown
from mezite.agent.hubcalls import HubCalls
from mezite.agent.membership import Membership
from mezite.agent.renewal import RenewalService
from mezite.agent.state import StateDirectory
from mezite.error import Unavailable
from tests.doubles.agenthub import HOUR, OTHER_ID, AgentHub


class RenewalTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.state = StateDirectory(Path(self.mktemp()))
        self.addCleanup(os.close, self.state.prepare())
        membership = self.hub.membership(self.state.keys())
        self.state.save(membership)
        self.current = CurrentMembership.of(membership, self.state)
        self.first = membership
        self.is_up = True
        self.service = RenewalService(
            self.current,
            self.calls,
            clock=self.hub.clock,
            wall_clock=self.hub.wall_clock,
            uniform=lambda low, high: (low + high) / 2,
        )
        self.addCleanup(self.service.stopService)

    def calls(self) -> HubCalls:
        if not self.is_up:
            raise TunnelDown()
        return self.hub.direct_calls()

    def hours(self, hours: float) -> None:
        for _ in range(int(hours * 12)):
            self.hub.clock.advance(300)
            self.hub.flush()

    def loaded(self) -> Membership:
        loaded = self.state.load()
        assert loaded is not None
        return loaded


class RenewalServiceTests(RenewalTestCase):
    def test_two_thirds(self) -> None:
        """Nothing happens for most of the lifetime; then everything is replaced and kept."""
        self.service.startService()
        self.hours(15)
        self.assertEqual(self.hub.heard("GenerateHostCerts"), [])
        self.hours(2)
        (request,) = self.hub.heard("GenerateHostCerts")
        self.assertEqual((request.token, request.hostname), ("", ""))
        renewed = self.current.membership
        self.assertGreater(renewed.expires, self.first.expires + 14 * HOUR)
        self.assertEqual(self.current.host_key.current, renewed.host_key)
        self.assertNotEqual(renewed.host_key, self.first.host_key)
        self.assertEqual(self.loaded().certificates, renewed.certificates)
        self.assertEqual(self.loaded().keys.ssh_public_line, self.first.keys.ssh_public_line)

    def test_again_and_again(self) -> None:
        """In a week it renews about once in 16 hours."""
        self.service.startService()
        self.hours(7 * 24)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 10)

    def test_after_a_long_sleep(self) -> None:
        """A node that was off for days renews as soon as the hub is there."""
        self.hub.began += 3 * 24 * HOUR
        self.is_up = False
        self.service.startService()
        self.hours(1)
        self.is_up = True
        self.hub.advance(120)
        self.assertGreater(self.current.membership.expires, self.hub.wall_clock())

    def test_clock_put_right(self) -> None:
        """Certificates of tomorrow, from when clocks were a day ahead, are renewed at once."""
        self.service.startService()
        self.hub.began += 24 * HOUR
        self.hub.advance(20)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 1)
        self.hub.began -= 24 * HOUR
        self.assertGreater(self.current.membership.issued, self.hub.wall_clock())
        self.hub.advance(20)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 2)
        self.assertLess(self.current.membership.issued, self.hub.wall_clock())

    def test_hub_ahead(self) -> None:
        """While the hub's clock is ahead it is not asked without a pause."""
        ahead = self.hub.issue
        self.hub.began += 24 * HOUR
        self.current.membership = Membership.of(
            self.first.hub, self.first.keys, ahead(self.first.keys)
        )
        self.service._wall_clock = lambda: self.hub.wall_clock() - 24 * HOUR
        self.service.startService()
        self.hub.clock.pump([5.0] * 360)
        self.assertLessEqual(len(self.hub.heard("GenerateHostCerts")), 4)

    def test_behind_and_then_ahead(self) -> None:
        """That a clock was behind keeps nobody from noticing, soon after, that all were ahead."""
        behind = 24 * HOUR
        self.service._wall_clock = lambda: self.hub.wall_clock() - behind
        self.service.startService()
        self.hub.advance(20)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 1)
        behind = 0
        self.hub.began += 24 * HOUR
        for _ in range(8):
            self.hub.advance(10)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 2)
        self.hub.began -= 24 * HOUR
        self.hub.advance(20)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 3)
        self.assertLess(self.current.membership.issued, self.hub.wall_clock())

    def test_retried(self) -> None:
        """A hub that fails is asked until it does not."""
        self.hub.errors["GenerateHostCerts"] = Unavailable("later")
        self.service.startService()
        self.hours(20)
        self.assertGreater(len(self.hub.heard("GenerateHostCerts")), 20)
        self.assertEqual(self.current.membership, self.first)
        self.hub.errors.clear()
        self.hours(0.5)
        self.assertNotEqual(self.current.membership, self.first)

    def test_another_nodes(self) -> None:
        """Certificates of another node are not taken."""
        self.hub.agent_id = OTHER_ID
        self.service.startService()
        self.hours(20)
        self.assertEqual(self.current.membership, self.first)
        self.assertEqual(self.loaded().certificates, self.first.certificates)

    def test_full_disk(self) -> None:
        """Certificates that cannot be written are used all the same."""

        def save(_: StateDirectory, membership: Membership) -> None:
            raise BrokenState("no room")

        self.patch(StateDirectory, "save", save)
        self.service.startService()
        self.hours(17)
        self.assertNotEqual(self.current.membership, self.first)
        self.assertEqual(self.loaded().certificates, self.first.certificates)

    def test_stopped(self) -> None:
        """A service that was stopped leaves no timer."""
        self.service.startService()
        self.service.stopService()
        self.assertEqual(self.hub.clock.getDelayedCalls(), [])

    def test_clock_set_back(self) -> None:
        """A clock that jumps is looked at again within a minute."""
        self.service.startService()
        self.hub.began += 17 * HOUR
        self.hub.advance(61)
        self.assertEqual(len(self.hub.heard("GenerateHostCerts")), 1)

    def test_short_lifetime(self) -> None:
        """A lifetime of minutes is renewed in time as well."""
        self.hub.ssh_lifetime = 1800
        membership = self.hub.membership(self.first.keys)
        self.current.membership = evolve(membership, hub=membership.hub)
        self.service.startService()
        self.hours(1)
        self.assertGreater(self.current.membership.expires, self.hub.wall_clock())


class OtherAuthoritiesTests(RenewalTestCase):
    """The hub says that its authorities have changed."""

    def renewals(self) -> int:
        return len(self.hub.heard("GenerateHostCerts"))

    def change(self, generation: int) -> None:
        self.hub.generation = generation
        self.service.hub_has(generation)
        self.hub.flush()

    def test_at_once(self) -> None:
        """It renews at once, knows what it has then, and is content."""
        self.service.startService()
        self.hub.advance(100)
        self.change(2)
        self.assertEqual(self.renewals(), 1)
        self.assertEqual(self.current.membership.generation, 2)
        self.assertEqual(self.loaded().generation, 2)
        for _ in range(10):
            self.change(2)
            self.hub.advance(100)
        self.assertEqual(self.renewals(), 1)

    def test_soon_after_another(self) -> None:
        """A change right after another is not waited for."""
        self.service.startService()
        self.change(2)
        self.change(3)
        self.assertEqual(self.renewals(), 2)
        self.assertEqual(self.current.membership.generation, 3)

    def test_refused(self) -> None:
        """While it fails it is tried as often as ever, however often the hub says it."""
        self.hub.errors["GenerateHostCerts"] = Unavailable("not now")
        self.service.startService()
        for _ in range(20):
            self.change(2)
        self.assertEqual(self.renewals(), 1)
        del self.hub.errors["GenerateHostCerts"]
        self.hub.advance(61)
        self.assertEqual(self.current.membership.generation, 2)

    def test_before_start(self) -> None:
        """What is said before it runs is not forgotten."""
        self.change(2)
        self.service.startService()
        self.hub.flush()
        self.assertEqual(self.renewals(), 1)

    def test_older_hub(self) -> None:
        """A hub that does not say is not asked."""
        self.service.startService()
        self.change(0)
        self.hub.advance(600)
        self.assertEqual(self.renewals(), 0)

    def test_changed_under_way(self) -> None:
        """A change that comes while it renews is not lost."""
        self.service.startService()
        calls = self.hub.calls
        self.hub.generation = 2
        self.service.hub_has(2)
        self.hub.generation = 3
        self.service.hub_has(3)
        self.hub.flush()
        self.hub.advance(61)
        self.assertEqual(self.current.membership.generation, 3)
        self.assertLessEqual(len(calls), 3)

    def test_stopped(self) -> None:
        """A service that was stopped renews no more."""
        self.service.startService()
        self.service.stopService()
        self.change(2)
        self.assertEqual(self.renewals(), 0)
        self.assertEqual(self.hub.clock.getDelayedCalls(), [])
