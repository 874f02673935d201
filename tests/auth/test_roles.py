"""Tests of roles over what is stored: kept, given, decided by, and put into certificates."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import (
    BadRequest,
    BuiltInRole,
    NoLogins,
    TooManyLoginNames,
)
from mezite.auth.issuing import UserCertificates
from mezite.auth.people import UserChange
from mezite.identity.error import BadTraits
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import Recording, Role, parse_role
from mezite.identity.sshcert import UserCertificate, blob_of, check_user
from mezite.identity.tokens import hash_token
from mezite.names import AgentId, LoginName, NodeName, RoleName, UserName
from mezite.store.error import NoSuchRole, NoSuchUser, RoleExists, RoleInUse
from mezite.store.records import JoinTokenRecord, NodeRecord
from tests.auth.world import ADA, LOCAL, PASSWORD, ROOT, SSH_LINE, START, TLS_PEM, USER_CA, World

T = TypeVar("T")
ALL = {"*": "*"}


def role(name: str = "ops", **spec: Any) -> Role:
    return parse_role({"kind": "role", "version": "v1", "metadata": {"name": name}, "spec": spec})


class RolesTests(SynchronousTestCase):
    """A user without rights of their own, and a node."""

    def setUp(self) -> None:
        self.world = World()
        self.create(ADA)
        secret = hash_token("t")
        token = JoinTokenRecord("t", secret, "test", 0.0, 1e10, 9, 9)
        self.successResultOf(self.world.store.join_tokens.add(token))
        self.node = NodeRecord(AgentId.new(), NodeName("db1"), {"env": "dev"}, "1.0", 0.0)
        self.successResultOf(self.world.store.joining.admit(secret, self.node, 1.0))

    def done(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def refused(self, work: Coroutine[Any, Any, object], kind: type[Exception]) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(work), kind).value)

    def create(self, name: UserName, *roles: str, **more: Any) -> None:
        self.done(
            self.world.logins.create_user(
                name,
                logins=more.pop("logins", []),
                node_labels=LabelSelector(),
                password=PASSWORD,
                roles=[RoleName(each) for each in roles],
                **more,
                by=LOCAL,
            )
        )

    def give(self, *roles: Role | str, **more: Any) -> None:
        """Let ada have these roles."""
        for each in roles:
            if isinstance(each, Role):
                self.done(self.world.roles.put(each, replace=True, by=LOCAL))
        names = [each.name if isinstance(each, Role) else RoleName(each) for each in roles]
        self.done(self.world.people.change(ADA, UserChange(roles=tuple(names), **more), by=LOCAL))

    def may(self, login: str) -> bool:
        asking = self.world.access.authorize_session(ADA, LoginName(login), self.node.agent_id)
        return self.done(asking).allowed

    def issue(self, **more: Any) -> UserCertificates:
        return self.done(self.issuing(**more))

    def issuing(self, **more: Any) -> Coroutine[Any, Any, UserCertificates]:
        return self.world.issuing.issue_user_certs(
            ADA, ssh_public_line=SSH_LINE, tls_public_key_pem=TLS_PEM, **more, by=LOCAL
        )

    def certificate(self) -> UserCertificate:
        return check_user(
            blob_of(self.issue().ssh_certificate),
            trusted=[USER_CA.public_blob],
            now=self.world.now,
            login=None,
            source_address=None,
        )


class DecisionTests(RolesTests):
    def test_given_and_taken(self) -> None:
        """A role holds from the moment it is given until it is taken."""
        self.assertFalse(self.may("root"))
        self.give(role(allow={"node_labels": {"env": "dev"}, "logins": "root"}))
        self.assertTrue(self.may("root"))
        self.assertTrue(self.done(self.world.access.may_reach(ADA, self.node)).allowed)
        self.assertEqual(self.done(self.world.access.reachable(ADA, [self.node])), [self.node])
        self.give()
        self.assertFalse(self.may("root"))
        self.assertEqual(self.done(self.world.access.reachable(ADA, [self.node])), [])

    def test_changed(self) -> None:
        """A role that is rewritten holds as it is now."""
        self.give(role(allow={"node_labels": ALL, "logins": "root"}))
        denying = role(allow={"node_labels": ALL, "logins": "root"}, deny={"logins": "root"})
        self.done(self.world.roles.put(denying, replace=True, by=LOCAL))
        self.assertFalse(self.may("root"))

    def test_traits(self) -> None:
        """Templates see the traits of now, and the user's own logins."""
        logins = ["svc-{{user.traits.team}}", "{{user.traits.logins}}"]
        self.give(role(allow={"node_labels": ALL, "logins": logins}), traits={"team": ["blue"]})
        self.assertTrue(self.may("svc-blue"))
        self.assertFalse(self.may("root"))
        self.give("ops", logins=(ROOT,), traits={})
        self.assertFalse(self.may("svc-blue"))
        self.assertTrue(self.may("root"))

    def test_missing_role(self) -> None:
        """Who has a role that is not there, by whatever accident, has no rights at all."""
        self.give("access")
        self.assertTrue(self.may("ada"))
        users = self.world.store._tables.users
        users[ADA] = attrs.evolve(users[ADA], roles=(RoleName("access"), RoleName("gone")))
        self.assertFalse(self.may("ada"))
        self.refused(self.issuing(), NoLogins)

    def test_what_cannot_be_done_yet(self) -> None:
        """A session that needs a second factor is denied, and told why."""
        self.give("access", role(options={"require_session_mfa": "on"}))
        asking = self.world.access.authorize_session(ADA, LoginName("ada"), self.node.agent_id)
        decision = self.done(asking)
        self.assertFalse(decision.allowed)
        self.assertIn("a second factor", decision.reason)
        explanation = self.done(self.world.access.explain(ADA, LoginName("ada"), self.node))
        self.assertEqual(explanation.sentence, decision.reason)

    def test_recording(self) -> None:
        """A session is recorded strictly, unless roles say otherwise and none says strict."""
        for options, expected in (
            ([], Recording.STRICT),
            ([{"record_session": "best_effort"}], Recording.BEST_EFFORT),
            ([{"record_session": "off"}, {"record_session": "strict"}], Recording.STRICT),
        ):
            self.give("access", *(role(f"r{n}", options=each) for n, each in enumerate(options)))
            asking = self.world.access.authorize_session(ADA, LoginName("ada"), self.node.agent_id)
            decision = self.done(asking)
            self.assertIs(decision.options.record_session, expected)

    def test_explain(self) -> None:
        """An explanation names the role and the rule; who has no rights is not found."""
        self.give("access", role(deny={"logins": "root"}))
        explained = self.done(self.world.access.explain(ADA, ROOT, self.node))
        self.assertEqual(explained.sentence, "denied by deny.logins of ops")
        explained = self.done(self.world.access.explain(ADA, LoginName("ada"), self.node))
        self.assertEqual(explained.sentence, "allowed by allow of access")
        explained = self.done(self.world.access.explain(ADA, LoginName("bob"), self.node))
        self.assertEqual(explained.sentence, "no role allows it")
        self.refused(self.world.access.explain(UserName("x"), None, self.node), NoSuchUser)


class CertificateTests(RolesTests):
    def test_principals(self) -> None:
        """A certificate names the logins that roles give, less those that they deny."""
        self.give(
            "access",
            role(allow={"node_labels": ALL, "logins": ["root", "postgres"]}),
            role("x", deny={"logins": "postgres"}),
        )
        self.assertEqual(self.certificate().principals, {"ada", "root"})
        self.assertEqual(self.issue().logins, (LoginName("ada"), LoginName("root")))

    def test_lifetime(self) -> None:
        """The shortest limit of any role holds, for a wish and without one."""
        self.give(
            "access",
            role(options={"max_session_ttl": "2h"}),
            role("x", options={"max_session_ttl": "90m"}),
        )
        self.assertEqual(self.issue().valid_before, START + 5400)
        self.assertEqual(self.issue(ttl=86400).valid_before, START + 5400)
        self.assertEqual(self.issue(ttl=600).valid_before, START + 600)

    def test_extensions(self) -> None:
        """Options are the certificate's extensions."""
        for options, expected in (
            (
                {},
                {"permit-pty", "permit-port-forwarding", "permit-file-copy@mezite"},
            ),
            ({"port_forwarding": False, "file_copy": False}, {"permit-pty"}),
            (
                {"agent_forwarding": True, "port_forwarding": False, "file_copy": False},
                {"permit-pty", "permit-agent-forwarding"},
            ),
        ):
            self.give(role(options=options, allow={"node_labels": ALL, "logins": "root"}))
            self.assertEqual(self.certificate().extensions, expected)

    def test_without_logins(self) -> None:
        """Administrators, auditors and reviewers get a certificate that is good for no login."""
        self.refused(self.issuing(), NoLogins)
        sees = role("sees", allow={"review_recordings": {"node_labels": ALL, "users": "*"}})
        for each in ("admin", "auditor", sees):
            self.give(each)
            self.assertEqual(self.certificate().principals, {"-mezite-no-login"})
            self.assertEqual(self.issue().logins, ())

    def test_too_many(self) -> None:
        """More logins than a certificate can name are refused, and none is left out."""
        logins = [f"l{number}-{{{{user.traits.a}}}}" for number in range(5)]
        values = [str(number) for number in range(60)]
        self.give(role(allow={"node_labels": ALL, "logins": logins}), traits={"a": values})
        self.assertIn("give 300 logins", self.refused(self.issuing(), TooManyLoginNames))


class KeepingTests(RolesTests):
    def test_built_in(self) -> None:
        """Built-in roles are listed and shown, and stay as they are."""
        names = [str(each.role.name) for each in self.done(self.world.roles.list())]
        self.assertEqual(names, ["access", "admin", "auditor"])
        self.assertEqual(self.done(self.world.roles.get(RoleName("admin"))).created, 0.0)
        self.refused(self.world.roles.remove(RoleName("admin"), by=LOCAL), BuiltInRole)
        self.refused(self.world.roles.put(role("access"), replace=True, by=LOCAL), RoleExists)

    def test_written(self) -> None:
        """A role is written, replaced if that is meant, and removed once nobody has it."""
        written = self.done(self.world.roles.put(role(), by=LOCAL))
        self.assertEqual(written.created, self.world.now)
        self.refused(self.world.roles.put(role(), by=LOCAL), RoleExists)
        self.give(role())
        self.assertIn(
            "held by ada",
            self.refused(self.world.roles.remove(RoleName("ops"), by=LOCAL), RoleInUse),
        )
        self.give()
        self.done(self.world.roles.remove(RoleName("ops"), by=LOCAL))
        self.refused(self.world.roles.get(RoleName("ops")), NoSuchRole)


class PeopleTests(RolesTests):
    def test_create(self) -> None:
        """A user is created with roles and traits, or not at all."""
        bob = UserName("bob")
        creating = self.world.logins.create_user(
            bob, logins=[], node_labels=LabelSelector(), roles=[RoleName("gone")], by=LOCAL
        )
        self.refused(creating, NoSuchRole)
        self.create(bob, "access", "access", traits={"team": ["blue", "blue"]})
        record = self.successResultOf(self.world.store.users.get(bob))
        assert record is not None
        self.assertEqual(record.roles, (RoleName("access"),))
        self.assertEqual(record.traits, {"team": ("blue",)})

    def test_bounds(self) -> None:
        """Too many roles or logins, and traits that cannot be, are refused."""
        many = tuple(RoleName(f"r{number}") for number in range(33))
        self.refused(self.world.people.change(ADA, UserChange(roles=many), by=LOCAL), BadRequest)
        logins = tuple(LoginName(f"l{number}") for number in range(257))
        self.refused(self.world.people.change(ADA, UserChange(logins=logins), by=LOCAL), BadRequest)
        change = UserChange(traits={"logins": ("root",)})
        self.refused(self.world.people.change(ADA, change, by=LOCAL), BadTraits)

    def test_what_is_not_named_stays(self) -> None:
        """A change touches what it names."""
        before = self.successResultOf(self.world.store.users.get(ADA))
        assert before is not None
        after = self.done(self.world.people.change(ADA, UserChange(logins=(ROOT, ROOT)), by=LOCAL))
        self.assertEqual(after, attrs.evolve(before, logins=(ROOT,)))

    def test_disable(self) -> None:
        """Who is disabled has no rights, and their bearers are gone when they are enabled again."""
        self.give("access")
        login = self.done(self.world.logins.authenticate("ada", PASSWORD, "198.51.100.7"))
        self.done(self.world.people.change(ADA, UserChange(disabled=True), by=LOCAL))
        self.assertFalse(self.may("ada"))
        self.done(self.world.people.change(ADA, UserChange(disabled=False), by=LOCAL))
        self.assertTrue(self.may("ada"))
        self.assertIsNone(self.done(self.world.logins.caller_of(login.bearer)))
