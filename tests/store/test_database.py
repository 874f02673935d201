"""Tests of the store in SQLite: the contracts, what survives, and what threads may do."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mezite.audit.events import EventType
from mezite.names import AgentId, NodeName
from mezite.store import transactions
from mezite.store.database import DatabaseStore, open_store
from mezite.store.error import StoreUnavailable, StoreUnwritable, TokenRefused
from mezite.store.opening import open_engine
from mezite.store.records import AuditQuery
from mezite.store.transactions import IReactorOfThreads
from tests.contracts import apitokens as token_contracts
from tests.contracts import audit as audit_contracts
from tests.contracts import locks as lock_contracts
from tests.contracts import nodes as node_contracts
from tests.contracts import proofs as proof_contracts
from tests.contracts import recordings as recording_contracts
from tests.contracts import requests as request_contracts
from tests.contracts import roles as role_contracts
from tests.contracts import store as contracts
from tests.contracts.audit import CREATED, LOGIN
from tests.contracts.store import ADA, DB1, NOW, TOKEN
from tests.doubles.threads import HeldThreads, InlineThreads


class _InSqlite(SynchronousTestCase):
    def make_path(self) -> Path:
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def open(self, path: Path) -> DatabaseStore:
        engine = open_engine(path)
        self.addCleanup(engine.dispose)
        return DatabaseStore(engine, InlineThreads())

    def make_store(self) -> DatabaseStore:
        return self.open(self.make_path())


class SqliteUsersTests(_InSqlite, contracts.UsersContract):
    """Users in SQLite."""


class SqliteRolesTests(_InSqlite, role_contracts.RolesContract):
    """Roles in SQLite."""


class SqliteAuditTests(_InSqlite, audit_contracts.AuditContract):
    """The audit in SQLite."""


class SqliteLocksTests(_InSqlite, lock_contracts.LocksContract):
    """Locks in SQLite."""


class SqliteApiTokensTests(_InSqlite, token_contracts.ApiTokensContract):
    """API tokens in SQLite."""


class SqliteRequestsTests(_InSqlite, request_contracts.RequestsContract):
    """Access requests in SQLite."""


class SqliteRecordingsTests(_InSqlite, recording_contracts.RecordingsContract):
    """What is known of recordings in SQLite."""


class SqliteNodesTests(_InSqlite, contracts.NodesContract):
    """Nodes in SQLite."""


class SqliteJoinTokensTests(_InSqlite, contracts.JoinTokensContract):
    """Join tokens in SQLite."""


class SqliteRejoiningTests(_InSqlite, node_contracts.RejoiningContract):
    """Joining once more, in SQLite."""


class SqliteJoiningTests(_InSqlite, contracts.JoiningContract):
    """Joining in SQLite."""


class SqliteBearersTests(_InSqlite, contracts.BearersContract):
    """Bearers in SQLite."""


class SqliteSerialsTests(_InSqlite, contracts.SerialsContract):
    """Serials in SQLite."""


class SqliteInvitesTests(_InSqlite, proof_contracts.InvitesContract):
    """Invites in SQLite."""


class SqliteSecondFactorsTests(_InSqlite, proof_contracts.SecondFactorsContract):
    """Second factors in SQLite."""


class SqliteStoreTests(_InSqlite, contracts.WholeStoreContract):
    """The store in SQLite."""


class DurabilityTests(_InSqlite):
    def test_reopened(self) -> None:
        """What was acknowledged is there after the file was opened again, unclosed or not."""
        path = self.make_path()
        first = self.open(path)
        self.successResultOf(first.users.create(ADA))
        number = self.successResultOf(first.serials.next())
        second = self.open(path)
        self.assertEqual(self.successResultOf(second.users.get(ADA.name)), ADA)
        self.assertGreater(self.successResultOf(second.serials.next()), number)

    def test_killed(self) -> None:
        """What was acknowledged is there after kill -9 in the same moment."""
        path = self.make_path()
        program = (
            "import os, pathlib, sys\n"
            "from mezite.store.database import DatabaseStore\n"
            "from mezite.store.opening import open_engine\n"
            "from tests.contracts.store import ADA\n"
            "from tests.doubles.threads import InlineThreads\n"
            "store = DatabaseStore(open_engine(pathlib.Path(sys.argv[1])), InlineThreads())\n"
            "store.users.create(ADA).addCallback(lambda _: os.kill(os.getpid(), 9))\n"
        )
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", program, path], cwd=root, check=False)
        self.assertEqual(done.returncode, -9)
        self.assertEqual(self.successResultOf(self.open(path).users.get(ADA.name)), ADA)

    def test_flushed(self) -> None:
        """Every commit reaches the disk before it is acknowledged."""
        engine = open_engine(self.make_path())
        self.addCleanup(engine.dispose)
        with engine.connect() as connection:
            for pragma, expected in (
                ("synchronous", 2),
                ("journal_mode", "wal"),
                ("foreign_keys", 1),
                ("busy_timeout", 5000),
            ):
                value = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
                self.assertEqual((pragma, value), (pragma, expected))


class ConcurrencyTests(_InSqlite):
    def admitted(self, stores: list[DatabaseStore]) -> list[bool]:
        """Whether each of many threads, all let go at once, was admitted with one token."""
        start = threading.Barrier(len(stores))
        outcomes: list[Any] = []

        def join(store: DatabaseStore, number: int) -> None:
            node = attrs.evolve(DB1, agent_id=AgentId.new(), name=NodeName(f"db{number}"))
            start.wait()
            store.joining.admit(TOKEN.secret_hash, node, NOW).addBoth(outcomes.append)

        threads = [
            threading.Thread(target=join, args=(store, number))
            for number, store in enumerate(stores)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(outcomes), len(stores))
        for outcome in outcomes:
            if outcome is not None:
                outcome.trap(TokenRefused)
        return [outcome is None for outcome in outcomes]

    def test_one_token_in_fifty_threads(self) -> None:
        """Fifty redemptions of a token at once admit one node, even across processes' stores."""
        path = self.make_path()
        first = self.open(path)
        self.successResultOf(first.join_tokens.add(TOKEN))
        # A store each: nothing but the database's own transactions keeps them apart.
        engines = [open_engine(path) for _ in range(5)]
        for engine in engines:
            self.addCleanup(engine.dispose)
        stores = [DatabaseStore(engines[n % 5], InlineThreads()) for n in range(50)]
        self.assertEqual(self.admitted(stores).count(True), 1)
        self.assertEqual(len(self.successResultOf(first.nodes.list())), 1)


class BatchTests(_InSqlite):
    """Writes that wait for each other."""

    def setUp(self) -> None:
        self.threads = HeldThreads([])
        engine = open_engine(self.make_path())
        self.addCleanup(engine.dispose)
        self.store = DatabaseStore(engine, self.threads)

    def work(self) -> None:
        while self.threads.held:
            self.threads.work()

    def test_one_commit(self) -> None:
        """What waits behind a write is committed at once, each step with its own answer."""
        tokens = self.store.join_tokens
        first = tokens.add(TOKEN)
        second = self.store.users.create(ADA)
        again = self.store.users.create(ADA)
        admitted = self.store.joining.admit(TOKEN.secret_hash, DB1, NOW)
        taken = self.store.joining.admit(TOKEN.secret_hash, DB1, NOW)
        self.threads.work()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual(len(self.threads.held), 1)
        self.threads.work()
        self.successResultOf(second)
        self.failureResultOf(again)
        self.successResultOf(admitted)
        self.failureResultOf(taken, TokenRefused)

    def test_broken_step(self) -> None:
        """A step that breaks is alone in breaking."""
        first = self.store.users.create(ADA)
        joined = self.store.join_tokens.add(TOKEN)
        broken = self.store.join_tokens.add(attrs.evolve(TOKEN, token_id="2", uses_left=-1))
        crash: Deferred[None] = self.store._transactions.write(lambda connection: 1 / 0)
        last = self.store.serials.next()
        self.work()
        self.successResultOf(first)
        self.successResultOf(joined)
        self.failureResultOf(broken, StoreUnavailable)
        self.failureResultOf(crash, ZeroDivisionError)
        self.successResultOf(last)

    def test_close_waits(self) -> None:
        """Closing finishes what was begun, and lets the threads go after that."""
        written = self.store.users.create(ADA)
        read = self.store.users.list()
        closed = self.store.close()
        self.failureResultOf(self.store.serials.next(), StoreUnavailable)
        self.assertNoResult(closed)
        self.work()
        self.successResultOf(written)
        self.successResultOf(read)
        self.successResultOf(closed)
        self.assertTrue(self.threads.is_stopped)

    def test_cancelled(self) -> None:
        """Who gives up waiting for a write does not disturb the others."""
        given_up = self.store.users.create(ADA)
        other = self.store.serials.next()
        given_up.cancel()
        self.failureResultOf(given_up)
        self.work()
        self.successResultOf(other)

    def test_bound(self) -> None:
        """So many wait, and the next is told to try again."""
        self.patch(transactions, "WAITING", 2)
        waiting = [self.store.serials.next() for _ in range(3)]
        self.failureResultOf(self.store.serials.next(), StoreUnavailable)
        reading = [self.store.users.list() for _ in range(2)]
        self.failureResultOf(self.store.users.list(), StoreUnavailable)
        self.work()
        self.assertEqual(len({self.successResultOf(answer) for answer in waiting}), 3)
        self.assertEqual([self.successResultOf(answer) for answer in reading], [(), ()])
        after = self.store.users.list()
        self.work()
        self.assertEqual(self.successResultOf(after), ())


class PoolThreadsTests(TestCase):
    """The store with threads of its own, on a running reactor."""

    async def test_many_at_once(self) -> None:
        """Writes and reads from the reactor are answered there, and closing ends the threads."""
        from twisted.internet import reactor

        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        store = open_store(path, cast(IReactorOfThreads, reactor))
        numbers = await gatherResults([store.serials.next() for _ in range(200)])
        self.assertEqual(len(set(numbers)), 200)
        await store.users.create(ADA)
        lists = await gatherResults([store.users.list() for _ in range(50)])
        self.assertEqual(lists, [(ADA,)] * 50)
        await store.invites.put(proof_contracts.INVITE, void_password=True)
        accepting = [
            store.invites.accept(proof_contracts.INVITE.secret_hash, NOW, password_hash=str(n))
            for n in range(50)
        ]
        outcomes = await DeferredList(accepting, consumeErrors=True)
        self.assertEqual([accepted for accepted, _ in outcomes].count(True), 1)
        last = store.serials.next()
        await store.close()
        self.assertEqual(self.successResultOf(last), 201)
        self.assertEqual(
            [thread for thread in threading.enumerate() if "mezite-store" in thread.name], []
        )


class FailureTests(_InSqlite):
    def test_tables_lost(self) -> None:
        """What the database says is for operators; callers learn that it is not available."""
        path = self.make_path()
        store = self.open(path)
        engine = open_engine(path)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE counters")
        engine.dispose()
        error = self.failureResultOf(store.serials.next(), StoreUnavailable).value
        self.assertEqual(str(error), "the hub's database is not available")
        self.assertIn("counters", error.reason)

    def writes(self, store: DatabaseStore) -> list[Callable[[], Deferred[Any]]]:
        return [
            store.check,
            lambda: store.users.create(ADA, event=CREATED),
            lambda: store.audit.record(LOGIN),
        ]

    def test_disk_full(self) -> None:
        """Without room nothing is changed, readiness says so, and all is well once there is."""
        store = self.open(self.make_path())
        with store._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        while self.outcome(store.audit.record(LOGIN)) is None:
            pass
        for write in self.writes(store):
            error = self.failureResultOf(write(), StoreUnwritable).value
            self.assertEqual(str(error), "the hub's database cannot be written: the disk is full")
        self.assertIsNone(self.successResultOf(store.users.get(ADA.name)))
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 100000")
        for write in self.writes(store):
            self.successResultOf(write())

    def outcome(self, answer: Deferred[Any]) -> Any:
        results: list[Any] = []
        answer.addBoth(results.append)
        return results[0]

    def test_read_only(self) -> None:
        """A database that may only be read is not ready, and reads go on."""
        store = self.open(self.make_path())
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        for write in self.writes(store):
            error = self.failureResultOf(write(), StoreUnwritable).value
            self.assertIn("read-only", str(error))
        self.assertEqual(self.successResultOf(store.users.list()), ())

    def test_begin(self) -> None:
        """A hub's start tells whether the one before it came to its end."""
        store = self.open(self.make_path())
        start = attrs.evolve(LOGIN, type=EventType.HUB_STARTED, details={"version": "1"})
        stop = attrs.evolve(start, type=EventType.HUB_STOPPED)
        self.assertTrue(store.begin(start))
        self.assertFalse(store.begin(start))
        store.note(stop)
        self.assertTrue(store.begin(start))
        found = self.successResultOf(store.audit.search(AuditQuery(), limit=9))
        said = [each.event.details.get("unclean_end") for each in found]
        self.assertEqual(said, [None, True, None, None])
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        self.assertRaises(StoreUnwritable, store.begin, start)

    def test_probe(self) -> None:
        """The check leaves nothing behind."""
        store = self.open(self.make_path())
        self.successResultOf(store.check())
        self.successResultOf(store.check())
        with store._engine.begin() as connection:
            rows = connection.exec_driver_sql("SELECT count(*) FROM audit_events").scalar_one()
        self.assertEqual(rows, 0)

    def test_locked(self) -> None:
        """A database that another program locks is not available; nothing hangs."""
        path = self.make_path()
        store = self.open(path)
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 10")
        other = open_engine(path)
        self.addCleanup(other.dispose)
        with other.execution_options(writes=True).begin():
            error = self.failureResultOf(store.users.create(ADA), StoreUnavailable).value
        self.assertIn("locked", error.reason)
        self.successResultOf(store.users.create(ADA))
