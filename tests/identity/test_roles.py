"""Tests of label selectors and of the one decision about access."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.error import BadSelector
from mezite.identity.roles import AccessRules, LabelSelector, UserRights, decide
from mezite.names import LoginName, UserName

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
PAIRS = st.lists(
    st.one_of(
        st.builds("{}={}".format, st.sampled_from("abc"), st.sampled_from("xyz*")), st.just("*=*")
    ),
    max_size=4,
)
LOGINS = st.frozensets(st.sampled_from(["root", "ada", "bob"]).map(LoginName), max_size=3)
RIGHTS = st.builds(
    UserRights,
    user=st.just(UserName("ada")),
    logins=LOGINS,
    node_labels=PAIRS.map(LabelSelector.parse),
    is_admin=st.booleans(),
)
LOGIN = st.one_of(st.none(), st.sampled_from(["root", "ada", "bob"]).map(LoginName))


class LabelSelectorTests(SynchronousTestCase):
    def test_refused(self) -> None:
        """What selects nothing that a node could have is refused with a sentence."""
        for pair in ("", "env", "=dev", "*=dev", "-x=1", "env=\n"):
            self.assertRaises(BadSelector, LabelSelector.parse, [pair])
        self.assertRaises(BadSelector, LabelSelector.parse, ["a=x"] * 257)

    def test_empty(self) -> None:
        """No requirements is no right to anything, and not to everything."""
        self.assertFalse(LabelSelector().matches({}))
        self.assertFalse(LabelSelector.parse([]).matches({"env": "dev"}))

    @settings(max_examples=50, deadline=None)
    @given(PAIRS)
    def test_round_trip(self, pairs: list[str]) -> None:
        """A selector is read again from its texts."""
        selector = LabelSelector.parse(pairs)
        self.assertEqual(LabelSelector.parse(selector.pairs()), selector)

    @settings(max_examples=100, deadline=None)
    @given(PAIRS, LABELS)
    def test_definition(self, pairs: list[str], labels: dict[str, str]) -> None:
        """Alternatives of one key, all keys together, and nothing without a pair."""
        keys = {pair.partition("=")[0] for pair in pairs}

        def holds(pair: str) -> bool:
            key, _, value = pair.partition("=")
            return key == "*" or (key in labels and value in ("*", labels[key]))

        expected = bool(pairs) and all(
            any(holds(pair) for pair in pairs if pair.startswith(f"{key}=")) for key in keys
        )
        self.assertEqual(LabelSelector.parse(pairs).matches(labels), expected)


class DecideTests(SynchronousTestCase):
    @settings(max_examples=50, deadline=None)
    @given(LABELS, LOGIN)
    def test_nobody(self, labels: dict[str, str], login: LoginName | None) -> None:
        """Without rights the answer is no."""
        self.assertFalse(decide(None, node_labels=labels, login=login).allowed)

    @settings(max_examples=100, deadline=None)
    @given(RIGHTS, LABELS, LOGIN)
    def test_allowed_needs_both(
        self, rights: UserRights, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """Yes takes a selected node and a login that the user has, and a reason is always given."""
        decision = decide(rights, node_labels=labels, login=login)
        has_login = bool(rights.logins) if login is None else login in rights.logins
        self.assertEqual(decision.allowed, rights.node_labels.matches(labels) and has_login)
        self.assertTrue(decision.reason)

    @settings(max_examples=50, deadline=None)
    @given(RIGHTS, LABELS, LOGIN)
    def test_admin_opens_no_node(
        self, rights: UserRights, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """Being an administrator changes no decision about nodes."""
        flipped = attrs.evolve(rights, is_admin=not rights.is_admin)
        self.assertEqual(
            decide(rights, node_labels=labels, login=login),
            decide(flipped, node_labels=labels, login=login),
        )

    @settings(max_examples=50, deadline=None)
    @given(RIGHTS, LABELS)
    def test_any_login(self, rights: UserRights, labels: dict[str, str]) -> None:
        """A user may reach a node exactly if there is a login they may use on it."""
        self.assertEqual(
            decide(rights, node_labels=labels, login=None).allowed,
            any(decide(rights, node_labels=labels, login=login).allowed for login in rights.logins),
        )

    @settings(max_examples=50, deadline=None)
    @given(RIGHTS, LABELS, LOGIN)
    def test_fewer_rights(
        self, rights: UserRights, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """Taking a login away never opens anything."""
        before = decide(rights, node_labels=labels, login=login).allowed
        for taken in rights.logins:
            fewer = attrs.evolve(rights, logins=rights.logins - {taken})
            self.assertLessEqual(decide(fewer, node_labels=labels, login=login).allowed, before)


class OwnRoleTests(SynchronousTestCase):
    """The role that nobody writes: a user's own logins on their own labels."""

    def test_options(self) -> None:
        """It permits what an SSH server permits that nobody has configured."""
        rights = UserRights(
            user=UserName("ada"),
            logins=frozenset({LoginName("root")}),
            node_labels=LabelSelector.parse(["*=*"]),
            is_admin=False,
        )
        options = AccessRules.of(rights).options
        self.assertTrue(options.port_forwarding)
        self.assertTrue(options.agent_forwarding)
        self.assertTrue(options.file_copy)
