"""
Tests that what is done and what is refused is in the audit.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.error import AuditUnavailable
from mezite.audit.events import AuditEvent, EventType
from mezite.auth.error import LoginRefused
from mezite.auth.people import UserChange
from mezite.auth.trail import AuditTrail
from mezite.error import MeziteError
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import Role
from mezite.names import AgentId, NodeName, RoleName
from mezite.store.error import UserExists
from mezite.store.records import NodeRecord
from tests.auth.world import ADA, LOCAL, PASSWORD, ROOT, SSH_LINE, TLS_PEM, World

T = TypeVar("T")
ADDRESS = "192.0.2.1"


class TrailTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.done(
            self.world.logins.create_user(
                ADA,
                logins=[ROOT],
                node_labels=LabelSelector.parse(["env=dev"]),
                password=PASSWORD,
                by=LOCAL,
            )
        )

    def done(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, work: Coroutine[Any, Any, Any], kind: type[MeziteError]) -> None:
        self.failureResultOf(Deferred.fromCoroutine(work), kind)

    def types(self) -> list[str]:
        return [event.type.text for event in self.world.audited()]

    def last(self) -> AuditEvent:
        return self.world.audited()[-1]

    def test_users(self) -> None:
        """The life of a user is on record, with who made each change."""
        world = self.world
        self.done(world.people.change(ADA, UserChange(disabled=True, logins=()), by=LOCAL))
        self.assertEqual(self.last().details, {"disabled": True, "logins": ()})
        self.done(world.logins.set_password(ADA, by=LOCAL))
        self.done(world.logins.remove_user(ADA, by=LOCAL))
        self.assertEqual(
            self.types(), ["user.created", "user.updated", "user.password.reset", "user.deleted"]
        )
        for event in world.audited():
            self.assertEqual((event.actor, event.target), (LOCAL, "ada"))

    def test_no_secret(self) -> None:
        """No password, made up or chosen, is in an event."""
        made_up = self.done(self.world.logins.set_password(ADA, by=LOCAL))
        self.done(self.world.logins.change_password("ada", made_up, "battery staple"))
        shown = repr(self.world.audited())
        for secret in (PASSWORD, made_up, "battery staple", "argon2"):
            self.assertNotIn(secret, shown)

    def test_logins(self) -> None:
        """Logins are on record, with where they came from; failed ones with the reason."""
        self.done(self.world.logins.authenticate("ada", PASSWORD, ADDRESS))
        self.assertEqual(self.types()[-1], "user.login")
        self.refused(self.world.logins.authenticate("ada", "wrong", ADDRESS), LoginRefused)
        self.assertEqual(self.last().type.text, "user.login.failed")
        self.assertEqual((self.last().actor.name, self.last().actor.address), ("ada", ADDRESS))
        self.assertEqual(self.last().error, "wrong password")
        self.refused(self.world.logins.authenticate("not a name!", "x", ADDRESS), LoginRefused)
        self.assertEqual(self.last().actor.name, "nobody")

    def test_roles(self) -> None:
        """Roles come, change and go on record."""
        role = Role(RoleName("ops"))
        self.done(self.world.roles.put(role, replace=True, by=LOCAL))
        self.done(self.world.roles.put(role, replace=True, by=LOCAL))
        self.done(self.world.roles.remove(role.name, by=LOCAL))
        self.assertEqual(self.types()[1:], ["role.created", "role.updated", "role.deleted"])
        self.assertEqual(self.last().target, "ops")

    def test_certificates(self) -> None:
        """An issued certificate is on record with its number."""
        issued = self.done(
            self.world.issuing.issue_user_certs(
                ADA, ssh_public_line=SSH_LINE, tls_public_key_pem=TLS_PEM, by=LOCAL
            )
        )
        self.assertEqual(self.last().type.text, "user.cert.issued")
        self.assertEqual(self.last().details["serial"], issued.serial)

    def test_joining(self) -> None:
        """Tokens and nodes are on record, and which token let which node in."""
        token, text = self.done(self.world.tokens.create(by=LOCAL))
        joined = self.done(
            self.world.joining.join(
                text,
                node=NodeName("db1"),
                labels={"env": "dev"},
                version="1",
                ssh_public_line=SSH_LINE,
                tls_public_key_pem=TLS_PEM,
                address=ADDRESS,
            )
        )
        event = self.last()
        self.assertEqual((event.node, event.target), ("db1", str(joined.agent_id)))
        self.assertEqual(event.details["token_id"], token.token_id)
        record = NodeRecord(joined.agent_id, joined.node, {}, "1", 0.0)
        self.done(self.world.joining.remove_node(record, by=LOCAL))
        other, _ = self.done(self.world.tokens.create(by=LOCAL))
        self.done(self.world.tokens.remove(other.token_id, by=LOCAL))
        self.assertEqual(
            self.types()[1:],
            ["token.created", "node.joined", "node.removed", "token.created", "token.deleted"],
        )

    def test_denials(self) -> None:
        """A session that is refused is on record, with the login and the reason."""
        node = NodeRecord(AgentId.new(), NodeName("db1"), {"env": "prod"}, "1", 0.0)
        decision = self.done(self.world.access.may_reach(ADA, node, address=ADDRESS))
        self.assertFalse(decision.allowed)
        event = self.last()
        self.assertEqual(event.type.text, "authz.denied")
        self.assertEqual((event.actor.address, event.node), (ADDRESS, "db1"))
        self.assertEqual(event.error, decision.reason)

    def test_refused_changes(self) -> None:
        """What was not done leaves no trace of having been done."""
        before = self.types()
        self.refused(
            self.world.logins.create_user(
                ADA, logins=[], node_labels=LabelSelector(), password=PASSWORD, by=LOCAL
            ),
            UserExists,
        )
        self.assertEqual(self.types(), before)

    def test_no_audit(self) -> None:
        """An event that cannot be kept is an error, with a sentence for whoever waits."""
        trail = AuditTrail(self.world.store.audit, wall_clock=self.world.time)
        self.world.store.close()
        event = trail.event(EventType.USER_LOGOUT, LOCAL)
        failure = self.failureResultOf(
            Deferred.fromCoroutine(trail.record(event)), AuditUnavailable
        )
        self.assertIn("the audit cannot be written", str(failure.value))
