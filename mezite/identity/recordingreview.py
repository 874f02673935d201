"""
Whose recordings somebody may see, beside their own: one pure decision.

Recordings are told apart by whose session it was and by the labels of the node
that it was on. What a role can say is in :mod:`mezite.identity.rolesdoc`. What is
not allowed is denied, and what any role denies is not allowed by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from attrs import frozen

from mezite.identity.roles import UserRights
from mezite.identity.rolesdoc import RecordingsRule
from mezite.identity.terms import (
    Anything,
    Condition,
    Person,
    expand,
    expand_labels,
    labels_match,
)
from mezite.names import UserName

_Labels = Mapping[str, tuple[Condition, ...]]
_ANY: Final = (Anything(),)


@frozen
class _Rule:
    """What one role allows, or denies."""

    labels: _Labels
    users: tuple[Condition, ...]

    @classmethod
    def of(cls, rule: RecordingsRule, person: Person) -> Self:
        return cls(
            expand_labels(rule.node_labels, person),
            tuple(condition for term in rule.users for condition in expand(term, person)),
        )

    def has(self, user: UserName) -> bool:
        return any(condition.holds(user.text) for condition in self.users)


@frozen
class ReviewRules:
    """All rules about recordings that hold for one person."""

    allowed: tuple[_Rule, ...]
    denied: tuple[_Rule, ...]

    @classmethod
    def of(cls, rights: UserRights, *, sees_all: bool = False) -> Self:
        """:param sees_all: whether they may see what nothing denies, as auditors may."""
        person = Person(rights.user, rights.logins, rights.traits)
        requested = (each.role for each in rights.requested if not each.nodes)
        roles = (*rights.roles, *requested)
        allowed = [_Rule.of(role.allow.review_recordings, person) for role in roles]
        if sees_all:
            allowed.append(_Rule({"*": _ANY}, _ANY))
        denied = [_Rule.of(role.deny.review_recordings, person) for role in roles]
        return cls(
            tuple(rule for rule in allowed if rule.labels and rule.users),
            tuple(rule for rule in denied if rule.labels or rule.users),
        )

    def allows(self, user: UserName, labels: Mapping[str, str] | None) -> bool:
        """
        May this user's recording be seen that was made on a node with these labels?

        Without labels: on one that is not known any more. Whether a denied label
        would have matched it, nobody can say, so it counts as if one did.
        """
        for rule in self.denied:
            if rule.has(user) or (rule.labels if labels is None else _on(rule, labels)):
                return False
        return any(rule.has(user) and _on(rule, labels or {}) for rule in self.allowed)


def _on(rule: _Rule, labels: Mapping[str, str]) -> bool:
    return labels_match(rule.labels, labels)
