"""Tests of what holds for others' recordings, whatever roles somebody has."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.recordingreview import ReviewRules
from mezite.identity.roles import UserRights
from mezite.identity.rolesdoc import (
    Allow,
    Deny,
    RecordingsRule,
    Role,
    parse_role,
    role_document,
)
from mezite.identity.terms import parse_term
from mezite.names import RoleName, UserName
from tests.identity.test_role_properties import LABELS, REQUESTED, RIGHTS, SELECTORS, terms

USERS = ["ada", "bob", "x"]
RULE = st.builds(
    RecordingsRule,
    node_labels=SELECTORS,
    users=terms(
        st.sampled_from([*USERS, "*", "^a|b.*$", "{{user.name}}", "{{user.traits.team}}"]).map(
            parse_term
        )
    ),
)
ROLE = st.builds(
    Role,
    name=st.sampled_from("rst").map(RoleName),
    allow=st.builds(Allow, review_recordings=RULE),
    deny=st.one_of(st.just(Deny()), st.builds(Deny, review_recordings=RULE)),
)
REVIEWERS = st.builds(
    lambda rights, roles: attrs.evolve(rights, roles=tuple(roles)),
    RIGHTS,
    st.lists(ROLE, max_size=4),
)
USER = st.sampled_from(USERS).map(UserName)
NODE = st.one_of(st.none(), LABELS)
EVERYTHING = RecordingsRule({"*": (parse_term("*"),)}, (parse_term("*"),))


def with_role(rights: UserRights, **rules: Allow | Deny) -> UserRights:
    return attrs.evolve(rights, roles=(*rights.roles, Role(RoleName("new"), **rules)))


class ReviewPropertyTests(SynchronousTestCase):
    @settings(max_examples=25, deadline=None)
    @given(REVIEWERS, RULE, USER, NODE, st.booleans())
    def test_deny_wins(
        self,
        rights: UserRights,
        rule: RecordingsRule,
        user: UserName,
        labels: dict[str, str] | None,
        sees_all: bool,
    ) -> None:
        """What one role denies no other allows, nor does being an auditor."""
        alone = attrs.evolve(rights, roles=())
        denied = with_role(alone, deny=Deny(review_recordings=rule))
        everything = with_role(rights, allow=Allow(review_recordings=EVERYTHING))
        more = with_role(everything, deny=Deny(review_recordings=rule))
        if not ReviewRules.of(denied, sees_all=True).allows(user, labels):
            self.assertFalse(ReviewRules.of(more, sees_all=sees_all).allows(user, labels))

    @settings(max_examples=25, deadline=None)
    @given(REVIEWERS, RULE, USER, NODE)
    def test_allow_never_takes(
        self,
        rights: UserRights,
        rule: RecordingsRule,
        user: UserName,
        labels: dict[str, str] | None,
    ) -> None:
        """Another role that only allows takes nothing away; one that only denies gives nothing."""
        before = ReviewRules.of(rights).allows(user, labels)
        allowing = with_role(rights, allow=Allow(review_recordings=rule))
        denying = with_role(rights, deny=Deny(review_recordings=rule))
        self.assertGreaterEqual(ReviewRules.of(allowing).allows(user, labels), before)
        self.assertLessEqual(ReviewRules.of(denying).allows(user, labels), before)

    @settings(max_examples=25, deadline=None)
    @given(REVIEWERS, REQUESTED, USER, NODE, st.randoms(use_true_random=False))
    def test_order(
        self,
        rights: UserRights,
        requested: object,
        user: UserName,
        labels: dict[str, str] | None,
        random: object,
    ) -> None:
        """The order of roles changes nothing."""
        shuffled = list(rights.roles)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        rights = attrs.evolve(rights, requested=requested)
        other = attrs.evolve(rights, roles=tuple(shuffled))
        self.assertEqual(
            ReviewRules.of(other).allows(user, labels), ReviewRules.of(rights).allows(user, labels)
        )

    @settings(max_examples=25, deadline=None)
    @given(REVIEWERS, USER)
    def test_gone(self, rights: UserRights, user: UserName) -> None:
        """What is seen of a node that is gone was seen while it was there, whatever its labels."""
        rules = ReviewRules.of(rights)
        if rules.allows(user, None):
            for labels in ({}, {"a": "x"}, {"a": "y", "b": "ada", "c": "x"}):
                self.assertTrue(rules.allows(user, labels))

    @settings(max_examples=25, deadline=None)
    @given(ROLE)
    def test_round_trip(self, role: Role) -> None:
        """A role is read again from its document."""
        self.assertEqual(parse_role(role_document(role)), role)
