"""Tests of mezctl's commands about locks and live sessions."""

from __future__ import annotations

import json

from mezite.rpc.proto import auth_pb2 as pb
from tests.cli.test_mezctl import MezctlTestCase


class LockCommandTests(MezctlTestCase):
    def test_lock(self) -> None:
        """A lock is made, listed and removed."""
        ended = self.mezctl("lock", "--user=ada", "--login=root", "--ttl=1h", "--message=lost")
        self.assertEqual(ended.code, 0)
        self.assertIn("Locked user ada, login root, for 1h", ended.out)
        self.assertIn("mezctl locks rm lock0", ended.out)
        (row,) = json.loads(self.mezctl("locks", "ls", "--format=json").out)
        self.assertEqual(
            (row["user"], row["login"], row["node"], row["message"], row["created_by"]),
            ("ada", "root", None, "lost", "local"),
        )
        self.assertIn("user ada, login root", self.mezctl("locks", "ls").out)
        self.assertEqual(self.mezctl("locks", "rm", "lock0").out, "Lock lock0 was removed.\n")
        self.assertIn("there is no lock", self.refused(5, "locks", "rm", "lock0"))

    def test_without_end(self) -> None:
        """Without --ttl a lock holds until it is removed."""
        (row,) = json.loads(self.mezctl("lock", "--node=db1", "--format=json").out)
        self.assertIsNone(row["expires"])
        self.assertIn("-", self.mezctl("locks", "ls").out)

    def test_refused(self) -> None:
        """What cannot be is refused before the hub is asked."""
        self.assertIn("a lock names", self.refused(2, "lock"))
        self.refused(2, "lock", "--user=a b")
        self.refused(2, "lock", "--login=*")
        self.refused(2, "lock", "--user=ada", "--message=a\nb")
        self.assertEqual(self.hub.locks, {})

    def test_sessions(self) -> None:
        """Live sessions are listed, and ended by their ids."""
        self.hub.sessions["s1"] = pb.Session(
            session_id="s1", user="ada", node="db1", login="root", client_address="192.0.2.7:1"
        )
        (row,) = json.loads(self.mezctl("sessions", "ls", "--format=json").out)
        self.assertEqual((row["session_id"], row["user"], row["login"]), ("s1", "ada", "root"))
        self.assertIn("192.0.2.7:1", self.mezctl("sessions", "ls").out)
        ended = self.mezctl("sessions", "end", "s1", "--message=restart")
        self.assertEqual(ended.out, "Session s1 was ended.\n")
        self.assertIn("no live session", self.refused(5, "sessions", "end", "s1"))
