"""Tests of sessions that go on over another way, through the hub's port."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from mezite.audit.events import EventType
from mezite.auth.access import AccessService
from mezite.error import BadInput, Unavailable
from mezite.hub.livesessions import GOODBYE_SECONDS, LiveSession
from mezite.hub.resumption import PARKED_SECONDS
from mezite.hub.resumptionservice import REPORTED
from mezite.identity.locks import LockTarget
from mezite.names import UserName
from mezite.resume import frames
from mezite.resume.frames import GreetingReader, Refusal
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.hubworld import Heard
from tests.doubles.playednode import PlayedNode
from tests.hub.test_livesessions import STRICT, LiveSessionTestCase


class ResumptionTestCase(LiveSessionTestCase):
    """A hub, db1 with a tunnel, and ada with a client that can resume."""

    def arrive(self, user: str = "ada", node: str = "db1") -> Heard:
        """A client that can resume, at the hub's port."""
        heard = Heard()
        self.connection = self.world.dial(
            heard,
            b"mezite-ssh-resume",
            identity=self.world.user(user),
            server_name=f"{node}.hub.example.com",
        )
        self.world.flush()
        return heard

    def visit(self, user: str = "ada") -> LiveSession:
        before = set(self.world.hub.live)
        self.arrive(user)
        (session,) = set(self.world.hub.live) - before
        return session

    def begin(self, user: str = "ada") -> LiveSession:
        session = self.visit(user)
        self.assertTrue(self.authorize(session, user=user).allowed)
        return session

    def living(self, session: LiveSession, **other: Any) -> pb.LivingSession:
        said = {"session_id": session.session_id, "user": "ada", "login": "root", **other}
        return pb.LivingSession(**said)

    def resume(self, way: LiveSession, living: pb.LivingSession) -> pb.ResumeSessionResponse:
        answer: pb.ResumeSessionResponse = self.world.done(
            self.agent.resume_session(way.session_id, living)
        )
        return answer

    def report(self, *living: pb.LivingSession) -> dict[str, str]:
        answer = self.world.done(self.agent.report_sessions(living))
        return {each.session_id: each.reason for each in answer.ended}

    def cut(self) -> None:
        self.connection.abortConnection()
        self.world.flush()

    def forget(self, session: LiveSession) -> None:
        """As if another hub had begun it."""
        self.world.hub._parts.parking._deadlines.pop(session).cancel()
        self.world.hub.live.remove(session)

    def bound(self) -> None:
        """Let ada have one session at once."""
        document = STRICT.replace("max_sessions: 2", "max_sessions: 1")
        document = document.replace("    source_addresses: [10.0.0.0/8]\n", "")
        self.world.done(self.admin.create_role(document))
        self.world.done(self.admin.update_user(pb.User(name="ada", roles=["strict"]), ["roles"]))

    def is_live(self, session_id: str) -> bool:
        return self.world.hub.live.find(session_id) is not None


class GoingOnTests(ResumptionTestCase):
    """A session that is cut, and goes on."""

    def test_another_service(self) -> None:
        """The agent hears by the service that the client can resume."""
        session = self.visit()
        (header,) = self.node.asked("ssh-resume")
        self.assertEqual((header.session_id, header.user), (session.session_id, "ada"))

    def test_cut(self) -> None:
        """It stays live, has no end in the audit, and goes on under its id and from its place."""
        session = self.begin()
        session_id, since = session.session_id, session.since
        self.cut()
        self.assertTrue(self.is_live(session_id))
        self.wait(20)
        way = self.visit()
        self.assertTrue(self.resume(way, self.living(session)).allowed)
        self.assertEqual(way.session_id, session_id)
        self.assertEqual((way.since, way.login), (since, session.login))
        self.assertEqual(len(self.world.hub.live), 1)
        (event,) = self.events(EventType.SESSION_RESUMED)
        self.assertEqual((event.session_id, event.login), (session_id, "root"))
        self.assertEqual(self.events(EventType.SESSION_END), [])

    def test_end(self) -> None:
        """Its end is in the audit once, with the bytes of all its ways."""
        session = self.begin()
        self.node.streams[-1].transport.write(b"x" * 100)
        self.world.flush()
        self.cut()
        way = self.visit()
        self.resume(way, self.living(session))
        self.node.streams[-1].transport.write(b"x" * 11)
        self.world.flush()
        self.node.streams[-1].transport.loseConnection()
        self.connection.loseConnection()
        self.world.flush()
        self.assertFalse(self.is_live(session.session_id))
        (event,) = self.events(EventType.SESSION_END)
        self.assertEqual(event.details["bytes_to_user"], 111)

    def test_half_open(self) -> None:
        """The newest way is the one that lives: one that looks alive is cut."""
        session = self.begin()
        before = self.node.streams[-1]
        way = self.visit()
        self.assertTrue(self.resume(way, self.living(session)).allowed)
        self.world.flush()
        self.assertIsNotNone(before.reason)
        self.assertIs(self.world.hub.live.find(session.session_id), way)
        self.assertEqual(self.events(EventType.SESSION_END), [])

    def test_never_begun(self) -> None:
        """What is cut before the person is in is not kept."""
        session = self.visit()
        self.cut()
        self.assertFalse(self.is_live(session.session_id))

    def test_nobody_comes(self) -> None:
        """It is over when its agent does not name it any more, or after a while."""
        for over in (lambda: self.report(), lambda: self.wait(PARKED_SECONDS)):
            session = self.begin()
            self.cut()
            over()
            self.world.flush()
            self.assertFalse(self.is_live(session.session_id))
        self.assertEqual(len(self.events(EventType.SESSION_END)), 2)

    def test_roles(self) -> None:
        """Locks meet it by the roles that it was allowed with, not those of the way alone."""
        self.bound()
        session = self.begin()
        self.cut()
        way = self.visit()
        # Those of an approved request are in the certificate for SSH, which the hub does not see.
        way.roles = frozenset()
        self.assertTrue(self.resume(way, self.living(session)).allowed)
        self.assertIn("strict", {role.text for role in way.roles})

    def test_plain_client(self) -> None:
        """A session of a client that cannot resume ends when it is cut."""
        session = super().begin()
        plain = self.world.visit("ada", self.db1)
        self.assertTrue(self.authorize(plain).allowed)
        self.node.streams[-1].transport.abortConnection()
        self.world.flush()
        self.assertFalse(self.is_live(plain.session_id))
        self.assertTrue(self.is_live(session.session_id))


class DecisionTests(ResumptionTestCase):
    """Whether a session may go on is decided anew."""

    def lock(self) -> None:
        target = LockTarget.parse(user="ada")
        self.world.done(
            self.world.hub._parts.services.locks.create(
                target, ttl=None, message="", by=self.events(EventType.SESSION_START)[0].actor
            )
        )

    def test_lock_while_parked(self) -> None:
        """A lock ends it at once over the tunnel."""
        session = self.begin()
        self.cut()
        self.lock()
        self.world.flush()
        (header,) = self.node.asked("end-session")
        self.assertEqual(header.session_id, session.session_id)
        self.assertIn("locked", header.reason)
        self.wait(GOODBYE_SECONDS)
        self.assertFalse(self.is_live(session.session_id))
        (event,) = self.events(EventType.SESSION_END)
        self.assertIn("locked", event.details["reason"])

    def test_lock_without_tunnel(self) -> None:
        """A lock while the node is away ends it when the node is back."""
        session = self.begin()
        self.node.mux.abort()
        self.world.flush()
        self.lock()
        self.wait(GOODBYE_SECONDS)
        self.assertTrue(self.is_live(session.session_id))
        self.node = PlayedNode(self.world, self.db1)
        self.agent = self.client(self.db1)
        ended = self.report(self.living(session))
        self.assertIn("locked", ended[session.session_id])
        self.assertFalse(self.is_live(session.session_id))

    def test_access_ends(self) -> None:
        """Who may not have the login any more does not go on, and the session is over."""
        session = self.begin()
        self.cut()
        way = self.visit()
        self.world.done(self.world.store.users.remove(UserName("ada")))
        answer = self.resume(way, self.living(session))
        self.assertFalse(answer.allowed)
        self.assertIn("your access has ended", answer.reason)
        self.assertFalse(self.is_live(session.session_id))

    def test_made_up(self) -> None:
        """An agent goes on only with what began on its node, over what the hub opened to it."""
        other = self.client(self.world.add_node("db2", env="prod"))
        session = self.begin()
        self.cut()
        way = self.visit()
        for living in (
            self.living(session, session_id="made-up"),
            self.living(session, session_id=""),
            self.living(session, session_id=way.session_id),
        ):
            self.assertFalse(self.resume(way, living).allowed)
        self.world.add_user("eve", "root", labels="env=prod")
        asking = other.resume_session(way.session_id, self.living(session))
        self.assertFalse(self.world.done(asking).allowed)
        asking = self.agent.resume_session(way.session_id, self.living(session, user="eve"))
        self.assertFalse(self.world.done(asking).allowed)
        self.assertEqual(len(self.events(EventType.AUTHZ_DENIED)), 2)
        nobody = self.agent.resume_session(way.session_id, pb.LivingSession())
        self.assertRaises(BadInput, self.world.done, nobody)
        self.assertTrue(self.resume(way, self.living(session)).allowed)

    def test_way_gone(self) -> None:
        """
        A client that gave up before its agent could ask costs nobody a session, and is no crime.

        So it is where a line was silent for a while: all that was said arrives at once, late.
        """
        session = self.begin()
        self.cut()
        way_id = self.visit().session_id
        self.cut()
        asking = self.agent.resume_session(way_id, self.living(session))
        self.assertRaises(Unavailable, self.world.done, asking)
        self.assertEqual(self.events(EventType.AUTHZ_DENIED), [])
        self.assertTrue(self.resume(self.visit(), self.living(session)).allowed)

    def test_two_at_once(self) -> None:
        """
        A client that came again while the hub still looked at its last attempt goes on.

        What the hub finds out about the attempt afterwards ends nothing.
        """
        session = self.begin()
        self.cut()
        early, late = self.visit().session_id, self.visit()
        judged, looking = AccessService.authorize_session, Deferred[None]()

        async def slowly(service: AccessService, *about: Any, **more: Any) -> Any:
            self.patch(AccessService, "authorize_session", judged)
            await looking
            return await judged(service, *about, **more)

        self.patch(AccessService, "authorize_session", slowly)
        asking = ensureDeferred(self.agent.resume_session(early, self.living(session)))
        self.world.flush()
        self.assertTrue(self.resume(late, self.living(session)).allowed)
        looking.callback(None)
        self.world.flush()
        self.failureResultOf(asking, Unavailable)
        self.assertIs(self.world.hub.live.find(session.session_id), late)

    def test_number(self) -> None:
        """A session that goes on is not one more; another one is, as long as it is carried."""
        self.bound()
        session = self.begin()
        self.cut()
        way = self.visit()
        self.assertTrue(self.resume(way, self.living(session)).allowed)
        answer = self.authorize(self.visit())
        self.assertFalse(answer.allowed)
        self.assertIn("one session at once", answer.reason)
        self.assertIsNone(way.ending)

    def test_gives_way(self) -> None:
        """Whoever lost a session and comes anew is let in, and the lost one ends."""
        self.bound()
        session = self.begin()
        self.cut()
        self.assertTrue(self.authorize(self.visit()).allowed)
        (asked,) = self.node.asked("end-session")
        self.assertEqual(asked.session_id, session.session_id)
        answer = self.resume(self.visit(), self.living(session))
        self.assertEqual(answer.reason, "a newer session has taken its place")
        self.wait(GOODBYE_SECONDS)
        self.assertFalse(self.is_live(session.session_id))

    def test_gives_way_without_tunnel(self) -> None:
        """So it is when its node is away, which hears of it once it is back."""
        self.bound()
        session = self.begin()
        self.cut()
        self.node.mux.abort()
        self.world.flush()
        self.assertTrue(self.world.hub.live.make_room(session.user, 1))
        self.assertTrue(self.world.hub.live.make_room(session.user, 1))
        self.assertEqual(session.ending, "a newer session has taken its place")
        self.assertTrue(self.is_live(session.session_id))


class RestartedHubTestCase(ResumptionTestCase):
    """A hub that knows nothing of a session, but what is in its audit."""

    def setUp(self) -> None:
        super().setUp()
        self.session = self.begin()
        self.cut()
        self.forget(self.session)


class RestartedHubTests(RestartedHubTestCase):
    def test_reported(self) -> None:
        """A session that its agent names is live again, and can be ended."""
        self.assertEqual(self.report(self.living(self.session)), {})
        again = self.world.hub.live.find(self.session.session_id)
        assert again is not None
        self.assertEqual((again.user, again.login), (self.session.user, self.session.login))
        self.world.done(self.admin.end_session(self.session.session_id))
        (header,) = self.node.asked("end-session")
        self.assertEqual(header.session_id, self.session.session_id)

    def test_resumed_first(self) -> None:
        """Its client may be there before the agent has named it."""
        way = self.visit()
        self.assertTrue(self.resume(way, self.living(self.session)).allowed)
        self.assertIs(self.world.hub.live.find(self.session.session_id), way)

    def test_not_believed(self) -> None:
        """What did not begin so, or has ended, is to end."""
        forged = (
            {"user": "grace"},
            {"login": "postgres"},
            {"session_id": "made-up"},
            {"session_id": ""},
            {"session_id": "x" * 5000},
            {"user": ""},
            {"user": "a b", "login": "*"},
            {"session_id": "made-up", "certificate_expires": -(1 << 63)},
        )
        for other in forged:
            living = self.living(self.session, **other)
            self.assertIn(living.session_id, self.report(living))
        elsewhere = self.client(self.world.add_node("db2"))
        answer = self.world.done(elsewhere.report_sessions([self.living(self.session)]))
        self.assertEqual(len(answer.ended), 1)
        self.assertEqual(len(self.world.hub.live), 0)

    def test_too_many(self) -> None:
        """A report of more than a node can have is refused."""
        living = self.living(self.session)
        for sessions, beginning in ((REPORTED + 1, 0), (1, REPORTED)):
            report = self.agent.report_sessions([living] * sessions, ["s"] * beginning)
            self.assertRaises(BadInput, self.world.done, report)

    def test_access_ended_meanwhile(self) -> None:
        """Who lost their access while no hub ran loses the session."""
        self.world.done(self.world.store.users.remove(UserName("ada")))
        ended = self.report(self.living(self.session))
        self.assertIn("your access has ended", ended[self.session.session_id])
        self.assertEqual(len(self.world.hub.live), 0)
        self.assertEqual(len(self.events(EventType.SESSION_TERMINATED)), 1)


class RefusalTests(ResumptionTestCase):
    """What the hub itself says to a client that can resume."""

    def refusal(self, heard: Heard) -> tuple[int, str]:
        complete = GreetingReader().receive(heard.data)
        assert complete is not None
        greeting = complete[0]
        assert isinstance(greeting, Refusal)
        return greeting.reason, greeting.sentence

    def test_denied(self) -> None:
        """A node that the user may not reach is denied, in a sentence."""
        reason, sentence = self.refusal(self.arrive(node="db9"))
        self.assertEqual(reason, frames.DENIED)
        self.assertIn("there is no node db9", sentence)

    def test_offline(self) -> None:
        """A node that is not connected may be tried again."""
        self.node.mux.abort()
        self.world.flush()
        reason, sentence = self.refusal(self.arrive())
        self.assertEqual(reason, frames.NOT_NOW)
        self.assertIn("db1 is not connected", sentence)

    def test_hub_itself(self) -> None:
        """The jump host resumes nothing."""
        heard = Heard()
        self.world.dial(heard, b"mezite-ssh-resume", identity=None)
        self.world.flush()
        self.assertEqual(self.refusal(heard)[0], frames.DENIED)
