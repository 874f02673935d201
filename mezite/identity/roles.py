"""
Who may reach what: one pure decision.

:class:`AccessRules` are the rules that hold for one person; everything that
asks about rights asks them, most of it by :func:`decide`. What a role can say
is in :mod:`mezite.identity.rolesdoc`, and what several of them come to in
:mod:`mezite.identity.merging`. What is not allowed is denied.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, Self

from attrs import evolve, field, frozen

from mezite.identity.error import BadSelector
from mezite.identity.merging import merge
from mezite.identity.rolesdoc import Options, Role
from mezite.identity.terms import (
    Anything,
    Condition,
    Literal,
    Person,
    expand,
    expand_labels,
    labels_match,
)
from mezite.identity.traits import Traits
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
class RequestedRole:
    """
    A role that an approved request gives until ``until``.

    ``nodes`` are the host names or agent ids of the only nodes on which it is one of
    the person's roles at all; none means everywhere.
    """

    role: Role
    request_id: str
    until: float
    nodes: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What an explanation calls it."""
        ends = datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{self.role.name} by request {self.request_id}, until {ends}"


@frozen
class UserRights:
    """
    All that a decision needs to know of a person.

    The logins and the selector are a role of the user's own, beside the others.
    A requested role that is bound to nodes counts only in what :meth:`on_node`
    and :meth:`anywhere` return.
    """

    user: UserName
    logins: frozenset[LoginName]
    node_labels: LabelSelector
    is_admin: bool = False
    roles: tuple[Role, ...] = ()
    traits: Traits = field(factory=dict)
    requested: tuple[RequestedRole, ...] = ()

    @property
    def deals_with_requests(self) -> bool:
        """Whether a role names roles to request or to review."""
        return any(role.allow.request_roles or role.allow.review_roles for role in self.roles)

    @property
    def reviews_recordings(self) -> bool:
        """Whether a role allows to see any recordings of others."""
        return any(role.allow.review_recordings.users for role in self.roles)

    def on_node(self, names: Collection[str]) -> UserRights:
        """The rights on the node of this host name and agent id."""
        applying = (each for each in self.requested if not each.nodes.isdisjoint(names))
        return self._with(applying)

    def anywhere(self) -> UserRights:
        """The rights on some node or other: what stands in a certificate."""
        return self._with(each for each in self.requested if each.nodes)

    def _with(self, applying: Iterable[RequestedRole]) -> UserRights:
        unbound = (each for each in self.requested if not each.nodes)
        freed = (evolve(each, nodes=frozenset()) for each in applying)
        return evolve(self, requested=(*unbound, *freed))


@frozen
class Decision:
    """
    Whether, and why (not): ``reason`` is a sentence that the person may read.

    ``options`` are those of all of the person's roles, where the answer is yes.
    ``hint`` is another, about what they can do. ``withheld`` are extensions of
    their certificate that do not hold here.
    """

    allowed: bool
    reason: str
    options: Options | None = None
    hint: str = ""
    withheld: frozenset[str] = frozenset()

    @property
    def sentence(self) -> str:
        """The reason, and what can be done."""
        return f"{self.reason}; {self.hint}" if self.hint else self.reason


class Answer(enum.Enum):
    """What one role says to one wish."""

    DENY_NODE_LABELS = "deny.node_labels"
    DENY_LOGINS = "deny.logins"
    ALLOW = "allow"
    # The labels are allowed, the login is not.
    OTHER_LOGINS = "allow.logins"
    OTHER_NODES = "allow.node_labels"

    @property
    def is_denial(self) -> bool:
        return self in (Answer.DENY_NODE_LABELS, Answer.DENY_LOGINS)


@frozen
class RoleRules:
    """A role as it is for one person: its templates filled in."""

    name: str
    options: Options
    allowed_labels: Mapping[str, tuple[Condition, ...]]
    allowed_logins: frozenset[LoginName]
    denied_labels: Mapping[str, tuple[Condition, ...]] = field(factory=dict)
    denied_logins: tuple[Condition, ...] = ()

    @property
    def opens_nodes(self) -> bool:
        """Whether there can be a node on which the role allows a login."""
        return (
            bool(self.allowed_logins)
            and bool(self.allowed_labels)
            and all(self.allowed_labels.values())
        )

    def denies_login(self, login: LoginName) -> bool:
        return any(condition.holds(login.text) for condition in self.denied_logins)

    def answer(self, labels: Mapping[str, str], logins: frozenset[LoginName]) -> Answer:
        """What the role says to any of these logins on a node with these labels."""
        if labels_match(self.denied_labels, labels):
            return Answer.DENY_NODE_LABELS
        if logins and all(map(self.denies_login, logins)):
            return Answer.DENY_LOGINS
        if not labels_match(self.allowed_labels, labels):
            return Answer.OTHER_NODES
        if self.allowed_logins.isdisjoint(logins):
            return Answer.OTHER_LOGINS
        return Answer.ALLOW


@frozen
class AccessRules:
    """All rules that hold for one person, ready to answer about many nodes."""

    user: UserName
    roles: tuple[RoleRules, ...]
    # What some role opens on some node, less what any role denies.
    logins: frozenset[LoginName]
    options: Options

    @classmethod
    def of(cls, rights: UserRights) -> Self:
        person = Person(rights.user, rights.logins, rights.traits)
        own = RoleRules(
            name=f"user:{rights.user}",
            # What an SSH server permits where nobody has said anything.
            options=Options(agent_forwarding=True),
            allowed_labels=_conditions_of(rights.node_labels),
            allowed_logins=rights.logins,
        )
        roles = (
            own,
            *(_expanded(role, person, role.name.text) for role in rights.roles),
            *(
                _expanded(each.role, person, each.name)
                for each in rights.requested
                if not each.nodes
            ),
        )
        logins = {
            login
            for role in roles
            if role.opens_nodes
            for login in role.allowed_logins
            if not any(other.denies_login(login) for other in roles)
        }
        options = merge(
            openers=[role.options for role in roles if role.opens_nodes],
            others=[role.options for role in roles if not role.opens_nodes],
        )
        return cls(rights.user, roles, frozenset(logins), options)

    @property
    def obstacle(self) -> str | None:
        """What the roles ask for and nothing can do yet, in a sentence."""
        if self.options.require_session_mfa:
            return f"the roles of {self.user} want a second factor, which is not there yet"
        return None

    def answers(
        self, labels: Mapping[str, str], login: LoginName | None
    ) -> list[tuple[RoleRules, Answer]]:
        """What each role says; without a login, to any of those that the person has."""
        logins = self.logins if login is None else frozenset([login])
        return [(role, role.answer(labels, logins)) for role in self.roles]

    def decide(self, labels: Mapping[str, str], login: LoginName | None) -> Decision:
        """
        May this person log in on a node with these labels, under this login?

        Without a login: may they under any?
        """
        answers = {answer for _, answer in self.answers(labels, login)}
        user = self.user
        if Answer.DENY_NODE_LABELS in answers:
            return Decision(False, f"{user} may not reach this node")
        if Answer.ALLOW in answers and Answer.DENY_LOGINS not in answers:
            if self.obstacle is not None:
                return Decision(False, self.obstacle)
            if login is None:
                return Decision(True, f"{user} may reach this node", self.options)
            return Decision(True, f"{user} may log in as {login} on this node", self.options)
        if not any(labels_match(role.allowed_labels, labels) for role in self.roles):
            return Decision(False, f"{user} may not reach this node")
        if login is None:
            where = " on this node" if self.logins else ""
            return Decision(False, f"{user} has no logins{where}")
        return Decision(False, f"{user} may not log in as {login} on this node")


def decide(
    rights: UserRights | None, *, node_labels: Mapping[str, str], login: LoginName | None
) -> Decision:
    """
    The decision about one node; no rights (``None``) means no.

    Being an administrator opens no node: that right is over Mezite itself.
    """
    if rights is None:
        return Decision(False, "this user is not known to the cluster")
    return AccessRules.of(rights).decide(node_labels, login)


def _conditions_of(selector: LabelSelector) -> dict[str, tuple[Condition, ...]]:
    return {
        key: tuple(Anything() if value == ANY else Literal(value) for value in values)
        for key, values in selector.requirements.items()
    }


def _expanded(role: Role, person: Person, name: str) -> RoleRules:
    allowed = (condition for term in role.allow.logins for condition in expand(term, person))
    return RoleRules(
        name=name,
        options=role.options,
        allowed_labels=expand_labels(role.allow.node_labels, person),
        allowed_logins=frozenset(login for each in allowed if (login := _login(str(each)))),
        denied_labels=expand_labels(role.deny.node_labels, person),
        denied_logins=tuple(
            condition for term in role.deny.logins for condition in expand(term, person)
        ),
    )


def _login(text: str) -> LoginName | None:
    """What came out of a template, if it can be a login at all."""
    try:
        return LoginName.parse(text)
    except InvalidName:
        return None
