"""
What a role may write where a label's value or a login is expected.

A term is a text as it is, ``*``, a ``^pattern$``, or a text with one template
in it. Templates are filled in for a person by :func:`expand`, and what comes
out of them is a text as it is: a trait ``*`` opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

from mezite.identity.error import BadPattern, BadSelector
from mezite.identity.patterns import Pattern
from mezite.identity.traits import OWN_LOGINS, TRAIT, Traits
from mezite.names import LoginName, UserName

TERM_LENGTH: Final = 255
_TEMPLATE: Final = re.compile(
    r"(?P<before>[^{}]*)\{\{ *user\.(?:name|traits\.(?P<trait>" + TRAIT + r")) *\}\}"
    r"(?P<after>[^{}]*)"
)


@frozen
class Literal:
    """A text, compared as it is."""

    text: str

    def __str__(self) -> str:
        return self.text

    def holds(self, value: str) -> bool:
        return value == self.text


@frozen
class Anything:
    """``*``: whatever the value is."""

    def __str__(self) -> str:
        return "*"

    def holds(self, value: str) -> bool:
        return True


@frozen
class Expression:
    """``^pattern$``."""

    pattern: Pattern

    def __str__(self) -> str:
        return self.pattern.text

    def holds(self, value: str) -> bool:
        return self.pattern.matches(value)


@frozen
class Template:
    """A text with the person's name, or each value of a trait of theirs, in it."""

    before: str
    trait: str | None
    after: str

    def __str__(self) -> str:
        name = "user.name" if self.trait is None else f"user.traits.{self.trait}"
        return f"{self.before}{{{{{name}}}}}{self.after}"


Condition = Literal | Anything | Expression
Term = Condition | Template


@frozen
class Person:
    """What templates can say of somebody."""

    name: UserName
    logins: frozenset[LoginName]
    traits: Traits

    def values(self, trait: str | None) -> Iterable[str]:
        """What stands for the template of this trait, or of the name (``None``)."""
        if trait is None:
            return (self.name.text,)
        if trait == OWN_LOGINS:
            return sorted(login.text for login in self.logins)
        return self.traits.get(trait, ())


def parse_term(text: str) -> Term:
    """
    Read a term.

    :raises BadSelector: its sentence says what is accepted.
    :raises BadPattern: likewise.
    """
    if not text or len(text) > TERM_LENGTH or not text.isprintable():
        raise BadSelector(f"a value is printable, and has 1 to {TERM_LENGTH} characters")
    if text == "*":
        return Anything()
    if "{{" in text or "}}" in text:
        match = _TEMPLATE.fullmatch(text)
        if match is None or text.startswith("^") or "*" in text:
            raise BadSelector(
                f"{text[:80]!r} is not understood: write {{{{user.name}}}} or"
                " {{user.traits.NAME}}, once in a value, and not in a pattern"
            )
        return Template(match["before"], match["trait"], match["after"])
    if text.startswith("^"):
        if not text.endswith("$"):
            raise BadPattern(f"{text[:80]!r} begins with ^, as a pattern, and so ends with $")
        return Expression(Pattern.parse(text))
    if "*" in text:
        raise BadSelector(f"{text[:80]!r} is not understood: * stands alone; else write ^a.*$")
    return Literal(text)


def expand(term: Term, person: Person) -> tuple[Condition, ...]:
    """This term for this person; nothing, if it needs a trait that they do not have."""
    if not isinstance(term, Template):
        return (term,)
    return tuple(
        Literal(f"{term.before}{value}{term.after}") for value in person.values(term.trait)
    )


def expand_labels(
    labels: Mapping[str, tuple[Term, ...]], person: Person
) -> dict[str, tuple[Condition, ...]]:
    """The conditions on each label, for this person."""
    return {
        key: tuple(condition for term in terms for condition in expand(term, person))
        for key, terms in labels.items()
    }


def labels_match(
    conditions: Mapping[str, tuple[Condition, ...]], labels: Mapping[str, str]
) -> bool:
    """Whether each key has a condition that holds; no keys at all match nothing."""
    if not conditions:
        return False
    return all(
        bool(alternatives)
        and (
            key == "*" or (key in labels and any(each.holds(labels[key]) for each in alternatives))
        )
        for key, alternatives in conditions.items()
    )
