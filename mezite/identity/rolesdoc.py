"""
Role documents: what can be written in one, and the value that comes of it.

Owns the schema of ``kind: role, version: v1`` (``docs/protocols/roles.rst``)
over plain mappings, lists and texts. How they are read from YAML, with lines,
is :mod:`mezite.config.roles`'s; what they mean is :mod:`mezite.identity.roles`'s.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import field, frozen

from mezite.error import BadInput
from mezite.identity.error import BadRole
from mezite.identity.networks import Networks
from mezite.identity.rolevalues import (
    Where,
    duration,
    duration_text,
    exactly,
    listed,
    listing,
    networks,
    number,
    text,
    truth,
)
from mezite.identity.terms import Literal, Template, Term, parse_term
from mezite.names import InvalidName, LoginName, RoleName, UserName, check_labels

VERSION: Final = "v1"
# More than one person reads; a role stays below 64 KiB of YAML.
KEYS_LIMIT: Final = 64
DESCRIPTION_LENGTH: Final = 256
# The bounds of a certificate's life (mezite.auth.issuing).
SHORTEST_TTL: Final = 60.0
LONGEST_TTL: Final = 24 * 3600.0
# Shorter than a person needs to read one screen is a mistake; longer than a certificate
# can live never comes.
SHORTEST_IDLE: Final = 5.0
LONGEST_IDLE: Final = 24 * 3600.0
# More than all streams of a hub that has a thousand nodes.
SESSIONS_LIMIT: Final = 1_000_000

T = TypeVar("T")


class Recording(enum.IntEnum):
    """
    Whether sessions are recorded; the greater is the stricter.

    ``STRICT`` is no record, no session.
    """

    OFF = 0
    BEST_EFFORT = 1
    STRICT = 2


@frozen
class Options:
    """
    How somebody may use what a role allows; lengths of time in seconds.

    ``source_addresses`` are where they may come from: None is everywhere, and no
    networks, which several roles may come to, are nowhere.
    """

    max_session_ttl: float | None = None
    port_forwarding: bool = True
    agent_forwarding: bool = False
    file_copy: bool = True
    require_session_mfa: bool = False
    # None leaves it to other roles; what is left by all of them is strict.
    record_session: Recording | None = None
    record_input: bool = False
    max_sessions: int | None = None
    idle_timeout: float | None = None
    disconnect_expired: bool = False
    pin_source_address: bool = False
    source_addresses: Networks | None = None


@frozen
class RecordingsRule:
    """Others' recordings: made on nodes with these labels, and of these users."""

    node_labels: Mapping[str, tuple[Term, ...]] = field(factory=dict)
    users: tuple[Term, ...] = ()


_NO_RECORDINGS: Final = RecordingsRule()


@frozen
class Allow:
    """What a role opens: the logins on the nodes, requests of other roles, and recordings."""

    node_labels: Mapping[str, tuple[Term, ...]] = field(factory=dict)
    logins: tuple[Term, ...] = ()
    request_roles: tuple[Term, ...] = ()
    review_roles: tuple[Term, ...] = ()
    review_recordings: RecordingsRule = _NO_RECORDINGS


@frozen
class Deny:
    """
    What a role closes: the nodes to every login, the logins on every node,
    requests, made or reviewed, and recordings: of these users, and on these nodes.
    """

    node_labels: Mapping[str, tuple[Term, ...]] = field(factory=dict)
    logins: tuple[Term, ...] = ()
    request_roles: tuple[Term, ...] = ()
    review_roles: tuple[Term, ...] = ()
    review_recordings: RecordingsRule = _NO_RECORDINGS


@frozen
class Role:
    """A role that was understood."""

    name: RoleName
    description: str = ""
    options: Options = Options()
    allow: Allow = Allow()
    deny: Deny = Deny()


def parse_role(tree: object) -> Role:
    """
    Understand a role document, as mappings, lists and texts.

    :raises BadRole: for whatever is not understood, down to a key that is not known.
    """
    document = _Section(tree, (), ("kind", "version", "metadata", "spec"))
    document.required("kind", exactly("role"))
    document.required("version", exactly(VERSION))
    metadata = document.section("metadata", ("name", "description"))
    spec = document.section("spec", ("options", "allow", "deny"))
    keys = ("node_labels", "logins", "request_roles", "review_roles", "review_recordings")
    allow, deny = spec.section("allow", keys), spec.section("deny", keys)
    return Role(
        name=metadata.required("name", _name),
        description=metadata.optional("description", _description, ""),
        options=_options(spec),
        allow=Allow(
            node_labels=allow.optional("node_labels", _labels, {}),
            logins=allow.optional("logins", listed(_allowed_login), ()),
            request_roles=allow.optional("request_roles", listed(_role_term), ()),
            review_roles=allow.optional("review_roles", listed(_role_term), ()),
            review_recordings=_recordings(allow),
        ),
        deny=Deny(
            node_labels=deny.optional("node_labels", _labels, {}),
            logins=deny.optional("logins", listed(_denied_login), ()),
            request_roles=deny.optional("request_roles", listed(_role_term), ()),
            review_roles=deny.optional("review_roles", listed(_role_term), ()),
            review_recordings=_recordings(deny),
        ),
    )


def role_document(role: Role) -> dict[str, Any]:
    """The document from which :func:`parse_role` reads this role again."""
    options = role.options
    written: dict[str, Any] = {
        "port_forwarding": options.port_forwarding,
        "agent_forwarding": options.agent_forwarding,
        "file_copy": options.file_copy,
        "require_session_mfa": options.require_session_mfa,
        "record_input": options.record_input,
        "disconnect_expired": options.disconnect_expired,
        "pin_source_address": options.pin_source_address,
    }
    if options.max_session_ttl is not None:
        written["max_session_ttl"] = duration_text(options.max_session_ttl)
    if options.record_session is not None:
        written["record_session"] = options.record_session.name.lower()
    if options.max_sessions is not None:
        written["max_sessions"] = str(options.max_sessions)
    if options.idle_timeout is not None:
        written["idle_timeout"] = duration_text(options.idle_timeout)
    if options.source_addresses is not None:
        written["source_addresses"] = [str(network) for network in options.source_addresses]
    return {
        "kind": "role",
        "version": VERSION,
        "metadata": {"name": role.name.text, "description": role.description},
        "spec": {
            "options": written,
            "allow": _written_rules(role.allow),
            "deny": _written_rules(role.deny),
        },
    }


def _written_rules(rules: Allow | Deny) -> dict[str, Any]:
    return {
        "node_labels": _written_labels(rules.node_labels),
        "logins": [str(term) for term in rules.logins],
        "request_roles": [str(term) for term in rules.request_roles],
        "review_roles": [str(term) for term in rules.review_roles],
        "review_recordings": {
            "node_labels": _written_labels(rules.review_recordings.node_labels),
            "users": [str(term) for term in rules.review_recordings.users],
        },
    }


def _written_labels(labels: Mapping[str, tuple[Term, ...]]) -> dict[str, list[str]]:
    return {key: [str(term) for term in terms] for key, terms in labels.items()}


class _Section:
    """A mapping of the document, and where it stands."""

    def __init__(self, value: object, where: Where, known: Sequence[str]) -> None:
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise BadRole(where, f"a mapping with {listing(known)} is expected")
        self._where = where
        self._value = value
        for key in value:
            if key not in known:
                raise BadRole(
                    (*where, str(key)[:80]), f"this key is not known; here are {listing(known)}"
                )

    def section(self, key: str, known: Sequence[str]) -> _Section:
        return _Section(self._value.get(key), (*self._where, key), known)

    def optional(self, key: str, parse: Callable[[object, Where], T], default: T) -> T:
        return parse(self._value[key], (*self._where, key)) if key in self._value else default

    def required(self, key: str, parse: Callable[[object, Where], T]) -> T:
        if key not in self._value:
            raise BadRole(self._where, f"the key {key} is missing")
        return parse(self._value[key], (*self._where, key))


def _options(spec: _Section) -> Options:
    names = [name.name for name in Options.__attrs_attrs__]
    section = spec.section("options", names)
    default = Options()
    return Options(
        max_session_ttl=section.optional(
            "max_session_ttl", duration(SHORTEST_TTL, LONGEST_TTL), None
        ),
        port_forwarding=section.optional("port_forwarding", truth, default.port_forwarding),
        agent_forwarding=section.optional("agent_forwarding", truth, default.agent_forwarding),
        file_copy=section.optional("file_copy", truth, default.file_copy),
        require_session_mfa=section.optional("require_session_mfa", truth, False),
        record_session=section.optional("record_session", _recording, None),
        record_input=section.optional("record_input", truth, False),
        max_sessions=section.optional("max_sessions", number(SESSIONS_LIMIT), None),
        idle_timeout=section.optional("idle_timeout", duration(SHORTEST_IDLE, LONGEST_IDLE), None),
        disconnect_expired=section.optional("disconnect_expired", truth, False),
        pin_source_address=section.optional("pin_source_address", truth, False),
        source_addresses=section.optional("source_addresses", networks, None),
    )


def _name(value: object, where: Where) -> RoleName:
    try:
        return RoleName.parse(text(value, where, "the name of a role"))
    except InvalidName as error:
        raise BadRole(where, str(error)) from None


def _description(value: object, where: Where) -> str:
    line = "" if value is None else text(value, where, "a text")
    if len(line) > DESCRIPTION_LENGTH or not line.isprintable():
        raise BadRole(where, f"one line of at most {DESCRIPTION_LENGTH} characters is expected")
    return line


def _recording(value: object, where: Where) -> Recording:
    for recording in Recording:
        if value == recording.name.lower():
            return recording
    # Bare "off" is a truth to YAML, and a text to the reader of our files.
    if value is False:
        return Recording.OFF
    # What it was called before there was any recording.
    if value == "required":
        return Recording.STRICT
    raise BadRole(where, "off, best_effort or strict is expected")


def _term(value: object, where: Where) -> Term:
    try:
        return parse_term(text(value, where, "a text, * or ^pattern$"))
    except BadInput as error:
        if isinstance(error, BadRole):
            raise
        raise BadRole(where, str(error)) from None


def _denied_login(value: object, where: Where) -> Term:
    term = _term(value, where)
    if isinstance(term, Literal):
        _check_login(term.text, where)
    return term


def _allowed_login(value: object, where: Where) -> Term:
    term = _term(value, where)
    if isinstance(term, Literal):
        _check_login(term.text, where)
    elif not isinstance(term, Template):
        # The logins stand in certificates, one by one; a pattern is no list.
        raise BadRole(where, "allowed logins are names or templates, without * and ^patterns$")
    return term


def _recordings(rules: _Section) -> RecordingsRule:
    section = rules.section("review_recordings", ("node_labels", "users"))
    return RecordingsRule(
        node_labels=section.optional("node_labels", _labels, {}),
        users=section.optional("users", listed(_user_term), ()),
    )


def _user_term(value: object, where: Where) -> Term:
    term = _term(value, where)
    if isinstance(term, Literal):
        try:
            UserName.parse(term.text)
        except InvalidName as error:
            raise BadRole(where, str(error)) from None
    return term


def _role_term(value: object, where: Where) -> Term:
    term = _term(value, where)
    return term if not isinstance(term, Literal) else Literal(_name(term.text, where).text)


def _check_login(text: str, where: Where) -> None:
    try:
        LoginName.parse(text)
    except InvalidName as error:
        raise BadRole(where, str(error)) from None


def _labels(value: object, where: Where) -> dict[str, tuple[Term, ...]]:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise BadRole(where, 'a mapping of labels to values is expected, or {"*": "*"} for all')
    if len(value) > KEYS_LIMIT:
        raise BadRole(where, f"at most {KEYS_LIMIT} labels are expected")
    return {key: _label(key, terms, (*where, key)) for key, terms in value.items()}


def _label(key: str, value: object, where: Where) -> tuple[Term, ...]:
    terms = listed(_term)(value, where)
    if not terms:
        raise BadRole(where, "at least one value is expected")
    if key == "*":
        if [str(term) for term in terms] != ["*"]:
            raise BadRole(where, 'the key * has only the value *: {"*": "*"} is every node')
        return terms
    try:
        check_labels({key: ""})
    except InvalidName as error:
        raise BadRole(where, str(error)) from None
    return terms
