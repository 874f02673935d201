"""Tests of mezctl's commands about API tokens."""

from __future__ import annotations

from tests.cli.test_mezctl import MezctlTestCase


class ApiTokenCommandTests(MezctlTestCase):
    def test_create(self) -> None:
        """The secret alone goes to standard output, for scripts."""
        ended = self.mezctl("api-tokens", "create", "--user", "ci", "--name", "nightly")
        self.assertEqual((ended.code, ended.out), (0, "mza_secret\n"))
        self.assertIn("speaks as ci, for 30d", ended.err)

    def test_json(self) -> None:
        """In JSON the new token is an object with its secret; lists have none."""
        (row,) = self.mezctl(
            "api-tokens",
            "create",
            "--user=ci",
            "--name=nightly",
            "--access=read-only",
            "--ttl=1h",
            "--format=json",
        ).json
        self.assertEqual((row["secret"], row["access"]), ("mza_secret", "read-only"))
        (listed,) = self.mezctl("api-tokens", "ls", "--format=json").json
        del row["secret"]
        self.assertEqual(listed, row)
        self.assertIsNone(listed["last_used"])
        self.assertEqual(listed["expires"], "2025-06-15T16:06:40Z")
        self.assertIn("never", self.mezctl("api-tokens", "ls").out)

    def test_rm(self) -> None:
        """A token is revoked once."""
        self.mezctl("api-tokens", "create", "--user=ci", "--name=nightly")
        ended = self.mezctl("api-tokens", "rm", "a1")
        self.assertEqual(ended.out, "Token a1 was revoked.\n")
        self.refused(5, "api-tokens", "rm", "a1")
        self.refused(2, "api-tokens", "rm", "x" * 100)

    def test_refused(self) -> None:
        """What makes no sense is said before the hub is asked."""
        for arguments in (
            ["--user=a b", "--name=x"],
            ["--user=ci"],
            ["--user=ci", "--name=x", "--ttl=0s"],
            ["--user=ci", "--name=x", "--ttl=400d"],
            ["--user=ci", "--name=x", "--access=all"],
        ):
            self.refused(2, "api-tokens", "create", *arguments)
        self.assertEqual(self.doors, [])
