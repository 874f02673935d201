"""Tests of what holds for whatever roles somebody has."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.explain import explain
from mezite.identity.networks import parse_network
from mezite.identity.roles import (
    AccessRules,
    LabelSelector,
    RequestedRole,
    UserRights,
    decide,
)
from mezite.identity.rolesdoc import (
    Allow,
    Deny,
    Options,
    Recording,
    Role,
    parse_role,
    role_document,
)
from mezite.identity.terms import Term, parse_term
from mezite.names import LoginName, RoleName, UserName

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", "ada"]), max_size=3)
TEMPLATES = ["{{user.name}}", "{{user.traits.team}}", "x{{user.traits.none}}"]
VALUE = st.sampled_from(["x", "y", "*", "^x|y$", "^.*$", *TEMPLATES]).map(parse_term)
NAMES = ["root", "ada", "x"]


def terms(values: st.SearchStrategy[Term]) -> st.SearchStrategy[tuple[Term, ...]]:
    return st.lists(values, max_size=3, unique_by=str).map(tuple)


SELECTORS = st.one_of(
    st.dictionaries(st.sampled_from("abc"), terms(VALUE).filter(bool), max_size=2),
    st.just({"*": (parse_term("*"),)}),
)
OPEN = Allow(node_labels={"*": (parse_term("*"),)}, logins=(parse_term("root"), parse_term("ada")))
NO_DENY = st.just(Deny())
DENY = st.builds(
    Deny,
    node_labels=SELECTORS,
    logins=terms(st.sampled_from([*NAMES, "*", "^r.*$", *TEMPLATES]).map(parse_term)),
)
ALLOW = st.builds(
    Allow,
    node_labels=SELECTORS,
    logins=terms(st.sampled_from([*NAMES, *TEMPLATES]).map(parse_term)),
)
OPTIONS = st.builds(
    Options,
    max_session_ttl=st.sampled_from([None, 60.0, 3600.0, 5400.0, 61.0]),
    port_forwarding=st.booleans(),
    agent_forwarding=st.booleans(),
    file_copy=st.booleans(),
    require_session_mfa=st.booleans(),
    record_session=st.sampled_from(Recording),
    max_sessions=st.sampled_from([None, 1, 7]),
    idle_timeout=st.sampled_from([None, 5.0, 90.0, 3600.0]),
    disconnect_expired=st.booleans(),
    pin_source_address=st.booleans(),
    source_addresses=st.one_of(
        st.none(),
        st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]), min_size=1)
        .map(dict.fromkeys)
        .map(lambda texts: tuple(map(parse_network, texts))),
    ),
)
ROLE = st.builds(
    Role,
    name=st.sampled_from("rst").map(RoleName),
    options=OPTIONS,
    allow=ALLOW,
    deny=st.one_of(NO_DENY, DENY),
)
RIGHTS = st.builds(
    UserRights,
    user=st.just(UserName("ada")),
    logins=st.frozensets(st.sampled_from(NAMES).map(LoginName), max_size=2),
    node_labels=st.sampled_from([[], ["a=x"], ["*=*"], ["b=*"]]).map(LabelSelector.parse),
    roles=st.lists(ROLE, max_size=4).map(tuple),
    traits=st.sampled_from([{}, {"team": ("x",)}, {"team": ("y", "root", "*")}]),
)
REQUESTED = st.lists(
    st.builds(
        RequestedRole,
        role=ROLE,
        request_id=st.just("7f"),
        until=st.just(1.8e9),
        nodes=st.sampled_from([(), ("db1",), ("db1", "db2")]).map(frozenset),
    ),
    max_size=2,
).map(tuple)
LOGIN = st.one_of(st.none(), st.sampled_from(NAMES).map(LoginName))


def allowed(rights: UserRights, labels: dict[str, str], login: LoginName | None) -> bool:
    return decide(rights, node_labels=labels, login=login).allowed


class RolePropertyTests(SynchronousTestCase):
    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, DENY, LABELS, LOGIN)
    def test_deny_never_grants(
        self, rights: UserRights, deny: Deny, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """Another role that only denies opens nothing, and permits nothing."""
        before = AccessRules.of(rights)
        more = attrs.evolve(rights, roles=(*rights.roles, Role(RoleName("new"), deny=deny)))
        self.assertLessEqual(allowed(more, labels, login), allowed(rights, labels, login))
        after = AccessRules.of(more)
        self.assertLessEqual(after.logins, before.logins)
        self.assertEqual(after.options, before.options)

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, DENY, LABELS, LOGIN)
    def test_deny_within_a_role(
        self, rights: UserRights, deny: Deny, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """Nor does a deny that is put into a role that had none."""
        bare = attrs.evolve(
            rights, roles=tuple(attrs.evolve(role, deny=Deny()) for role in rights.roles)
        )
        denying = attrs.evolve(
            rights, roles=tuple(attrs.evolve(role, deny=deny) for role in rights.roles)
        )
        self.assertLessEqual(allowed(denying, labels, login), allowed(bare, labels, login))

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, LABELS, LOGIN, st.randoms(use_true_random=False))
    def test_order(
        self, rights: UserRights, labels: dict[str, str], login: LoginName | None, random: object
    ) -> None:
        """The order of roles changes neither the decision nor what they come to."""
        shuffled = list(rights.roles)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        other = attrs.evolve(rights, roles=tuple(shuffled))
        self.assertEqual(
            decide(other, node_labels=labels, login=login),
            decide(rights, node_labels=labels, login=login),
        )
        self.assertEqual(AccessRules.of(other).logins, AccessRules.of(rights).logins)
        self.assertEqual(AccessRules.of(other).options, AccessRules.of(rights).options)

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, ALLOW, LABELS, LOGIN)
    def test_allow_never_takes(
        self, rights: UserRights, allow: Allow, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """Another role that only allows takes nothing away."""
        more = attrs.evolve(rights, roles=(*rights.roles, Role(RoleName("new"), allow=allow)))
        self.assertGreaterEqual(allowed(more, labels, login), allowed(rights, labels, login))

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, LABELS)
    def test_any_login(self, rights: UserRights, labels: dict[str, str]) -> None:
        """A node is within reach exactly if one of the certificate's logins is good there."""
        logins = AccessRules.of(rights).logins
        self.assertEqual(
            allowed(rights, labels, None), any(allowed(rights, labels, login) for login in logins)
        )

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, LABELS, LOGIN)
    def test_certificate_suffices(
        self, rights: UserRights, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """A login that is allowed anywhere stands in the certificate."""
        if login is not None and allowed(rights, labels, login):
            self.assertIn(login, AccessRules.of(rights).logins)

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, LABELS, LOGIN)
    def test_explained(
        self, rights: UserRights, labels: dict[str, str], login: LoginName | None
    ) -> None:
        """An explanation never contradicts the decision, and has a word for each role."""
        explanation = explain(rights, node_labels=labels, login=login)
        decision = decide(rights, node_labels=labels, login=login)
        self.assertEqual(explanation.decision, decision)
        self.assertEqual(len(explanation.findings), len(rights.roles) + 1)
        self.assertTrue(all(finding.sentence for finding in explanation.findings))
        if decision.allowed:
            self.assertIn("allowed by allow of", explanation.sentence)
        else:
            self.assertNotIn("allowed by", explanation.sentence)

    @settings(max_examples=40, deadline=None)
    @given(ROLE)
    def test_round_trip(self, role: Role) -> None:
        """A role is read again from its document."""
        self.assertEqual(parse_role(role_document(role)), role)


class RequestedRolePropertyTests(SynchronousTestCase):
    """What approved requests add to somebody's roles."""

    @settings(max_examples=60, deadline=None)
    @given(RIGHTS, REQUESTED, LABELS, LOGIN)
    def test_other_nodes(
        self,
        rights: UserRights,
        requested: tuple[RequestedRole, ...],
        labels: dict[str, str],
        login: LoginName | None,
    ) -> None:
        """On a node that a request does not name, the decision is that without it."""
        bound = tuple(each for each in requested if each.nodes)
        more = attrs.evolve(rights, requested=bound)
        for elsewhere in (more, more.on_node(["web1", "an-id"]), more.on_node([])):
            self.assertEqual(
                decide(elsewhere, node_labels=labels, login=login),
                decide(rights, node_labels=labels, login=login),
            )

    @settings(max_examples=60, deadline=None)
    @given(RIGHTS, REQUESTED, LABELS, LOGIN)
    def test_named_nodes(
        self,
        rights: UserRights,
        requested: tuple[RequestedRole, ...],
        labels: dict[str, str],
        login: LoginName | None,
    ) -> None:
        """On a node that it names, a requested role is as one that was given."""
        given_roles = (each.role for each in requested if not each.nodes or "db2" in each.nodes)
        given_all = attrs.evolve(rights, roles=(*rights.roles, *given_roles))
        there = attrs.evolve(rights, requested=requested).on_node(["db2", "an-id"])
        self.assertEqual(
            decide(there, node_labels=labels, login=login),
            decide(given_all, node_labels=labels, login=login),
        )

    @settings(max_examples=60, deadline=None)
    @given(RIGHTS, REQUESTED, DENY, LABELS, LOGIN)
    def test_deny_wins(
        self,
        rights: UserRights,
        requested: tuple[RequestedRole, ...],
        deny: Deny,
        labels: dict[str, str],
        login: LoginName | None,
    ) -> None:
        """What a standing role denies, no request opens."""
        denying = Role(RoleName("new"), deny=deny)
        alone = attrs.evolve(
            rights, roles=(denying, Role(RoleName("all"), allow=OPEN)), logins=frozenset()
        )
        if allowed(alone, labels, login):
            return
        more = attrs.evolve(rights, roles=(*rights.roles, denying), requested=requested)
        if login in (LoginName("root"), LoginName("ada")):
            self.assertFalse(allowed(more.on_node(["db1"]), labels, login))

    @settings(max_examples=40, deadline=None)
    @given(RIGHTS, REQUESTED)
    def test_certificate(self, rights: UserRights, requested: tuple[RequestedRole, ...]) -> None:
        """Whatever is open on some node stands in the certificate."""
        more = attrs.evolve(rights, requested=requested)
        everywhere = AccessRules.of(more.anywhere())
        names = [each.name for each in everywhere.roles]
        self.assertEqual(
            sum("by request 7f, until 2027-01-15" in name for name in names), len(requested)
        )
        self.assertEqual(len(more.anywhere().requested), len(requested))
