"""Tests of roles through the hub's port: written, given, explained and obeyed."""

from __future__ import annotations

from mezite.error import AlreadyExists, BadInput, NotFound
from mezite.identity import sshcert
from mezite.names import LoginName
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.hubworld import ssh_public_line, tls_public_pem
from tests.hub.test_service import HubTests

OPS = """\
kind: role
version: v1
metadata: {name: ops, description: Production}
spec:
  options: {max_session_ttl: 30m, port_forwarding: false}
  allow:
    node_labels: {env: prod}
    logins: ["svc-{{user.traits.team}}", "{{user.traits.logins}}"]
"""


class RoleTests(HubTests):
    def setUp(self) -> None:
        super().setUp()
        self.admin = self.client(self.world.user("grace"))

    def create_ops(self) -> pb.Role:
        return self.world.done(self.admin.create_role(OPS))

    def create_bob(self) -> AuthClient:
        self.create_ops()
        created = self.world.done(
            self.admin.create_user(
                "bob", logins=["deploy"], roles=["ops"], traits={"team": ["blue"]}, password="x" * 9
            )
        )
        self.assertEqual(list(created.user.roles), ["ops"])
        self.assertEqual(list(created.user.traits[0].values), ["blue"])
        return self.client(bearer=self.bearer_of("bob"))

    def test_written_and_read(self) -> None:
        """A role is written, shown, listed without its document, replaced and removed."""
        made = self.create_ops()
        self.assertEqual((made.name, made.description, made.built_in), ("ops", "Production", False))
        self.assertIn("svc-{{user.traits.team}}", made.document)
        self.assertEqual(self.world.done(self.admin.get_role("ops")), made)
        listed = self.world.done(self.admin.list_roles())
        self.assertEqual([role.name for role in listed], ["access", "admin", "auditor", "ops"])
        self.assertEqual({role.document for role in listed}, {""})
        self.assertTrue(listed[0].built_in)
        self.assertRaises(AlreadyExists, self.create_ops)
        self.world.done(self.admin.create_role(made.document, replace=True))
        self.world.done(self.admin.delete_role("ops"))
        self.assertRaises(NotFound, self.world.done, self.admin.get_role("ops"))

    def test_not_understood(self) -> None:
        """A document that is not understood is refused with line and key."""
        for document, words in (
            (OPS.replace("env: prod", "env: ^("), "role:7: spec.allow.node_labels.env: "),
            ("", "the key kind is missing"),
            ("[" * 1000, "nested deeper"),
            ("x" * 70_000, "65536 bytes"),
        ):
            making = self.admin.create_role(document)
            self.assertIn(words, str(self.assertRaises(BadInput, self.world.done, making)))

    def test_in_use(self) -> None:
        """A role that somebody has stays; nobody gets one that is not there."""
        self.create_bob()
        error = self.assertRaises(BadInput, self.world.done, self.admin.delete_role("ops"))
        self.assertIn("held by bob", str(error))
        update = self.admin.update_user(pb.User(name="bob", roles=["gone"]), ["roles"])
        self.assertRaises(NotFound, self.world.done, update)

    def test_certificate(self) -> None:
        """A certificate is what the role allows, and ends when it says."""
        bob = self.create_bob()
        issued = self.world.done(
            bob.issue_user_certs(ssh_public_key=ssh_public_line(), tls_public_key=tls_public_pem())
        )
        now = self.world.clock.seconds()
        certificate = sshcert.check_user(
            sshcert.blob_of(issued.ssh_certificate),
            trusted=[self.world.authorities.user_ca.public_blob],
            now=now,
            login=LoginName("svc-blue"),
            source_address=None,
        )
        self.assertEqual(certificate.principals, {"svc-blue", "deploy"})
        self.assertNotIn("permit-port-forwarding", certificate.extensions)
        self.assertLessEqual(issued.valid_before, now + 1800)

    def test_decisions(self) -> None:
        """Lists and sessions follow the roles of now."""
        bob = self.create_bob()
        node = self.client(self.db1)

        self.world.open_tunnel(self.db1, accept=lambda stream: None)
        self.world.flush()

        def may(login: str) -> bool:
            session_id = self.world.visit("bob", self.db1).session_id
            return self.world.done(node.authorize_session("bob", login, session_id)).allowed

        self.assertEqual([each.hostname for each in self.world.done(bob.list_nodes())], ["db1"])
        self.assertTrue(may("svc-blue"))
        self.assertTrue(may("deploy"))
        self.assertFalse(may("root"))
        session_id = self.world.visit("bob", self.db1).session_id
        answer = self.world.done(node.authorize_session("bob", "deploy", session_id))
        self.assertEqual(answer.recording, pb.SESSION_RECORDING_STRICT)
        self.assertFalse(answer.record_input)
        session_id = self.world.visit("bob", self.db1).session_id
        self.world.done(self.admin.update_user(pb.User(name="bob"), ["roles"]))
        self.assertEqual(self.world.done(bob.list_nodes()), [])
        answer = self.world.done(node.authorize_session("bob", "svc-blue", session_id))
        self.assertFalse(answer.allowed)

    def test_update(self) -> None:
        """What the mask names is replaced, and nothing else."""
        self.create_bob()
        wanted = pb.User(name="bob", disabled=True, logins=["root"], is_admin=True)
        changed = self.world.done(self.admin.update_user(wanted, ["disabled", "logins"]))
        self.assertEqual(
            (list(changed.logins), changed.disabled, changed.is_admin), (["root"], True, False)
        )
        self.assertEqual(list(changed.roles), ["ops"])
        for paths in ([], ["name"], ["created", "logins"], ["traits.team"]):
            error = self.assertRaises(
                BadInput, self.world.done, self.admin.update_user(wanted, paths)
            )
            self.assertIn("logins, node_labels, is_admin", str(error))

    def test_explain(self) -> None:
        """An explanation names the role and the rule, and what each role says."""
        self.create_bob()
        explained = self.world.done(self.admin.explain_access("bob", "deploy", "db1"))
        self.assertTrue(explained.allowed)
        self.assertEqual((explained.role, explained.rule), ("ops", "allow"))
        self.assertEqual([each.role for each in explained.findings], ["user:bob", "ops"])
        explained = self.world.done(self.admin.explain_access("bob", "root", "db1"))
        self.assertFalse(explained.allowed)
        self.assertEqual((explained.role, explained.explanation), ("", "no role allows it"))
        self.assertIn("svc-blue", explained.findings[1].sentence)
        for user, node in (("nobody", "db1"), ("bob", "db2")):
            asking = self.admin.explain_access(user, "", node)
            self.assertRaises(NotFound, self.world.done, asking)

    def test_auditor_sees_all_nodes(self) -> None:
        """An auditor sees every node, and reaches none."""
        self.world.add_user("carol", roles=["auditor"])
        carol = self.client(self.world.user("carol"))
        self.assertEqual([each.hostname for each in self.world.done(carol.list_nodes())], ["db1"])
        explained = self.world.done(carol.explain_access("carol", "", "db1"))
        self.assertFalse(explained.allowed)
