"""Tests of opening a database: migrations, and files that are not to be used."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from unittest import skipIf

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from twisted.trial.unittest import SynchronousTestCase

from mezite.store import opening
from mezite.store.error import DataUnusable
from mezite.store.opening import open_engine
from mezite.store.schema import metadata


class OpeningTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).resolve() / "mezite.sqlite"
        self.path.parent.mkdir(parents=True)

    def opened(self) -> None:
        open_engine(self.path).dispose()

    def refused(self, expected: str) -> None:
        with self.assertRaises(DataUnusable) as caught:
            self.opened()
        self.assertIn(expected, str(caught.exception))
        self.assertIn(str(self.path), str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))


class MigrationTests(OpeningTestCase):
    def test_schema(self) -> None:
        """What the migrations make is what the program expects."""
        engine = open_engine(self.path)
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            self.assertEqual(compare_metadata(context, metadata), [])

    def test_again(self) -> None:
        """Opening a database that is up to date changes nothing."""
        self.opened()
        before = self.path.read_bytes()
        self.opened()
        self.assertEqual(self.path.read_bytes(), before)

    def test_newer(self) -> None:
        """A database of a newer program is refused, and left as it is."""
        self.opened()
        with sqlite3.connect(self.path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
        self.refused("was written by a newer Mezite (its version is 9999, and this program knows")
        with sqlite3.connect(self.path) as connection:
            (row,) = connection.execute("SELECT version_num FROM alembic_version")
        connection.close()
        self.assertEqual(row, ("9999",))

    def test_not_ours(self) -> None:
        """Another program's database is not written to."""
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE bookmarks (url)")
        connection.close()
        self.refused("not one of Mezite's")
        with sqlite3.connect(self.path) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        connection.close()
        self.assertEqual(tables, [("bookmarks",)])

    def test_interrupted(self) -> None:
        """A migration that fails leaves nothing behind, and the next start makes all of it."""

        original = opening.command.upgrade

        def upgrade(config: Config, revision: str) -> None:
            original(config, revision)
            raise DataUnusable(f"{self.path} interrupted")

        patched = self.patch(opening.command, "upgrade", upgrade)
        self.refused("interrupted")
        patched.restore()
        with sqlite3.connect(self.path) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        connection.close()
        self.assertEqual(tables, [])
        self.opened()


class FileTests(OpeningTestCase):
    def test_modes(self) -> None:
        """The database and the files beside it are for their owner only, whatever the umask."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        engine = open_engine(self.path)
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.iterdir()
            }
        self.assertEqual(
            modes,
            dict.fromkeys(("mezite.sqlite", "mezite.sqlite-wal", "mezite.sqlite-shm"), 0o600),
        )

    def test_looser_mode(self) -> None:
        """A database that was open to others is closed to them."""
        self.opened()
        self.path.chmod(0o644)
        self.opened()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_not_a_database(self) -> None:
        """A file of something else is called so, and stays as it is."""
        self.path.write_bytes(b"These are my notes. " * 100)
        self.refused("is not a database, or is damaged")
        self.assertEqual(self.path.read_bytes(), b"These are my notes. " * 100)

    def test_damaged(self) -> None:
        """Damaged pages are noticed before the hub serves."""
        self.opened()
        data = bytearray(self.path.read_bytes())
        data[4096 : 4096 + 2048] = b"\xa5" * 2048
        self.path.write_bytes(data)
        self.refused("damaged; put it back from a backup")

    def test_cut_short(self) -> None:
        """A database whose end is missing is damaged."""
        self.opened()
        with open(self.path, "r+b") as file:
            file.truncate(8192)
        self.refused("damaged; put it back from a backup")

    def test_directory(self) -> None:
        """A directory is not a database."""
        self.path.mkdir()
        self.refused("cannot be opened: Is a directory")

    def test_no_directory(self) -> None:
        """A directory that is missing is not made here."""
        self.path = self.path.parent / "missing" / "mezite.sqlite"
        self.refused("cannot be opened: No such file")

    def test_locked(self) -> None:
        """A database in which another process writes is refused after a short wait."""
        self.opened()
        self.patch(opening, "_BUSY_TIMEOUT", 0.01)
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("BEGIN IMMEDIATE")
        self.refused("is locked by another process")

    def test_locked_from_the_start(self) -> None:
        """One that is locked as a whole is refused in the same words."""
        self.opened()
        self.patch(opening, "_BUSY_TIMEOUT", 0.01)
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        self.refused("is locked by another process")

    @skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_read_only_directory(self) -> None:
        """A directory in which nothing can be written is named."""
        self.path.parent.chmod(0o500)
        self.addCleanup(self.path.parent.chmod, 0o700)
        self.refused("Permission denied")
