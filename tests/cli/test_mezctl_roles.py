"""Tests of mezctl's commands about roles, and about who has them."""

from __future__ import annotations

from pathlib import Path

from mezite.rpc.proto import auth_pb2 as pb
from tests.cli.test_mezctl import MezctlTestCase

DEVELOPER = """\
kind: role
version: v1
metadata: {name: developer}
spec:
  allow:
    node_labels: {env: [staging, dev]}
    logins: [ubuntu, "{{user.name}}"]
"""


class RoleCommandTests(MezctlTestCase):
    def file(self, text: str = DEVELOPER) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def test_create(self) -> None:
        """A role is made from a file, and replaced only by force."""
        ended = self.mezctl("roles", "create", "--from-file", self.file())
        self.assertEqual((ended.code, ended.out), (0, "Role developer was created.\n"))
        sentence = self.refused(6, "roles", "create", f"--from-file={self.file()}")
        self.assertIn("--force replaces it", sentence)
        ended = self.mezctl("roles", "create", f"--from-file={self.file()}", "--force")
        self.assertEqual(ended.out, "Role developer was written.\n")

    def test_complaint(self) -> None:
        """A mistake is said with file, line and key, before the hub is asked."""
        path = self.file(DEVELOPER.replace("staging", "^("))
        sentence = self.refused(2, "roles", "create", "--from-file", path)
        self.assertIn(f"{path}:6: spec.allow.node_labels.env: ", sentence)
        self.refused(2, "roles", "create", "--from-file", "/nowhere/role.yaml")
        self.refused(2, "roles", "create")
        self.assertEqual(self.doors, [])

    def test_get(self) -> None:
        """A role is shown as what roles create takes, or nested in JSON."""
        self.mezctl("roles", "create", "--from-file", self.file())
        shown = self.mezctl("roles", "get", "developer").out
        again = self.mezctl("roles", "create", "--from-file", self.file(shown), "--force")
        self.assertEqual(again.code, 0)
        self.assertEqual(self.mezctl("roles", "get", "developer").out, shown)
        (row,) = self.mezctl("roles", "get", "developer", "--format=json").json
        self.assertEqual(row["document"]["spec"]["allow"]["logins"], ["ubuntu", "{{user.name}}"])
        self.assertEqual(row["created"], "2025-06-15T15:06:40Z")
        self.refused(5, "roles", "get", "gone")
        self.refused(2, "roles", "get", "Not A Role")

    def test_ls_and_rm(self) -> None:
        """Roles are listed with the built-in ones, and removed once."""
        self.mezctl("roles", "create", "--from-file", self.file())
        rows = self.mezctl("roles", "ls", "--format=json").json
        self.assertEqual(
            [(row["name"], row["built_in"], row["created"]) for row in rows],
            [("access", True, None), ("developer", False, "2025-06-15T15:06:40Z")],
        )
        self.assertIn("every node", self.mezctl("roles", "ls").out)
        self.assertEqual(
            self.mezctl("roles", "rm", "developer").out, "Role developer was removed.\n"
        )
        self.refused(5, "roles", "rm", "developer")

    def test_help(self) -> None:
        """Every command has a page of help, and -h is one way to it."""
        for arguments in (
            ["roles"],
            ["roles", "create"],
            ["access", "explain"],
            ["users", "update"],
        ):
            ended = self.mezctl(*arguments, "-h")
            self.assertEqual(ended.code, 0)
            self.assertIn("Usage: mezctl", ended.out)


class UsersWithRolesTests(MezctlTestCase):
    def test_create(self) -> None:
        """With roles a user needs no logins, and gets no labels of their own."""
        ended = self.mezctl(
            "users",
            "create",
            "alice",
            "--roles=access,admin",
            "--trait=team=blue",
            "--trait=team=b",
        )
        self.assertEqual(ended.code, 0)
        alice = self.hub.users["alice"]
        self.assertEqual((list(alice.roles), list(alice.logins)), (["access", "admin"], []))
        self.assertEqual(list(alice.node_labels), [])
        self.assertEqual(list(alice.traits[0].values), ["blue", "b"])
        (row,) = self.mezctl("users", "ls", "--format=json").json
        self.assertEqual(
            (row["roles"], row["traits"]), (["access", "admin"], {"team": ["blue", "b"]})
        )
        self.assertIn("team=blue,b", self.mezctl("users", "ls").out)

    def test_own_labels(self) -> None:
        """Own logins with roles open what --node-labels says, and nothing else."""
        self.mezctl("users", "create", "kim", "--roles=access", "--logins=root")
        self.assertEqual(list(self.hub.users["kim"].node_labels), [])
        self.mezctl("users", "create", "lee", "--roles=access", "--logins=x", "--node-labels=a=b")
        self.assertEqual(list(self.hub.users["lee"].node_labels), ["a=b"])

    def test_update(self) -> None:
        """What is named is replaced, the rest stays."""
        self.mezctl("users", "create", "ada", "--logins=ada", "--trait=a=1")
        ended = self.mezctl("users", "update", "ada", "--roles=access", "--disable")
        self.assertEqual(ended.out, "User ada was changed.\n")
        (row,) = self.mezctl("users", "ls", "--format=json").json
        self.assertEqual(
            (row["roles"], row["disabled"], row["logins"], row["traits"]),
            (["access"], True, ["ada"], {"a": ["1"]}),
        )
        (row,) = self.mezctl(
            *("users", "update", "ada", "--roles=", "--enable", "--logins=root,x", "--trait="),
            *("--node-labels=", "--admin", "--format=json"),
        ).json
        self.assertEqual(
            (row["roles"], row["disabled"], row["logins"], row["traits"], row["node_labels"]),
            ([], False, ["root", "x"], {}, []),
        )
        self.assertIs(row["is_admin"], True)

    def test_update_refused(self) -> None:
        """Nothing to change, what cannot be, and who is not there are refused."""
        for arguments in (
            ["ada"],
            ["ada", "--roles=A"],
            ["ada", "--logins=-x"],
            ["ada", "--trait=x"],
            ["ada", "--trait=logins=root"],
            ["ada", "--node-labels=x"],
        ):
            self.refused(2, "users", "update", *arguments)
        self.assertEqual(self.doors, [])
        self.refused(5, "users", "update", "ada", "--enable")


class ExplainTests(MezctlTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.explanation = pb.ExplainAccessResponse(
            allowed=False,
            reason="alice may not log in as root on this node",
            explanation="denied by deny.logins of no-root",
            role="no-root",
            rule="deny.logins",
            findings=[pb.RoleFinding(role="no-root", rule="deny.logins", sentence="denies it")],
        )

    def test_text(self) -> None:
        """The answer, what decided it, and what each role says."""
        ended = self.mezctl("access", "explain", "--user=alice", "--login=root", "--node=DB1")
        self.assertEqual(ended.code, 0)
        self.assertIn("No: alice may not log in as root on this node.\n", ended.out)
        self.assertIn("Why: denied by deny.logins of no-root.\n", ended.out)
        self.assertIn("denies it", ended.out)
        (asked,) = self.hub.explained
        self.assertEqual((asked.user, asked.login, asked.node), ("alice", "root", "db1"))

    def test_json(self) -> None:
        """In JSON it is one object; what no role decided is null."""
        arguments = ("access", "explain", "--user=alice", "--node=db1", "--format=json")
        (row,) = self.mezctl(*arguments).json
        self.assertEqual((row["role"], row["rule"], row["login"]), ("no-root", "deny.logins", None))
        self.assertIs(row["allowed"], False)
        self.assertEqual(row["findings"][0]["sentence"], "denies it")
        self.hub.explanation = pb.ExplainAccessResponse(
            reason="no", explanation="no role allows it"
        )
        (row,) = self.mezctl(*arguments).json
        self.assertEqual((row["role"], row["rule"]), (None, None))

    def test_refused(self) -> None:
        """Names that cannot be are refused before the hub is asked."""
        for arguments in (
            ["--user=a b", "--node=db1"],
            ["--user=a", "--node=10.0.0.1"],
            ["--user=a", "--login=-x", "--node=db1"],
            ["--user=a"],
        ):
            self.refused(2, "access", "explain", *arguments)
        self.assertEqual(self.doors, [])
