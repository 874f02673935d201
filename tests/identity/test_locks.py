"""Tests of what a lock locks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.identity.locks import Attempt, Lock, LockSet, LockTarget, check_message, parse_node
from mezite.names import AgentId, LoginName, NodeName, RoleName, UserName

ID = AgentId("5d0a4d5c-7a3f-4a53-9d4e-0f1b6b1f9f10")
NOW = 1000.0

# The same text for each kind of name, which must not be confused.
USERS = st.sampled_from(["x", "y"]).map(UserName)
NODES = st.sampled_from(["x", "y"]).map(NodeName)
ROLES = st.sampled_from(["x", "y"]).map(RoleName)
LOGINS = st.sampled_from(["x", "y"]).map(LoginName)
TARGETS = st.builds(
    LockTarget,
    user=st.none() | USERS,
    node=st.none() | NODES | st.just(ID),
    role=st.none() | ROLES,
    login=st.none() | LOGINS,
).filter(lambda target: target != LockTarget())
ATTEMPTS = st.builds(
    Attempt,
    user=st.none() | USERS,
    roles=st.frozensets(ROLES),
    node=st.none() | NODES,
    agent_id=st.none() | st.just(ID),
    login=st.none() | LOGINS,
)
LOCKS = st.lists(
    st.tuples(TARGETS, st.sampled_from([None, NOW, NOW + 1])),
    max_size=6,
).map(
    lambda drawn: [
        Lock(f"l{number}", target, "", "test", NOW, expires)
        for number, (target, expires) in enumerate(drawn)
    ]
)


def lock(message: str = "", expires: float | None = None, **target: str) -> Lock:
    return Lock("l1", LockTarget.parse(**target), message, "grace", 1.0, expires)


class LockTests(SynchronousTestCase):
    def test_one_name(self) -> None:
        """A lock on one name holds wherever that name is, whatever else there is."""
        attempt = Attempt(
            UserName("ada"), frozenset([RoleName("ops")]), NodeName("db1"), ID, LoginName("root")
        )
        for target in (
            {"user": "ada"},
            {"node": "db1"},
            {"node": ID.text},
            {"role": "ops"},
            {"login": "root"},
            {"user": "ada", "node": "db1", "role": "ops", "login": "root"},
        ):
            self.assertTrue(lock(**target).holds(attempt, NOW), target)
        for target in (
            {"user": "eve"},
            {"node": "db2"},
            {"role": "dev"},
            {"login": "postgres"},
            {"user": "ada", "login": "postgres"},
            {"role": "ops", "node": "db2"},
        ):
            self.assertFalse(lock(**target).holds(attempt, NOW), target)

    def test_not_known_yet(self) -> None:
        """What is not known yet is not what a lock names."""
        known = Attempt(user=UserName("ada"))
        self.assertTrue(lock(user="ada").holds(known, NOW))
        self.assertFalse(lock(user="ada", node="db1").holds(known, NOW))
        self.assertFalse(lock(login="root").holds(Attempt(), NOW))

    def test_over(self) -> None:
        """A lock holds until it is over."""
        ending = lock(user="ada", expires=NOW)
        attempt = Attempt(user=UserName("ada"))
        self.assertTrue(ending.holds(attempt, NOW - 0.1))
        self.assertFalse(ending.holds(attempt, NOW))

    def test_nothing_named(self) -> None:
        """A lock that names nothing would lock all, and is refused."""
        self.assertRaises(BadInput, LockTarget.parse)
        for target in ({"user": "-"}, {"node": "a b"}, {"role": "Ops"}, {"login": "*"}):
            self.assertRaises(BadInput, LockTarget.parse, **target)

    def test_names_of_nodes(self) -> None:
        """A node is named by its host name or its agent id."""
        self.assertEqual(parse_node("DB1"), NodeName("db1"))
        self.assertEqual(parse_node(ID.text), ID)

    def test_message(self) -> None:
        """A message is one printable line, and stands in the sentence."""
        self.assertEqual(check_message(" lost laptop "), "lost laptop")
        for text in ("a\nb", "\x1b[2J", "x" * 201):
            self.assertRaises(BadInput, check_message, text)
        for target, sentence in (
            ({"user": "ada"}, "ada is locked: lost"),
            ({"role": "ops"}, "the role ops is locked: lost"),
            ({"login": "root"}, "the login root is locked: lost"),
            ({"node": "db1"}, "the node db1 is locked: lost"),
            ({"user": "ada", "node": "db1"}, "this (user ada, node db1) is locked: lost"),
        ):
            self.assertEqual(lock("lost", **target).sentence, sentence)
        self.assertEqual(lock(user="ada").sentence, "ada is locked")

    def test_text(self) -> None:
        """A target is shown as what it names."""
        self.assertEqual(str(LockTarget.parse(user="ada", login="root")), "user ada, login root")


class LockSetTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(LOCKS, ATTEMPTS)
    def test_finds(self, locks: list[Lock], attempt: Attempt) -> None:
        """A lock is found if and only if one holds, and the one found does."""
        found = LockSet.of(locks).find(attempt, NOW)
        holding = [each for each in locks if each.holds(attempt, NOW)]
        self.assertEqual(found is not None, bool(holding))
        if found is not None:
            self.assertIn(found, holding)

    @settings(max_examples=100, deadline=None)
    @given(LOCKS, ATTEMPTS, st.permutations(range(6)))
    def test_order(self, locks: list[Lock], attempt: Attempt, order: list[int]) -> None:
        """The order of locks has no meaning."""
        shuffled = [locks[place] for place in order if place < len(locks)]
        self.assertEqual(
            LockSet.of(shuffled).find(attempt, NOW), LockSet.of(locks).find(attempt, NOW)
        )

    @settings(max_examples=100, deadline=None)
    @given(LOCKS, TARGETS, ATTEMPTS)
    def test_more_locks(self, locks: list[Lock], target: LockTarget, attempt: Attempt) -> None:
        """A lock more never opens anything; one that goes leaves the others."""
        before = LockSet.of(locks)
        after = before.with_lock(Lock("new", target, "", "test", NOW))
        if before.find(attempt, NOW) is not None:
            self.assertIsNotNone(after.find(attempt, NOW))
        self.assertEqual(list(after.without("new")), locks)

    def test_next_end(self) -> None:
        """The first end is known; locks without one have none."""
        lasting = lock(user="ada")
        self.assertIsNone(LockSet.of([lasting]).next_end())
        ending = Lock("l2", LockTarget.parse(user="eve"), "", "grace", 1.0, 5.0)
        self.assertEqual(LockSet.of([lasting, ending]).next_end(), 5.0)
