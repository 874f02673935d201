"""Tests of what becomes of data when a newer program opens it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic.config import Config
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.roles import LabelSelector
from mezite.names import LoginName, UserName
from mezite.store import opening
from mezite.store.database import DatabaseStore
from mezite.store.opening import open_engine
from mezite.store.records import UserRecord
from tests.doubles.threads import InlineThreads

# As the first release wrote them.
ROWS = (
    "INSERT INTO users VALUES ('ada', '$argon2id$1', '[\"ada\", \"root\"]',"
    ' \'{"env": ["dev", "*"]}\', 1, 0, 1000.25, 0)',
    "INSERT INTO users VALUES ('bob', '$argon2id$2', '[]', '{}', 0, 1, 1001.0, 1)",
    "INSERT INTO nodes VALUES ('00000000-0000-4000-8000-000000000001', 'db1',"
    " '{\"env\": \"dev\"}', '0.1', 1000.5, NULL)",
    "INSERT INTO join_tokens VALUES ('3f2a', x'00ff', 'ada', 1000.0, 2000.0, 1, 1)",
    "INSERT INTO bearers VALUES (x'01', 'ada', 2000.0)",
    "UPDATE counters SET value = 7",
)


class FirstReleaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).resolve()
        upgrade = opening.command.upgrade
        patched = self.patch(
            opening.command,
            "upgrade",
            lambda config, revision: upgrade(config, "0001"),
        )
        open_engine(self.path).dispose()
        patched.restore()
        with sqlite3.connect(self.path) as connection:
            for row in ROWS:
                connection.execute(row)
        connection.close()

    def test_nothing_is_lost(self) -> None:
        """Users keep their rights, without roles, and everything else stays as it was."""
        engine = open_engine(self.path)
        self.addCleanup(engine.dispose)
        store = DatabaseStore(engine, InlineThreads())
        ada = UserRecord(
            name=UserName("ada"),
            password_hash="$argon2id$1",
            logins=(LoginName("ada"), LoginName("root")),
            node_labels=LabelSelector.parse(["env=dev", "env=*"]),
            is_admin=True,
            must_change_password=False,
            created=1000.25,
        )
        bob = UserRecord(
            name=UserName("bob"),
            password_hash="$argon2id$2",
            logins=(),
            node_labels=LabelSelector(),
            is_admin=False,
            must_change_password=True,
            created=1001.0,
            disabled=True,
        )
        self.assertEqual(self.successResultOf(store.users.list()), (ada, bob))
        self.assertEqual(self.successResultOf(store.roles.list()), ())
        (node,) = self.successResultOf(store.nodes.list())
        self.assertEqual((node.name.text, node.labels), ("db1", {"env": "dev"}))
        bearer = self.successResultOf(store.bearers.find(b"\x01", 1.0))
        self.assertEqual((bearer.user, bearer.proved), (ada.name, None))
        (token,) = self.successResultOf(store.join_tokens.list())
        self.assertEqual(token.token_id, "3f2a")
        self.assertEqual(self.successResultOf(store.serials.next()), 8)

    def test_interrupted(self) -> None:
        """A migration that fails leaves the data of the first release as it was."""
        upgrade = opening.command.upgrade

        def broken(config: Config, revision: str) -> None:
            upgrade(config, revision)
            raise opening.DataUnusable("interrupted")

        patched = self.patch(opening.command, "upgrade", broken)
        self.assertRaises(opening.DataUnusable, open_engine, self.path)
        patched.restore()
        with sqlite3.connect(self.path) as connection:
            version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            width = len(connection.execute("SELECT * FROM users").fetchone())
        connection.close()
        self.assertEqual((version, width), ([("0001",)], 8))
        self.test_nothing_is_lost()
