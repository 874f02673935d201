"""
From a path to a SQLite database that may be used.

Everything here blocks, and is for the time before the hub serves. What is
wrong with the file is said in one sentence, and a file that is not ours, or
is newer than this program, is left as it is.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mezite.store.error import DataUnusable
from mezite.store.privatefiles import make_private_file

# The only other writers are people with the sqlite3 shell, and backups.
_BUSY_TIMEOUT: Final = 5.0
# A thread needs one connection at most; see THREADS in mezite.store.transactions, and one to spare.
_CONNECTIONS: Final = 5

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def open_engine(path: Path) -> Engine:
    """
    The database in this file, made or brought up to date if need be.

    :raises DataUnusable:
    """
    make_private_file(path)  # SQLite gives its -wal and -shm files the same mode
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            _check_pages(connection, path)
        with engine.execution_options(writes=True).begin() as connection:
            _migrate(connection, path)
    except DataUnusable:
        engine.dispose()
        raise
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise DataUnusable(f"{path} {reason_of(error)}") from None
    return engine


def reason_of(error: Exception) -> str:
    """What the database said, to stand behind its file's name."""
    primary, original = _code_of(error)
    if primary in _CORRUPT:
        return "is not a database, or is damaged; put it back from a backup"
    if primary in _BUSY:
        return "is locked by another process; stop it, and try again"
    if primary == sqlite3.SQLITE_READONLY:
        return "cannot be written: it, or its directory, is read-only"
    if primary == sqlite3.SQLITE_FULL:
        return "cannot be written: the disk is full"
    return f"cannot be used: {str(original).strip() or type(error).__name__}"


def is_unwritable(error: Exception) -> bool:
    """Whether the database cannot be written, for a reason that anybody may know."""
    return _code_of(error)[0] in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL)


def _code_of(error: Exception) -> tuple[int | None, BaseException | None]:
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    return (code & 0xFF if isinstance(code, int) else None), original


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": _BUSY_TIMEOUT},
        pool_size=_CONNECTIONS,
        max_overflow=0,
        hide_parameters=True,  # they are hashes and names, and errors are logged
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: object) -> None:
        # Otherwise the driver commits before DDL and begins too late for a SELECT.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        # With NORMAL, a power cut takes back what was acknowledged: a token would be unused again.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later may find the file locked in between,
        # and no timeout helps it then.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _check_pages(connection: Connection, path: Path) -> None:
    result = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if result != "ok":
        raise DataUnusable(f"{path} is damaged; put it back from a backup")


def _migrate(connection: Connection, path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", "mezite.store:migrations")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    if unknown := [revision for revision in current if revision not in known]:
        raise DataUnusable(
            f"{path} was written by a newer Mezite (its version is {unknown[0]}, and this program"
            f" knows up to {script.get_current_head()}); install that one, or put back an older"
            " backup"
        )
    if not current and inspect(connection).get_table_names():
        raise DataUnusable(f"{path} is a database, but not one of Mezite's; move it away")
    command.upgrade(config, "head")
