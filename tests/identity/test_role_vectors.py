"""Tests that role decisions are those of docs/protocols/roles.rst, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.explain import Finding, explain
from mezite.identity.merging import merge
from mezite.identity.recordingreview import ReviewRules
from mezite.identity.roles import LabelSelector, UserRights, decide
from mezite.identity.rolesdoc import Options, Role, parse_role
from mezite.names import LoginName, RoleName, UserName

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "roles.json").read_text())


def role(name: str, spec: dict[str, Any]) -> Role:
    return parse_role({"kind": "role", "version": "v1", "metadata": {"name": name}, "spec": spec})


def rights(vector: dict[str, Any]) -> UserRights:
    person = VECTORS["people"][vector["user"]]
    return UserRights(
        user=UserName(vector["user"]),
        logins=frozenset(map(LoginName, person["logins"])),
        node_labels=LabelSelector.parse(person["node_labels"]),
        roles=tuple(
            BUILT_IN.get(RoleName(name)) or role(name, VECTORS["roles"][name])
            for name in vector["roles"]
        ),
        traits={name: tuple(values) for name, values in person["traits"].items()},
    )


class RoleVectorTests(SynchronousTestCase):
    def test_decisions(self) -> None:
        """Each row of the truth table is decided as it says, by the rule that it names."""
        self.assertGreaterEqual(len(VECTORS["decisions"]), 60)
        for vector in VECTORS["decisions"]:
            labels = VECTORS["nodes"][vector["node"]]
            login = None if vector["login"] is None else LoginName(vector["login"])
            decision = decide(rights(vector), node_labels=labels, login=login)
            self.assertIs(decision.allowed, vector["allowed"], vector)
            explanation = explain(rights(vector), node_labels=labels, login=login)
            self.assertEqual(explanation.decision, decision)
            self.assertEqual(written(explanation.deciding), vector["rule"], vector)

    def test_reviews(self) -> None:
        """Each row about others' recordings is decided as it says."""
        self.assertGreaterEqual(len(VECTORS["reviews"]), 40)
        for vector in VECTORS["reviews"]:
            of = None if vector["node"] is None else VECTORS["nodes"][vector["node"]]
            sees_all = not {"auditor", "admin"}.isdisjoint(vector["roles"])
            rules = ReviewRules.of(rights(vector), sees_all=sees_all)
            self.assertIs(rules.allows(UserName(vector["of"]), of), vector["allowed"], vector)

    def test_merging(self) -> None:
        """Several roles' options come to what each row says."""
        for vector in VECTORS["merging"]:
            options = [role("x", {"options": options}).options for options in vector["roles"]]
            merged = merge(openers=options, others=[])
            for name, expected in vector["merged"].items():
                value = getattr(merged, name)
                if name == "record_session":
                    value = value.name.lower()
                elif name == "source_addresses" and value is not None:
                    value = [str(network) for network in value]
                self.assertEqual(value, expected, vector)

    def test_merging_names_all(self) -> None:
        """The first row names every option there is."""
        names = {each.name for each in Options.__attrs_attrs__}
        self.assertEqual(set(VECTORS["merging"][0]["merged"]), names)


def written(finding: Finding | None) -> str | None:
    return None if finding is None else f"{finding.role}:{finding.rule}"
