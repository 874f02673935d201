"""Tests of mezctl's commands about the authorities."""

from __future__ import annotations

from mezite.rpc.proto import auth_pb2 as pb
from tests.cli.test_mezctl import MezctlTestCase

NOW = 1_750_000_000


class CaCommandTests(MezctlTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.authorities = [
            pb.Authority(
                type="host",
                phase="prepare",
                since=NOW,
                fingerprint="SHA256:old",
                other_fingerprint="SHA256:new",
                other_is_new=True,
                grace_period_seconds=259200,
                next_phase="rotate",
                next_change=NOW + 86400,
                next_change_latest=NOW + 172800,
                behind=["db1", "db2"],
                nodes_behind=2,
            ),
            pb.Authority(
                type="tls",
                phase="rotate",
                since=NOW,
                switched=NOW,
                fingerprint="sha256:00",
                other_fingerprint="sha256:11",
                next_phase="standby",
                behind=[f"n{number:02}" for number in range(30)],
                nodes_behind=500,
            ),
            pb.Authority(
                type="user",
                phase="rotate",
                fingerprint="SHA256:new",
                other_fingerprint="SHA256:old",
                behind_servers=["plain1", "web3"],
                servers_behind=2,
            ),
        ]

    def test_status(self) -> None:
        """What is under way is told in sentences, and which nodes are behind."""
        shown = self.mezctl("ca", "status").out
        for part in (
            "The new one, SHA256:new, is trusted too.",
            "Not heard from since: db1, db2.",
            "The old one, sha256:11, is trusted too.",
            "mezctl ca rotate --type=tls --phase=standby goes on.",
            "n09, ...",
            "mezctl nodes allow-rejoin",
            "whose line mezctl openssh setup --user-ca prints: plain1, web3.",
        ):
            self.assertIn(part, shown)

    def test_status_json(self) -> None:
        """For programs it is one object for each."""
        host, tls, user = self.mezctl("ca", "status", "--format=json").json
        self.assertEqual((user["servers_behind"], user["behind_servers"]), (2, ["plain1", "web3"]))
        self.assertEqual(host["other_is"], "new")
        self.assertEqual(host["next_change"], "2025-06-16T15:06:40Z")
        self.assertEqual((tls["other_is"], tls["next_change"]), ("old", None))
        self.assertEqual((tls["nodes_behind"], len(tls["behind"])), (500, 30))

    def test_rotate(self) -> None:
        """Types, period and phase are what was typed; a short period gets a warning."""
        self.assertEqual(self.mezctl("ca", "rotate", "--type=host").err, "")
        warned = self.mezctl("ca", "rotate", "--type=all", "--grace-period=30s")
        self.assertIn("may have to log in again", warned.err)
        self.mezctl("ca", "rotate", "--type=tls", "--phase=standby")
        self.assertEqual(
            [
                (list(each.types), each.grace_period_seconds, each.phase)
                for each in self.hub.rotations
            ],
            [
                (["host"], 0, ""),
                (["user", "host", "tls"], 30, ""),
                (["tls"], 0, "standby"),
            ],
        )

    def test_mistakes(self) -> None:
        """What makes no sense is refused before the hub is asked."""
        for arguments in (
            ("rotate",),
            ("rotate", "--type=dns"),
            ("rotate", "--type=tls", "--phase=rollback"),
            ("rotate", "--type=tls", "--phase=rotate", "--grace-period=1h"),
            ("rotate", "--type=tls", "--grace-period=soon"),
            ("rollback",),
        ):
            self.refused(2, "ca", *arguments)
        self.assertEqual(self.hub.rotations, [])

    def test_rollback(self) -> None:
        """The hub's sentence is shown."""
        sentence = self.refused(2, "ca", "rollback", "--type=user")
        self.assertIn("no rotation is under way", sentence)

    def test_help(self) -> None:
        """Every command has a page of help."""
        for words in ((), ("status",), ("rotate",), ("rollback",)):
            self.assertIn("Usage:", self.mezctl("ca", *words, "--help").out)
