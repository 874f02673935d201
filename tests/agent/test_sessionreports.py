"""Tests of what the hub is told of the sessions of a node that live on."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.backoff import FACTOR, FIRST
from mezite.agent.hubcalls import Living
from mezite.agent.sessionreports import Known, SessionReports
from mezite.error import BadInput, Denied, TimedOut
from mezite.rpc.error import ChannelClosed, RemoteFailure, Unimplemented
from tests.doubles.resumablenode import PlayedHub


class SessionReportsTests(SynchronousTestCase):
    """An agent with one session that lives on, and one that begins."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = PlayedHub()
        self.living = ["s1"]
        self.ended: list[tuple[str, str]] = []
        self.reports = SessionReports(
            self.known,
            self.hub.calls,
            self.clock,
            lambda session_id, reason: self.ended.append((session_id, reason)),
            lambda _, most: most,
        )

    def known(self) -> Known:
        living = [Living(each, "ada", "root", (), 0) for each in self.living]
        return Known(living, ["s9"])

    def up(self, number: int = 1) -> None:
        """There is a tunnel, and all was told so many times."""
        self.reports.tunnel_up()
        self.assertEqual(len(self.hub.reports), number)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_told(self) -> None:
        """The hub hears of all sessions, and says which are to end."""
        self.hub.ended = [("s1", "ada is locked")]
        self.up()
        self.assertEqual((self.hub.reports, self.hub.beginning), ([["s1"]], [["s9"]]))
        self.assertEqual(self.ended, self.hub.ended)

    def test_nothing_to_tell(self) -> None:
        """An agent that was restarted says that it has none; after that there is no news."""
        self.living = []
        self.up()
        self.assertEqual(self.hub.reports, [[]])
        self.up()

    def test_ended_without_tunnel(self) -> None:
        """The end of the last session is told when there is a tunnel, although none is left."""
        self.up()
        self.hub.is_there = False
        self.living = []
        self.reports.changed()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hub.is_there = True
        self.up(2)
        self.assertEqual(self.hub.reports[1], [])

    def test_one_at_a_time(self) -> None:
        """What changes while the hub listens is told after that, all at once."""
        answer: Deferred[None] = Deferred()
        self.hub.failures = [answer]
        self.up()
        for number in range(1000):
            self.living.append(f"more{number}")
            self.reports.changed()
        self.assertEqual(len(self.hub.reports), 1)
        answer.callback(None)
        self.assertEqual([len(each) for each in self.hub.reports], [1, 1001])

    def test_again(self) -> None:
        """What the hub did not hear is told again, after ever longer waits."""
        failures = [TimedOut("late"), RemoteFailure("the server failed"), ChannelClosed("gone")]
        self.hub.failures = [*failures]
        self.reports.tunnel_up()
        for number in range(len(failures)):
            self.assertEqual(len(self.hub.reports), number + 1)
            # What changes meanwhile hurries nobody.
            self.reports.changed()
            self.clock.advance(FIRST * FACTOR**number - 0.01)
            self.assertEqual(len(self.hub.reports), number + 1)
            self.clock.advance(0.01)
        self.assertEqual(len(self.hub.reports), len(failures) + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hub.failures = [TimedOut("late")]
        self.reports.changed()
        self.clock.advance(FIRST)
        self.assertEqual(len(self.hub.reports), len(failures) + 3)

    def test_next_tunnel(self) -> None:
        """Another tunnel is told at once; a hub that is away is not dialed for it."""
        self.hub.failures = [ChannelClosed("gone")]
        self.reports.tunnel_up()
        self.up(2)
        self.hub.failures = [ChannelClosed("gone")]
        self.reports.changed()
        self.hub.is_there = False
        self.clock.advance(FIRST)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hub.is_there = True
        self.up(4)

    def test_in_vain(self) -> None:
        """A hub that does not want to hear of it is not asked again before there is news."""
        for error in (Unimplemented("no such method"), Denied("no"), BadInput("too many")):
            self.hub.failures, self.hub.reports = [error], []
            self.up()
            self.up(2)
