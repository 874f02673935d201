"""Tests of sessions that are cut, go on and end while the hub is still busy with them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from mezite.audit.events import AuditEvent, EventType
from mezite.auth.access import AccessService
from mezite.auth.trail import AuditTrail
from mezite.store.memoryaudit import MemoryAudit
from tests.hub.test_resumption import RestartedHubTestCase, ResumptionTestCase


class BeginningTests(ResumptionTestCase):
    """A session that is cut before its agent has let anybody in."""

    def test_not_in_yet(self) -> None:
        """What its agent has not let in yet is not over, although it is cut already."""
        session = self.begin()
        self.cut()
        self.world.done(self.agent.report_sessions([], [session.session_id]))
        self.assertTrue(self.is_live(session.session_id))
        self.report()
        self.assertFalse(self.is_live(session.session_id))

    def test_cut_while_deciding(self) -> None:
        """What is over before it is decided about does not begin, nor in the audit."""
        session = self.visit()
        judged, looking = AccessService.authorize_session, Deferred[None]()

        async def slowly(service: AccessService, *about: Any, **more: Any) -> Any:
            await looking
            return await judged(service, *about, **more)

        self.patch(AccessService, "authorize_session", slowly)
        asking = ensureDeferred(self.agent.authorize_session("ada", "root", session.session_id))
        self.world.flush()
        self.cut()
        self.assertTrue(self.is_live(session.session_id))
        self.report()
        self.assertFalse(self.is_live(session.session_id))
        looking.callback(None)
        self.world.flush()
        self.assertFalse(self.successResultOf(asking).allowed)
        self.assertEqual(self.events(EventType.SESSION_START, EventType.SESSION_END), [])


class AnswerTests(ResumptionTestCase):
    """A session that the hub has let go on, and an agent that did not hear it in time."""

    def test_way_breaks(self) -> None:
        """The agent resets the way, and the session is kept for the next one."""
        session = self.begin()
        self.cut()
        way = self.visit()
        self.assertTrue(self.resume(way, self.living(session)).allowed)
        self.node.streams[-1].transport.abortConnection()
        self.world.flush()
        self.assertIs(self.world.hub.live.find(session.session_id), way)
        self.assertEqual(self.events(EventType.SESSION_END), [])
        again = self.visit()
        self.assertTrue(self.resume(again, self.living(session)).allowed)
        self.assertIs(self.world.hub.live.find(session.session_id), again)


class LookingTests(RestartedHubTestCase):
    """A hub that looks for a session in the audit, which it had not begun."""

    def test_looked_for_once(self) -> None:
        """Its agent and its client may come together: what one finds the other does not again."""
        search, looking = MemoryAudit.search, Deferred[None]()

        def slowly(log: MemoryAudit, *about: Any, **more: Any) -> Any:
            self.patch(MemoryAudit, "search", search)
            found = search(log, *about, **more)
            return looking.addCallback(lambda _: found)

        self.patch(MemoryAudit, "search", slowly)
        living = self.living(self.session)
        reporting = ensureDeferred(self.agent.report_sessions([living]))
        self.world.flush()
        way = self.visit()
        resuming = ensureDeferred(self.agent.resume_session(way.session_id, living))
        self.world.flush()
        self.assertNoResult(resuming)
        looking.callback(None)
        self.world.flush()
        self.assertEqual(list(self.successResultOf(reporting).ended), [])
        self.assertTrue(self.successResultOf(resuming).allowed)
        self.assertEqual(list(self.world.hub.live), [way])
        self.assertEqual(self.events(EventType.SESSION_END), [])

    def test_ending_just_now(self) -> None:
        """A session whose end is just being written does not come to life again."""
        way = self.visit()
        self.assertTrue(self.resume(way, self.living(self.session)).allowed)
        record, writing = AuditTrail.record, Deferred[None]()

        async def slowly(trail: AuditTrail, event: AuditEvent) -> None:
            await writing
            await record(trail, event)

        self.patch(AuditTrail, "record", slowly)
        self.node.streams[-1].transport.loseConnection()
        self.connection.loseConnection()
        self.world.flush()
        living = self.living(self.session)
        self.assertIn(living.session_id, self.report(living))
        self.assertFalse(self.is_live(living.session_id))
        writing.callback(None)
        self.world.flush()
        self.assertIn(living.session_id, self.report(living))
        self.assertEqual(len(self.events(EventType.SESSION_END)), 1)
