"""
Who may reach what: one pure decision.

:func:`decide` is the seam where a role language will stand; everything that
asks about rights asks here. What is not allowed is denied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Self

from attrs import field, frozen

from mezite.identity.error import BadSelector
from mezite.names import InvalidName, LoginName, UserName, check_labels

ANY: Final = "*"
# A person who needs more than this needs another label.
_PAIRS_LIMIT: Final = 256


def _copy(requirements: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    return {key: tuple(dict.fromkeys(values)) for key, values in requirements.items()}


@frozen
class LabelSelector:
    """
    Which nodes, told by their labels.

    A node matches when for every key it has the label with one of the values;
    the value ``*`` stands for any. The key ``*`` (only as ``*=*``) stands for
    every node, labelled or not. A selector without requirements matches none.
    """

    requirements: Mapping[str, tuple[str, ...]] = field(factory=dict, converter=_copy)

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> Self:
        """
        Read ``key=value`` texts; several with one key are alternatives.

        :raises BadSelector:
        """
        requirements: dict[str, list[str]] = {}
        for number, pair in enumerate(pairs):
            if number >= _PAIRS_LIMIT:
                raise BadSelector(f"a label selector has at most {_PAIRS_LIMIT} parts")
            key, equals, value = pair.partition("=")
            if not equals:
                raise BadSelector(f"{pair[:80]!r} selects nothing: write KEY=VALUE, or *=* for all")
            if key == ANY:
                if value != ANY:
                    raise BadSelector(f"{pair[:80]!r} selects nothing: only *=* begins with *")
            else:
                try:
                    check_labels({key: value})
                except InvalidName as error:
                    raise BadSelector(str(error)) from None
            requirements.setdefault(key, []).append(value)
        return cls({key: tuple(values) for key, values in requirements.items()})

    def matches(self, labels: Mapping[str, str]) -> bool:
        if not self.requirements:
            return False
        return all(
            key == ANY or (key in labels and (ANY in values or labels[key] in values))
            for key, values in self.requirements.items()
        )

    def pairs(self) -> tuple[str, ...]:
        """The texts from which :meth:`parse` reads this selector again."""
        return tuple(
            f"{key}={value}" for key, values in self.requirements.items() for value in values
        )


@frozen
class UserRights:
    """All that a decision needs to know of a person."""

    user: UserName
    logins: frozenset[LoginName]
    node_labels: LabelSelector
    is_admin: bool = False


@frozen
class Decision:
    """Whether, and why (not): ``reason`` is a sentence that the person may read."""

    allowed: bool
    reason: str


def decide(
    rights: UserRights | None, *, node_labels: Mapping[str, str], login: LoginName | None
) -> Decision:
    """
    May this person log in on a node with these labels, under this login?

    Without a login: may they under any? No rights (``None``) means no.
    Being an administrator opens no node: that right is over Mezite itself.
    """
    if rights is None:
        return Decision(False, "this user is not known to the cluster")
    if not rights.node_labels.matches(node_labels):
        return Decision(False, f"{rights.user} may not reach this node")
    if login is None:
        if not rights.logins:
            return Decision(False, f"{rights.user} has no logins")
        return Decision(True, f"{rights.user} may reach this node")
    if login not in rights.logins:
        return Decision(False, f"{rights.user} may not log in as {login} on this node")
    return Decision(True, f"{rights.user} may log in as {login} on this node")
