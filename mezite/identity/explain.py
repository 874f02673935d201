"""
Why a decision came out as it did: which rule of which role decided.

For administrators only: what a role says is not told to those whom it stops.
The decision itself is made in :mod:`mezite.identity.roles`, and only there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mezite.identity.roles import AccessRules, Answer, Decision, RoleRules, UserRights
from mezite.identity.terms import Condition
from mezite.names import LoginName

# So much of a role is quoted in a sentence.
_QUOTED: Final = 200


@frozen
class Finding:
    """What one role says; ``rule`` is the key of its document that says so."""

    role: str
    rule: str
    answer: Answer
    sentence: str


@frozen
class Explanation:
    """
    A decision with what each role says.

    ``deciding`` is the first role that decided it: one that denies, or else one
    that allows; None if no role allows.
    """

    decision: Decision
    findings: tuple[Finding, ...]
    deciding: Finding | None

    @property
    def sentence(self) -> str:
        if self.deciding is None:
            if any(finding.answer is Answer.ALLOW for finding in self.findings):
                return self.decision.reason
            return "no role allows it"
        verb = "denied" if self.deciding.answer.is_denial else "allowed"
        return f"{verb} by {self.deciding.rule} of {self.deciding.role}"


def explain(
    rights: UserRights, *, node_labels: Mapping[str, str], login: LoginName | None
) -> Explanation:
    """The decision of :func:`~mezite.identity.roles.decide`, and why."""
    rules = AccessRules.of(rights)
    findings = tuple(
        Finding(role.name, answer.value, answer, _sentence(role, answer, node_labels, login))
        for role, answer in rules.answers(node_labels, login)
    )
    decision = rules.decide(node_labels, login)
    deciders = [
        finding
        for finding in findings
        if (finding.answer is Answer.ALLOW if decision.allowed else finding.answer.is_denial)
    ]
    return Explanation(decision, findings, deciders[0] if deciders else None)


def _sentence(
    role: RoleRules, answer: Answer, labels: Mapping[str, str], login: LoginName | None
) -> str:
    wanted = "any login" if login is None else f"the login {login}"
    match answer:
        case Answer.DENY_NODE_LABELS:
            return f"denies nodes with {_quoted(role.denied_labels)}"
        case Answer.DENY_LOGINS:
            return f"denies {wanted}"
        case Answer.ALLOW:
            return f"allows {wanted} on nodes with {_quoted(role.allowed_labels)}"
        case Answer.OTHER_LOGINS:
            names = ", ".join(sorted(login.text for login in role.allowed_logins)) or "none"
            return f"allows this node, with these logins: {names[:_QUOTED]}"
        case Answer.OTHER_NODES:
            if not role.allowed_labels:
                return "allows no nodes"
            return f"allows nodes with {_quoted(role.allowed_labels)} only"


def _quoted(conditions: Mapping[str, tuple[Condition, ...]]) -> str:
    texts = (
        f"{key}={'|'.join(map(str, alternatives)) or '(a trait that the user lacks)'}"
        for key, alternatives in conditions.items()
    )
    return " and ".join(texts)[:_QUOTED]
