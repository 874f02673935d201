"""
What a hub of one process does, done by one of several: the same tests over workers.

Peers come to the workers in turn, so that a tunnel and its person's connection
are at one worker in some tests and at two in others.
"""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock

from mezite.hub.workers.pool import WorkerPool
from tests.doubles.hubworld import HubWorld
from tests.doubles.workerworld import WorkerWorld
from tests.hub import test_draining, test_livesessions, test_rotation, test_service


class _Workers:
    def make_world(self) -> HubWorld:
        return WorkerWorld()


class TunnelTests(_Workers, test_service.TunnelTests):
    """Agents' tunnels, at workers."""


class SessionTests(_Workers, test_service.SessionTests):
    """The way of a user's bytes to a node, through workers."""


class DrainingTests(_Workers, test_draining.DrainingTests):
    """A hub that is asked to stop, with tunnels at workers."""


class EndingTests(_Workers, test_livesessions.EndingTests):
    """How sessions at workers are ended from the hub."""


class RotationTests(test_rotation.WholeWayTests):
    """Authorities that are rotated while tunnels and connections are at workers."""

    def make_world(self, clock: MemoryReactorClock) -> HubWorld:
        # Its workers are there already.
        self.patch(WorkerPool, "start", lambda pool, place: None)
        return WorkerWorld(clock=clock)
