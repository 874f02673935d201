"""Tests of what access requests are, and of who decides about them."""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.identity.error import BadRequestText, NotPossible
from mezite.identity.requests import (
    DEFAULT_WINDOW,
    LONGEST_WINDOW,
    NODES_LIMIT,
    PENDING_SECONDS,
    REASON_LENGTH,
    ROLES_LIMIT,
    TRANSITIONS,
    AccessRequest,
    State,
    Step,
    may_request,
    may_review,
)
from mezite.identity.roles import LabelSelector, RequestedRole, UserRights
from mezite.identity.rolesdoc import Allow, Deny, Role
from mezite.identity.terms import parse_term
from mezite.names import RoleName, UserName

NOW = 1000.0
OPS = RoleName("ops")
ADA, BOB = UserName("ada"), UserName("bob")


def request(*roles: str, user: UserName = ADA, **more: object) -> AccessRequest:
    values: dict[str, object] = {"reason": "an incident", "now": NOW, **more}
    wanted = [RoleName(role) for role in roles or ["ops"]]
    return AccessRequest.create("7f", user, roles=wanted, **values)


def role(name: str = "r", **rules: object) -> Role:
    """A role with ``request``, ``review``, ``deny_request`` and ``deny_review`` terms."""

    def terms(key: str) -> tuple[object, ...]:
        return tuple(parse_term(text) for text in rules.get(key, ()))

    return Role(
        RoleName(name),
        allow=Allow(request_roles=terms("request"), review_roles=terms("review")),
        deny=Deny(request_roles=terms("deny_request"), review_roles=terms("deny_review")),
    )


def rights(user: UserName, *roles: Role, is_admin: bool = False) -> UserRights:
    return UserRights(user, frozenset(), LabelSelector(), is_admin, roles, {"team": ("blue",)})


class CreationTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """A request waits for a day, and asks for four hours."""
        made = request(nodes=["DB1.", "db1"])
        self.assertEqual(made.state, State.PENDING)
        self.assertEqual(made.expires, NOW + PENDING_SECONDS)
        self.assertEqual(made.window, DEFAULT_WINDOW)
        self.assertEqual(made.nodes, ("db1",))
        self.assertEqual((made.created, made.reason), (NOW, "an incident"))

    def test_capped(self) -> None:
        """A window longer than is allowed is shortened to that."""
        self.assertEqual(request(window=1e9).window, LONGEST_WINDOW)
        self.assertEqual(request(window=7200.0, longest=3600.0).window, 3600.0)

    def test_refused(self) -> None:
        """What is missing, too much, too long or not printable is refused."""
        many = [f"r{number}" for number in range(ROLES_LIMIT + 1)]
        self.assertRaises(BadRequestText, request, *many)
        for name in ("admin", "auditor"):
            self.assertIn("opens no node", str(self.assertRaises(BadRequestText, request, name)))
        for reason in ("", "  ", "x" * (REASON_LENGTH + 1), "a\nb", "\x1b[2J"):
            self.assertRaises(BadRequestText, request, reason=reason)
        for window in (0.0, 59.0, -1.0, float("nan")):
            self.assertRaises(BadRequestText, request, window=window)
        for nodes in ([f"n{number}" for number in range(NODES_LIMIT + 1)], ["a b"], [""]):
            self.assertRaises(BadInput, request, nodes=nodes)
        self.assertRaises(
            BadRequestText, AccessRequest.create, "7f", ADA, roles=[], reason="x", now=NOW
        )


class StateTests(SynchronousTestCase):
    def reached(self, state: State) -> AccessRequest:
        """A request in this state, by the steps that lead there."""
        made = request()
        if state in (State.APPROVED, State.REVOKED):
            made = made.step(Step.APPROVE, now=NOW, by="bob")
        last = {State.DENIED: Step.DENY, State.CANCELLED: Step.CANCEL, State.REVOKED: Step.REVOKE}
        if state in last:
            made = made.step(last[state], now=NOW, by="bob")
        if state is State.EXPIRED:
            made = made.step(Step.EXPIRE, now=made.expires, by="")
        return made

    def test_every_pair(self) -> None:
        """Every step in every state either moves as the table says, or is refused."""
        for state, step in itertools.product(State, Step):
            before = self.reached(state)
            now = before.expires if step is Step.EXPIRE else NOW + 1
            if (state, step) not in TRANSITIONS:
                error = self.assertRaises(NotPossible, before.step, step, now=now, by="bob")
                self.assertIn(state.value, str(error))
                continue
            after = before.step(step, now=now, by="bob", reason="so")
            self.assertEqual(after.state, TRANSITIONS[state, step])
            self.assertEqual(after.changes[:-1], before.changes)
            self.assertEqual((after.changes[-1].by, after.changes[-1].reason), ("bob", "so"))

    def test_final(self) -> None:
        """What is decided against, or over, stays so."""
        live = {state for state in State if not state.is_final}
        self.assertEqual(live, {State.PENDING, State.APPROVED})

    def test_window(self) -> None:
        """The window begins with the approval, and may have become shorter."""
        approved = request(window=7200.0).step(Step.APPROVE, now=NOW + 100, by="bob")
        self.assertEqual(approved.expires, NOW + 100 + 7200)
        short = request(window=7200.0).step(Step.APPROVE, now=NOW, by="bob", longest=600.0)
        self.assertEqual(short.expires, NOW + 600)

    def test_time_alone(self) -> None:
        """What has ended by the clock has ended, though nobody wrote it down."""
        made = request()
        late = made.expires
        self.assertEqual(made.state_at(late), State.EXPIRED)
        for step in (Step.APPROVE, Step.DENY, Step.CANCEL):
            self.assertRaises(NotPossible, made.step, step, now=late, by="bob")
        approved = self.reached(State.APPROVED)
        self.assertTrue(approved.gives_rights(approved.expires - 0.1))
        self.assertFalse(approved.gives_rights(approved.expires))
        self.assertRaises(NotPossible, approved.step, Step.REVOKE, now=approved.expires, by="bob")
        self.assertRaises(NotPossible, approved.step, Step.EXPIRE, now=NOW, by="")

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(Step), st.floats(0, 2e5)), max_size=6))
    def test_any_steps(self, steps: list[tuple[Step, float]]) -> None:
        """Whatever is tried: at most three changes, and rights only after an approval."""
        made, now = request(), NOW
        for step, seconds in steps:
            now += seconds
            try:
                made = made.step(step, now=now, by="bob")
            except NotPossible:
                pass
            self.assertLessEqual(len(made.changes), 3)
            if made.gives_rights(now):
                self.assertEqual(made.changes[-1].state, State.APPROVED)
                self.assertLessEqual(now - made.changes[-1].time, made.window)


class RequestingTests(SynchronousTestCase):
    def test_named(self) -> None:
        """Names, patterns, templates and * say what may be asked for."""
        for term in ("ops", "*", "^o.s$", "^ops|x$"):
            self.assertTrue(may_request(rights(ADA, role(request=[term])), OPS), term)
        for term in ("op", "^op$", "{{user.traits.none}}"):
            self.assertFalse(may_request(rights(ADA, role(request=[term])), OPS), term)
        teams = rights(ADA, role(request=["{{user.traits.team}}-ops"]))
        self.assertTrue(may_request(teams, RoleName("blue-ops")))
        self.assertFalse(may_request(rights(ADA), OPS))
        self.assertFalse(may_request(rights(ADA, is_admin=True), OPS))

    def test_denied(self) -> None:
        """A deny of any role wins."""
        asking = role(request=["*"])
        for term in ("ops", "*", "^o.*$"):
            self.assertFalse(may_request(rights(ADA, asking, role("d", deny_request=[term])), OPS))
        self.assertTrue(may_request(rights(ADA, asking, role("d", deny_request=["x"])), OPS))

    def test_never_over_mezite(self) -> None:
        """The roles over Mezite itself are not asked for, whatever a role says."""
        for name in ("admin", "auditor"):
            self.assertFalse(may_request(rights(ADA, role(request=["*"])), RoleName(name)))

    def test_not_by_a_request(self) -> None:
        """A requested role gives no right to request or to review others."""
        more = RequestedRole(role(request=["*"], review=["*"]), "1", 2000.0)
        raised = attrs.evolve(rights(ADA), requested=(more,))
        self.assertFalse(may_request(raised, OPS))
        self.assertFalse(may_review(raised, request(user=BOB)))
        self.assertFalse(may_review(raised.anywhere(), request(user=BOB)))


class ReviewingTests(SynchronousTestCase):
    def test_all_roles(self) -> None:
        """A reviewer is one for every role that is requested."""
        reviewer = rights(BOB, role(review=["ops", "dev"]))
        self.assertTrue(may_review(reviewer, request("ops", "dev")))
        self.assertTrue(may_review(reviewer, request("ops")))
        self.assertFalse(may_review(reviewer, request("ops", "db")))
        self.assertFalse(may_review(rights(BOB), request()))

    def test_never_ones_own(self) -> None:
        """Nobody reviews their own request, administrators neither."""
        everything = role(review=["*"])
        for is_admin in (False, True):
            self.assertFalse(may_review(rights(ADA, everything, is_admin=is_admin), request()))
            self.assertTrue(may_review(rights(BOB, everything, is_admin=is_admin), request()))

    def test_administrators(self) -> None:
        """An administrator reviews what no role denies."""
        self.assertTrue(may_review(rights(BOB, is_admin=True), request()))
        denied = rights(BOB, role(deny_review=["ops"]), is_admin=True)
        self.assertFalse(may_review(denied, request("dev", "ops")))
        self.assertTrue(may_review(denied, request("dev")))
