"""
Between records and the rows that keep them.
"""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import Row

from mezite.identity.hostproof import SshdFacts
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import parse_role, role_document
from mezite.names import AgentId, HostPort, LoginName, NodeName, RoleName, UserName
from mezite.store.proofs import InviteRecord, SecurityKeyRecord, TotpRecord
from mezite.store.records import (
    BearerRecord,
    JoinTokenRecord,
    MachineFacts,
    NodeRecord,
    RoleRecord,
    UserRecord,
)


def of_user(record: UserRecord) -> dict[str, Any]:
    requirements = record.node_labels.requirements
    return {
        "name": record.name.text,
        "password_hash": record.password_hash,
        "logins": [login.text for login in record.logins],
        "node_labels": {key: list(values) for key, values in requirements.items()},
        "is_admin": record.is_admin,
        "must_change_password": record.must_change_password,
        "created": record.created,
        "disabled": record.disabled,
        "roles": [role.text for role in record.roles],
        "traits": {name: list(values) for name, values in record.traits.items()},
    }


def user_of(row: Row[Any]) -> UserRecord:
    return UserRecord(
        name=UserName(row.name),
        password_hash=row.password_hash,
        logins=tuple(LoginName(login) for login in row.logins),
        node_labels=LabelSelector(row.node_labels),
        is_admin=row.is_admin,
        must_change_password=row.must_change_password,
        created=row.created,
        disabled=row.disabled,
        roles=tuple(RoleName(role) for role in row.roles),
        traits={name: tuple(values) for name, values in row.traits.items()},
    )


def of_bearer(record: BearerRecord) -> dict[str, Any]:
    return {
        "secret_hash": record.secret_hash,
        "user": record.user.text,
        "expires": record.expires,
        "proved": record.proved,
    }


def bearer_of(row: Row[Any]) -> BearerRecord:
    return BearerRecord(row.secret_hash, UserName(row.user), row.expires, row.proved)


def of_role(record: RoleRecord) -> dict[str, Any]:
    return {
        "name": record.role.name.text,
        "document": role_document(record.role),
        "created": record.created,
        "changed": record.changed,
    }


def role_of(row: Row[Any]) -> RoleRecord:
    return RoleRecord(parse_role(row.document), row.created, row.changed)


def of_node(record: NodeRecord) -> dict[str, Any]:
    return {
        "agent_id": record.agent_id.text,
        "name": record.name.text,
        "labels": dict(record.labels),
        "version": record.version,
        "joined": record.joined,
        "last_seen": record.last_seen,
        "hub_labels": dict(record.hub_labels),
        "command_labels": list(record.command_labels),
        "facts": attrs.asdict(record.facts),
        "address": record.address,
        "token_id": record.token_id,
        "rejoined": record.rejoined,
        "tls_key": record.tls_key,
        "sshd": None if record.sshd is None else _of_sshd(record.sshd),
    }


def node_of(row: Row[Any]) -> NodeRecord:
    return NodeRecord(
        agent_id=AgentId(row.agent_id),
        name=NodeName(row.name),
        labels=row.labels,
        version=row.version,
        joined=row.joined,
        last_seen=row.last_seen,
        hub_labels=row.hub_labels,
        command_labels=tuple(row.command_labels),
        facts=MachineFacts(
            addresses=tuple(row.facts.get("addresses", ())),
            os=row.facts.get("os", ""),
            arch=row.facts.get("arch", ""),
        ),
        address=row.address,
        token_id=row.token_id,
        rejoined=row.rejoined,
        tls_key=row.tls_key,
        sshd=None if row.sshd is None else _sshd_of(row.sshd),
    )


def _of_sshd(facts: SshdFacts) -> dict[str, Any]:
    return {
        "host": facts.address.host,
        "port": facts.address.port,
        "host_keys": list(facts.host_keys),
        "authorities": list(facts.authorities),
    }


def _sshd_of(document: dict[str, Any]) -> SshdFacts:
    return SshdFacts(
        HostPort(document["host"], document["port"]),
        tuple(document["host_keys"]),
        tuple(document["authorities"]),
    )


def of_token(record: JoinTokenRecord) -> dict[str, Any]:
    return {
        **attrs.asdict(record, recurse=False),
        "labels": dict(record.labels),
        "hostnames": list(record.hostnames),
        "rejoins": None if record.rejoins is None else record.rejoins.text,
    }


def token_of(row: Row[Any]) -> JoinTokenRecord:
    fields = dict(row._mapping)
    fields["hostnames"] = tuple(row.hostnames)
    fields["rejoins"] = None if row.rejoins is None else AgentId(row.rejoins)
    return JoinTokenRecord(**fields)


def of_invite(record: InviteRecord) -> dict[str, Any]:
    return _with_name(record)


def invite_of(row: Row[Any]) -> InviteRecord:
    return InviteRecord(**_with_user(row))


def of_totp(record: TotpRecord) -> dict[str, Any]:
    return _with_name(record)


def totp_of(row: Row[Any]) -> TotpRecord:
    return TotpRecord(**_with_user(row))


def of_security_key(record: SecurityKeyRecord) -> dict[str, Any]:
    return _with_name(record)


def security_key_of(row: Row[Any]) -> SecurityKeyRecord:
    return SecurityKeyRecord(**_with_user(row))


def _with_name(record: InviteRecord | TotpRecord | SecurityKeyRecord) -> dict[str, Any]:
    return {**attrs.asdict(record, recurse=False), "user": record.user.text}


def _with_user(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "user": UserName(row.user)}
