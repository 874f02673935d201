"""Tests of live sessions: begun by agents, seen, bounded and ended, through the hub's port."""

from __future__ import annotations

from typing import Any

from mezite.audit.events import AuditEvent, EventType
from mezite.error import BadInput, Denied, NotFound, Unavailable
from mezite.hub.livesessions import GOODBYE_SECONDS, LiveSession
from mezite.names import UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.error import StoreUnavailable
from mezite.store.records import AuditQuery
from tests.doubles.hubworld import Heard
from tests.doubles.playednode import PlayedNode
from tests.hub.test_service import HubTests

STRICT = """\
kind: role
version: v1
metadata: {name: strict}
spec:
  options:
    max_sessions: 2
    idle_timeout: 15m
    disconnect_expired: true
    source_addresses: [10.0.0.0/8]
"""


class LiveSessionTestCase(HubTests):
    """A hub, db1 with a tunnel, and ada who may be root there."""

    def setUp(self) -> None:
        super().setUp()
        self.node = PlayedNode(self.world, self.db1)
        self.agent = self.client(self.db1)
        self.admin = self.client(self.world.user("grace"))

    def events(self, *kinds: EventType) -> list[AuditEvent]:
        query = AuditQuery(types=tuple(kind.text for kind in kinds))
        found = self.world.done(self.world.store.audit.search(query, limit=100))
        return sorted((record.event for record in found), key=lambda event: event.time)

    def authorize(
        self, session: LiveSession, login: str = "root", user: str = "ada"
    ) -> pb.AuthorizeSessionResponse:
        asking = self.agent.authorize_session(user, login, session.session_id)
        answer: pb.AuthorizeSessionResponse = self.world.done(asking)
        return answer

    def begin(self, user: str = "ada") -> LiveSession:
        session = self.world.visit(user, self.db1)
        self.assertTrue(self.authorize(session, user=user).allowed)
        return session

    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.world.flush()

    def assert_over(self, *sessions: LiveSession) -> None:
        for session in sessions:
            self.assertIsNone(self.world.hub.live.find(session.session_id))


class BeginningTests(LiveSessionTestCase):
    """What an agent may begin."""

    def test_recorded(self) -> None:
        """A session that begins and ends is in the audit, before the agent hears of it."""
        session = self.begin()
        (event,) = self.events(EventType.SESSION_START)
        self.assertEqual(
            (event.actor.name, event.node, event.login, event.session_id, event.target),
            ("ada", "db1", "root", session.session_id, self.db1.agent_id.text),
        )
        self.node.streams[-1].transport.write(b"x" * 100)
        self.world.flush()
        self.wait(5)
        self.node.streams[-1].transport.loseConnection()
        self.world.flush()
        self.assert_over(session)
        (event,) = self.events(EventType.SESSION_END)
        self.assertEqual((event.session_id, event.login), (session.session_id, "root"))
        self.assertEqual(event.details["bytes_to_user"], 100)
        self.assertEqual(event.details["seconds"], 5)

    def test_not_recorded(self) -> None:
        """What cannot be recorded does not begin, and has no end in the audit either."""
        session = self.world.visit("ada", self.db1)

        def refuse(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("disk full")

        self.patch(type(self.world.store.recordings), "begin_session", refuse)
        self.assertRaises(Unavailable, self.authorize, session)
        self.assertFalse(session.is_recorded)

    def test_never_begun(self) -> None:
        """A connection that came to no session is not one in the audit."""
        session = self.world.visit("ada", self.db1)
        self.node.streams[-1].transport.loseConnection()
        self.world.flush()
        self.assert_over(session)
        self.assertEqual(self.events(EventType.SESSION_START, EventType.SESSION_END), [])

    def test_made_up(self) -> None:
        """An agent begins only what the hub opened to it, for that user, and once."""
        other = self.client(self.world.add_node("db2", env="prod"))
        self.world.add_user("eve", "root", labels="env=prod")
        session = self.world.visit("ada", self.db1)
        for client, user, session_id in (
            (self.agent, "ada", "made-up"),
            (self.agent, "ada", ""),
            (self.agent, "ada", "x" * 5000),
            (self.agent, "eve", session.session_id),
            (other, "ada", session.session_id),
        ):
            answer = self.world.done(client.authorize_session(user, "root", session_id))
            self.assertFalse(answer.allowed)
            self.assertIn("no such session", answer.reason)
        self.assertEqual(len(self.events(EventType.AUTHZ_DENIED)), 5)
        self.assertTrue(self.authorize(session).allowed)
        self.assertFalse(self.authorize(session).allowed)
        self.assertFalse(self.authorize(session, "postgres").allowed)

    def test_denied_login(self) -> None:
        """A login that the user may not have is denied, and another cannot be tried."""
        session = self.world.visit("ada", self.db1)
        self.assertFalse(self.authorize(session, "postgres").allowed)
        self.assertFalse(self.authorize(session, "root").allowed)
        self.assertEqual(self.events(EventType.SESSION_START), [])

    def test_broken(self) -> None:
        """What is no name is refused as such."""
        session = self.world.visit("ada", self.db1)
        for user, login in (("", "root"), ("ada", ""), ("ada", "*"), ("a b", "root")):
            asking = self.agent.authorize_session(user, login, session.session_id)
            self.assertRaises(BadInput, self.world.done, asking)
        self.assertTrue(self.authorize(session).allowed)

    def test_options(self) -> None:
        """What the roles say of a session's end travels with the answer."""
        answer = self.authorize(self.world.visit("ada", self.db1))
        self.assertEqual((answer.idle_timeout_seconds, answer.disconnect_expired), (0, False))
        document = STRICT.replace("    source_addresses: [10.0.0.0/8]\n", "")
        self.world.done(self.admin.create_role(document))
        self.world.done(self.admin.update_user(pb.User(name="ada", roles=["strict"]), ["roles"]))
        answer = self.authorize(self.world.visit("ada", self.db1))
        self.assertEqual((answer.idle_timeout_seconds, answer.disconnect_expired), (900, True))


class BoundsTests(LiveSessionTestCase):
    """What keeps a user from one session more."""

    def give(self, document: str) -> None:
        self.world.done(self.admin.create_role(document, replace=True))
        self.world.done(self.admin.update_user(pb.User(name="ada", roles=["strict"]), ["roles"]))

    def refusal(self, server_name: str = "db1.hub.example.com") -> bytes:
        heard = Heard()
        identity = self.world.user("ada")
        self.world.dial(heard, b"mezite-ssh", identity=identity, server_name=server_name)
        self.world.flush()
        return heard.data

    def test_max_sessions(self) -> None:
        """One session too many is refused with the limit; one that ends makes room."""
        self.give(STRICT.replace("    source_addresses: [10.0.0.0/8]\n", ""))
        first = self.begin()
        self.begin()
        self.assertIn(b"your roles allow 2 sessions at once", self.refusal())
        (denied,) = self.events(EventType.AUTHZ_DENIED)
        self.assertIn("2 sessions", denied.error)
        self.world.hub.live.end(first, "enough")
        self.wait(GOODBYE_SECONDS)
        self.begin()

    def test_source_addresses(self) -> None:
        """Who comes from elsewhere is told so, on nodes that they may reach."""
        self.give(STRICT)
        self.assertIn(b"do not let them come from", self.refusal())
        self.assertIn(b"there is no node db9", self.refusal("db9.hub.example.com"))

    def test_older_certificate(self) -> None:
        """A certificate of somebody who had the name before opens nothing."""
        identity = self.world.user("ada")
        client = self.client(identity)
        heard = Heard()
        self.world.done(client.list_nodes())
        self.wait(10)
        self.world.done(self.world.store.users.remove(UserName("ada")))
        self.world.add_user("ada", "root", labels="env=prod")
        self.assertRaises(Denied, self.world.done, client.list_nodes())
        issued = self.world.clock.seconds() - 5
        self.world.dial(
            heard,
            b"mezite-ssh",
            identity=identity,
            server_name="db1.hub.example.com",
            issued=issued,
        )
        self.world.flush()
        self.assertIn(b"there is no node db1", heard.data)
        self.world.done(self.client(identity).list_nodes())
        self.begin()


class EndingTests(LiveSessionTestCase):
    """How sessions are ended from the hub."""

    def test_listed(self) -> None:
        """Auditors see all sessions, others their own."""
        self.world.add_user("eve", "root", labels="env=prod")
        ada = self.begin()
        self.wait(1)
        eve = self.begin("eve")
        rows = self.world.done(self.admin.list_sessions())
        self.assertEqual([row.session_id for row in rows], [ada.session_id, eve.session_id])
        self.assertEqual((rows[0].user, rows[0].node, rows[0].login), ("ada", "db1", "root"))
        self.assertGreater(rows[0].certificate_expires, self.world.clock.seconds())
        own = self.world.done(self.client(self.world.user("eve")).list_sessions())
        self.assertEqual([row.session_id for row in own], [eve.session_id])

    def test_reviewed(self) -> None:
        """Who may see recordings of some sessions sees these go on, once they have begun."""
        role = """
kind: role
version: v1
metadata: {name: watchers}
spec:
  allow: {review_recordings: {node_labels: {"*": "*"}, users: [ada]}}
"""
        self.world.done(self.admin.create_role(role))
        self.world.add_user("eve", "root", labels="env=none", roles=["watchers"])
        self.world.add_user("joe", "root")
        ada = self.begin()
        self.begin("joe")
        self.world.visit("ada", self.db1)
        eve = self.client(self.world.user("eve"))
        seen = self.world.done(eve.list_sessions())
        self.assertEqual([row.session_id for row in seen], [ada.session_id])

    def test_end(self) -> None:
        """The agent is asked to say goodbye; the session is gone soon after, whatever it does."""
        session = self.begin()
        self.world.done(self.admin.end_session(session.session_id, "maintenance"))
        (asked,) = self.node.asked("end-session")
        self.assertEqual(asked.session_id, session.session_id)
        self.assertEqual(asked.reason, "an administrator ended this session: maintenance")
        self.wait(GOODBYE_SECONDS)
        self.assert_over(session)
        (event,) = self.events(EventType.SESSION_TERMINATED)
        self.assertEqual((event.actor.name, event.target), ("grace", "ada"))
        (event,) = self.events(EventType.SESSION_END)
        self.assertIn("maintenance", str(event.details["reason"]))
        self.assertIsNotNone(self.node.streams[0].reason)

    def test_end_what_is_not(self) -> None:
        """A session that is not there cannot be ended, nor with a message of two lines."""
        self.assertRaises(NotFound, self.world.done, self.admin.end_session("x"))
        session = self.begin()
        ending = self.admin.end_session(session.session_id, "a\nb")
        self.assertRaises(BadInput, self.world.done, ending)

    def test_twice(self) -> None:
        """A session that is being ended is not ended again."""
        session = self.begin()
        for _ in range(3):
            self.world.done(self.admin.end_session(session.session_id))
        self.assertEqual(len(self.node.asked("end-session")), 1)

    def test_while_it_begins(self) -> None:
        """A session that is ended while the agent asks for it does not begin."""
        session = self.world.visit("ada", self.db1)
        self.world.hub.live.end(session, "ada is locked")
        self.assertFalse(self.authorize(session).allowed)

    def test_tunnel_gone(self) -> None:
        """Without a tunnel a session ends by itself."""
        session = self.begin()
        self.node.mux.abort()
        self.world.hub.live.end(session, "x")
        self.world.flush()
        self.assert_over(session)

    def test_hub_stops(self) -> None:
        """A hub that stops notes the end of its sessions."""
        self.begin()
        stopping = self.world.hub.stopService()
        self.world.flush()
        for _ in range(30):
            self.wait(0.5)
        self.successResultOf(stopping)
        tables = self.world.store._tables
        self.assertTrue(any("session.end" in each.line for each in tables.audit))

    def test_rights_taken(self) -> None:
        """Who may not have a session any more loses it within two seconds; others keep theirs."""
        document = """\
            {kind: role, version: v1, metadata: {name: ops},
             spec: {allow: {node_labels: {env: prod}, logins: [root]}}}"""
        self.world.done(self.admin.create_role(document))
        for name in ("bob", "carl", "dan"):
            self.world.add_user(name, labels="none=none", roles=["ops"])
        ada, bob, carl, dan = (self.begin(name) for name in ("ada", "bob", "carl", "dan"))
        changes: list[Any] = [
            self.admin.update_user(pb.User(name="bob"), ["roles"]),
            self.admin.update_user(pb.User(name="carl", disabled=True), ["disabled"]),
            self.admin.delete_user("dan"),
        ]
        for change in changes:
            self.world.done(change)
        self.wait(2)
        self.assert_over(bob, carl, dan)
        self.assertIsNotNone(self.world.hub.live.find(ada.session_id))
        self.assertEqual(len(self.events(EventType.SESSION_TERMINATED)), 3)

    def test_role_changed(self) -> None:
        """A role that closes a node ends sessions there, whoever has it."""
        document = "{kind: role, version: v1, metadata: {name: ops}, spec: {%s}}"
        allow = "allow: {node_labels: {env: prod}, logins: [root]}"
        self.world.done(self.admin.create_role(document % allow))
        self.world.add_user("bob", labels="none=none", roles=["ops"])
        session = self.begin("bob")
        self.world.done(
            self.admin.create_role(document % f"{allow}, deny: {{logins: [root]}}", replace=True)
        )
        self.assertIn("your access has ended", self.node.asked("end-session")[0].reason)
        self.wait(2)
        self.assert_over(session)

    def test_store_fails(self) -> None:
        """If rights cannot be read when they changed, they are read again soon."""
        session = self.begin()
        users = type(self.world.store.users)
        get = users.get
        self.world.done(self.world.store.users.remove(UserName("ada")))

        def refuse(*_: Any) -> Any:
            raise StoreUnavailable("busy")

        self.patch(users, "get", refuse)
        self.world.hub._parts.review.rights_changed()
        self.world.flush()
        self.assertIsNone(session.ending)
        self.patch(users, "get", get)
        self.wait(2)
        self.assertIsNotNone(session.ending)
