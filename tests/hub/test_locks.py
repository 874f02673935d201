"""Tests of locks through the hub's port: who is out, at once, and who never is."""

from __future__ import annotations

from mezite.audit.events import EventType
from mezite.error import BadInput, Denied, MeziteError, NotFound, Unavailable
from mezite.hub.callers import PERMISSIONS, Permission
from mezite.hub.livesessions import GOODBYE_SECONDS
from mezite.names import UserName
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Caller, GrpcServerFactory
from tests.doubles.hubworld import Heard, ssh_public_line, tls_public_pem
from tests.doubles.link import link
from tests.hub.test_livesessions import LiveSessionTestCase

OPS = """\
{kind: role, version: v1, metadata: {name: ops},
 spec: {allow: {node_labels: {env: prod}, logins: [root, postgres]}}}"""


class LockTests(LiveSessionTestCase):
    """What each kind of lock does."""

    def lock(self, message: str = "lost laptop", ttl: int = 0, **target: str) -> pb.Lock:
        made: pb.Lock = self.world.done(
            self.admin.create_lock(pb.LockTarget(**target), ttl_seconds=ttl, message=message)
        )
        return made

    def local_client(self) -> AuthClient:
        """As it is on the admin socket."""
        listener = GrpcServerFactory(
            self.world.hub._parts.admin_listener.methods,
            caller_of=lambda _: Caller(identity=None, is_local_admin=True, address="unix:"),
            clock=self.world.clock,
        )
        channel = GrpcChannel(self.world.clock)
        self.world.links.append(link(channel, listener.buildProtocol(None), self.world.clock))
        return AuthClient(channel)

    def visit(self, user: str, node: str = "db1") -> bytes:
        heard = Heard()
        self.world.dial(
            heard,
            b"mezite-ssh",
            identity=self.world.user(user),
            server_name=f"{node}.hub.example.com",
        )
        self.world.flush()
        return heard.data

    def test_user(self) -> None:
        """A locked user's sessions end with the message, and nothing else is left to them."""
        session = self.begin()
        bearer = self.client(bearer=self.bearer_of("ada"))
        certificate = self.client(self.world.user("ada"))
        self.lock(user="ada")
        (asked,) = self.node.asked("end-session")
        self.assertEqual(asked.reason, "ada is locked: lost laptop")
        self.wait(GOODBYE_SECONDS)
        self.assert_over(session)
        self.assertIn(b"ada is locked: lost laptop", self.visit("ada"))
        keys = {"ssh_public_key": ssh_public_line(), "tls_public_key": tls_public_pem()}
        for call in (
            bearer.list_nodes(),
            bearer.list_sessions(),
            bearer.issue_user_certs(**keys),
            certificate.list_nodes(),
        ):
            error = self.assertRaises(Denied, self.world.done, call)
            self.assertEqual(str(error), "ada is locked: lost laptop")
        (event,) = self.events(EventType.LOCK_CREATED)
        self.assertEqual(event.details["user"], "ada")

    def test_every_method(self) -> None:
        """Whatever a locked administrator calls is refused, by every proof."""
        self.lock(role="admin", message="")
        for client in (
            self.client(self.world.user("grace")),
            self.client(bearer=self.bearer_of("grace")),
        ):
            for name, permission in PERMISSIONS.items():
                if permission in (Permission.USER, Permission.AUDITOR, Permission.ADMIN):
                    request = getattr(pb, f"{name}Request")()
                    answer = getattr(pb, f"{name}Response")
                    error = self.assertRaises(
                        Denied, self.world.done, client._call(request, answer)
                    )
                    self.assertEqual(str(error), "the role admin is locked", name)

    def test_admin_socket(self) -> None:
        """The admin socket is nobody's: locks do not reach it, so they can be taken away."""
        local = self.local_client()
        lock = self.lock(role="admin")
        self.assertRaises(Denied, self.world.done, self.admin.list_locks())
        (listed,) = self.world.done(local.list_locks())
        self.assertEqual(listed, lock)
        self.world.done(local.delete_lock(lock.lock_id))
        self.assertEqual(self.world.done(self.admin.list_locks()), [])

    def test_role(self) -> None:
        """Users who hold a locked role are locked, and others are not."""
        self.world.done(self.admin.create_role(OPS))
        self.world.add_user("bob", labels="none=none", roles=["ops"])
        ada, bob = self.begin(), self.begin("bob")
        self.lock(role="ops")
        self.wait(GOODBYE_SECONDS)
        self.assert_over(bob)
        self.assertIsNotNone(self.world.hub.live.find(ada.session_id))
        self.assertIn(b"the role ops is locked: lost laptop", self.visit("bob"))

    def test_login(self) -> None:
        """Sessions under a locked login end, and no more begin; other logins are free."""
        self.world.done(self.admin.create_role(OPS))
        self.world.add_user("bob", labels="none=none", roles=["ops"])
        ada = self.begin()
        bob = self.world.visit("bob", self.db1)
        self.assertTrue(self.authorize(bob, "postgres", "bob").allowed)
        self.lock(login="root")
        self.wait(GOODBYE_SECONDS)
        self.assert_over(ada)
        self.assertIsNotNone(self.world.hub.live.find(bob.session_id))
        answer = self.authorize(self.world.visit("ada", self.db1))
        self.assertFalse(answer.allowed)
        self.assertEqual(answer.reason, "the login root is locked: lost laptop")

    def test_node(self) -> None:
        """The tunnel of a locked node is closed after a goodbye, and refused until unlocked."""
        session = self.begin()
        lock = self.lock(node="db1")
        self.assertEqual(len(self.node.asked("end-session")), 1)
        self.wait(2)
        self.assert_over(session)
        self.assertEqual(len(self.world.hub.registry), 0)
        self.node.connect()
        self.assertEqual(len(self.world.hub.registry), 0)
        error = self.assertRaises(Unavailable, self.world.done, self.agent.deregister_agent())
        self.assertEqual(str(error), "the node db1 is locked: lost laptop")
        for client, token in ((self.agent, ""), (self.client(), "mzj_x")):
            renewing = client.generate_host_certs(
                token=token,
                hostname="db1",
                ssh_public_key=ssh_public_line(),
                tls_public_key=tls_public_pem(),
            )
            self.assertRaises(Unavailable, self.world.done, renewing)
        self.assertIn(b"the node db1 is locked", self.visit("ada"))
        self.world.add_user("eve", "root", labels="none=none")
        self.assertIn(b"there is no node db1", self.visit("eve"))
        self.world.done(self.admin.delete_lock(lock.lock_id))
        self.node.connect()
        self.begin()

    def test_by_agent_id(self) -> None:
        """A node is also locked by its agent id."""
        self.lock(node=self.db1.agent_id.text)
        self.wait(2)
        self.assertEqual(len(self.world.hub.registry), 0)

    def test_both(self) -> None:
        """A lock on a user and a node locks neither of them elsewhere."""
        db2 = self.world.add_node("db2", env="prod")
        self.world.open_tunnel(db2, accept=lambda stream: None)
        self.world.flush()
        here, there = self.begin(), self.world.visit("ada", db2)
        self.lock(user="ada", node="db1")
        self.wait(2)
        self.assert_over(here)
        self.assertIsNotNone(self.world.hub.live.find(there.session_id))
        self.assertIn(b"this (user ada, node db1) is locked", self.visit("ada"))
        self.world.done(self.client(self.world.user("ada")).list_nodes())

    def test_ends_by_itself(self) -> None:
        """A lock with a length of time is over after that."""
        self.lock(user="ada", ttl=60)
        self.assertIn(b"is locked", self.visit("ada"))
        for _ in range(60):
            self.wait(1)
        self.begin()
        self.assertEqual(self.world.done(self.admin.list_locks()), [])
        self.assertEqual(len(self.events(EventType.LOCK_EXPIRED)), 1)

    def test_explained(self) -> None:
        """access explain says that it is locked."""
        self.lock(login="root", message="")
        explained = self.world.done(self.admin.explain_access("ada", "root", "db1"))
        self.assertFalse(explained.allowed)
        self.assertEqual(explained.reason, "the login root is locked")

    def test_refused(self) -> None:
        """What is not there is not locked, for a name that was mistyped would lock nobody."""
        for target in ({"user": "adda"}, {"role": "opps"}, {"node": "db9"}):
            making = self.admin.create_lock(pb.LockTarget(**target))
            self.assertRaises(NotFound, self.world.done, making)
        wrong: tuple[dict[str, str], ...] = ({}, {"user": "a b"}, {"login": "*"}, {"node": "-"})
        for target in wrong:
            making = self.admin.create_lock(pb.LockTarget(**target))
            self.assertRaises(BadInput, self.world.done, making)
        for ttl in (-1, 2**62):
            making = self.admin.create_lock(pb.LockTarget(user="ada"), ttl_seconds=ttl)
            self.assertRaises(BadInput, self.world.done, making)
        self.assertRaises(NotFound, self.world.done, self.admin.delete_lock("x" * 10_000))

    def test_password(self) -> None:
        """A locked user logs in nowhere; who only guesses their password hears nothing of it."""
        world = self.world
        made = world.done(
            self.admin.create_user("bob", logins=["root"], password="correct horse battery 1")
        )
        self.assertEqual(made.user.name, "bob")
        self.lock(user="bob")
        anybody = self.client()
        error = self.assertRaises(
            MeziteError, world.done, anybody.authenticate_local("bob", "wrong")
        )
        self.assertNotIn("locked", str(error))
        for call in (
            anybody.authenticate_local("bob", "correct horse battery 1"),
            anybody.change_password("bob", "correct horse battery 1", "correct horse battery 2"),
        ):
            error = self.assertRaises(Denied, world.done, call)
            self.assertEqual(str(error), "bob is locked: lost laptop")
        failed = self.events(EventType.USER_LOGIN_FAILED)
        self.assertEqual(len(failed), 3)
        self.assertIn("bob is locked", failed[-1].error)
        self.assertIsNotNone(world.done(world.store.users.get(UserName("bob"))))
